"""molvae fit-prior."""

import json
from pathlib import Path

import pytest

import molvae.cli.priors  # noqa: F401 (registers the command)


def test_it_leaves_a_model_with_another_prior_and_the_same_weights(molvae, model, trained):
    words = ["fit-prior", model, "--smiles", trained / "corpus" / "train.smi", "--kind", "mixture", "--width", 0.8]
    result = molvae(*words, "--out", "new")
    assert [line.split()[:2] for line in result.stdout.splitlines()[1:]] == [["before:", "normal"], ["now:", "mixture"]]
    assert "140 molecules, 0 left out" in result.stderr
    table = json.loads(Path("new/model.json").read_text())
    assert (table["prior"]["kind"], table["prior"]["width"]) == ("mixture", 0.8)
    assert table["facts"]["prior"]["molecules"] == 140
    assert "kind mixture, components" in Path("new/card.md").read_text()
    assert "140 molecules of `train.smi`" in Path("new/card.md").read_text()
    weights = "weights.safetensors"
    assert Path("new", weights).read_bytes() == Path(model, weights).read_bytes()
    assert molvae("sample", "new", "-n", 20).stdout != molvae("sample", model, "-n", 20).stdout


def test_the_same_again_is_the_same(molvae, model, trained):
    words = ["fit-prior", model, "--smiles", trained / "corpus" / "train.smi", "--kind", "mixture", "-n", 60, "-q"]
    molvae(*words, "--seed", 1, "--out", "a")
    molvae(*words, "--seed", 1, "--out", "b")
    molvae(*words, "--seed", 2, "--out", "c")
    bits = [Path(folder, "prior.safetensors").read_bytes() for folder in "abc"]
    assert bits[0] == bits[1] != bits[2]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--kind", "mixtures"], "there is no kind 'mixtures'; did you mean 'mixture'"),
        (["--width", 0], "width: Input should be greater than 0"),
        (["--kind", "normal", "--width", 0.5], "width: unknown key"),
        (["-n", 5], "a density is fitted to 20 molecules and 2 latent dimensions or more; these are 5 molecules"),
    ],
)
def test_what_cannot_be_is_said(refused, model, trained, words, said):
    assert said in refused("fit-prior", model, "--smiles", trained / "molecules.smi", "--out", "new", *words, code=2)
    assert not Path("new").exists()


def test_a_file_without_a_molecule_is_refused(refused, model):
    Path("no.smi").write_text("C1CC\n")
    said = refused("fit-prior", model, "--smiles", "no.smi", "--out", "new", code=2)
    assert "no.smi has no molecule that this model reads" in said
