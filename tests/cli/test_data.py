"""molvae data …: list, fetch, prepare."""

import csv
import itertools
import json

import pytest

from molvae.config import read_recipe
from molvae.data.tables import rdkit_file
from molvae.vae.training.recipe import TrainRecipe

MIXED = [
    "smiles,name",
    "CCO,ethanol",
    "OCC,ethanol again",
    "c1ccccc1,benzene",
    "CC(=O)[O-].[Na+],a salt",
    "C1CC,an open ring",
    "CCN,ethylamine",
    ",nothing",
    "CCC,propane",
]


def test_list_tells_name_size_licence_and_citation(molvae):
    told = molvae("data", "list").stdout
    assert "nci5k" in told
    assert "zinc250k" in told
    for label in ("molecules: ", "licence: ", "cite: "):
        assert told.count(label) == 2


def test_fetch_needs_no_network_for_the_set_inside_rdkit(molvae, tmp_path):
    assert "data prepare data/nci5k/raw -o data/nci5k/prepared" in molvae("data", "fetch", "nci5k").stderr
    folder = tmp_path / "data" / "nci5k" / "raw"
    manifest = json.loads((folder / "manifest.json").read_text())
    (part,) = manifest["parts"].values()
    assert (folder / part["file"]).read_bytes() == rdkit_file("NCI/first_5K.smi").read_bytes()
    before = (folder / part["file"]).stat().st_mtime_ns
    molvae("data", "fetch", "nci5k")
    assert (folder / part["file"]).stat().st_mtime_ns == before


def test_fetch_from_a_file_at_hand(molvae, tmp_path):
    at_hand = tmp_path / "copy.smi"
    at_hand.write_bytes(rdkit_file("NCI/first_5K.smi").read_bytes())
    molvae("data", "fetch", "nci5k", "--from", at_hand, "-o", "raw")
    assert "copy.smi" in (tmp_path / "raw" / "manifest.json").read_text()


def test_fetch_says_which_parts_the_files_at_hand_leave_out(molvae, tmp_path):
    (tmp_path / "zinc-train.smi").write_text("CCO\n")
    told = molvae("data", "fetch", "zinc250k", "--from", "zinc-train.smi", "-o", "raw").stderr
    assert "without valid, test: the same command without --from" in told


def test_fetch_refuses_a_file_that_is_not_there_or_another_set(refused, tmp_path):
    assert "no-such.smi" in refused("data", "fetch", "nci5k", "--from", "no-such.smi", code=1)
    assert "did you mean 'nci5k'?" in refused("data", "fetch", "nci5", code=2)
    assert not list(tmp_path.rglob("manifest.json"))


def test_prepare_cleans_splits_and_says_what_it_rejected(molvae, tmp_path):
    (tmp_path / "mine.csv").write_text("\n".join(MIXED) + "\n")
    result = molvae("data", "prepare", "mine.csv", "-o", "mine", "--valid", "1", "--test", "1", "--seed", "3")
    parts = {part: (tmp_path / "mine" / f"{part}.smi").read_text().split() for part in ("train", "valid", "test")}
    assert sorted(itertools.chain(*parts.values())) == ["CCC", "CCN", "CCO", "c1ccccc1"]
    assert [len(parts[part]) for part in ("train", "valid", "test")] == [2, 1, 1]
    with open(tmp_path / "mine" / "rejects.csv", newline="") as file:
        rejects = {row["line"]: (row["text"], row["reason"]) for row in csv.DictReader(file)}
    assert list(rejects) == ["5", "6", "8"]
    assert rejects["5"][0] == "CC(=O)[O-].[Na+]"
    assert "2 fragments" in rejects["5"][1]
    assert "unclosed ring" in rejects["6"][1]
    assert rejects["8"] == ("", "empty")
    assert "mine/rejects.csv" in result.stderr
    assert json.loads((tmp_path / "mine" / "manifest.json").read_text())["counts"]["duplicates"] == 1


def test_prepare_keeps_the_largest_part_of_a_salt_if_asked(molvae, tmp_path):
    (tmp_path / "mine.csv").write_text("\n".join(MIXED) + "\n")
    molvae("data", "prepare", "mine.csv", "-o", "mine", "--valid", 0, "--test", 0, "--keep-largest-fragment", "-q")
    assert "CC(=O)[O-]" in (tmp_path / "mine" / "train.smi").read_text().split()


def test_prepare_by_scaffold_and_by_a_named_column(molvae, tmp_path):
    rows = ["structure\tn", *(f"{smiles}\t1" for smiles in ("c1ccccc1", "Cc1ccccc1", "C1CCCC1", "C1CCCCC1", "C1CC1"))]
    (tmp_path / "mine.tsv").write_text("\n".join(rows) + "\n")
    words = ["--column", "structure", "--split", "scaffold", "--valid", 2, "--test", 0]
    molvae("data", "prepare", "mine.tsv", "-o", "mine", *words)
    train, valid = ((tmp_path / "mine" / f"{part}.smi").read_text().split() for part in ("train", "valid"))
    assert len(train) + len(valid) == 5
    assert ("c1ccccc1" in train) == ("Cc1ccccc1" in train)


def test_prepare_again_returns_at_once_and_otherwise_is_refused(molvae, refused, trained, tmp_path):
    source = trained / "molecules.smi"
    first = molvae("data", "prepare", source, "-o", "mine")
    before = (tmp_path / "mine" / "train.smi").stat().st_mtime_ns
    assert molvae("data", "prepare", source, "-o", "mine").stdout == first.stdout
    assert "settings.seed: 0 → 1" in refused("data", "prepare", source, "-o", "mine", "--seed", 1, code=1)
    assert (tmp_path / "mine" / "train.smi").stat().st_mtime_ns == before


def test_prepare_keeps_columns_of_numbers_and_computes_scores(molvae, refused, tmp_path):
    rows = [f"{row},{'y' if k == 0 else k % 2 or 'n/a'}" for k, row in enumerate(MIXED)]
    (tmp_path / "mine.csv").write_text("\n".join(rows) + "\n")
    words = ["data", "prepare", "mine.csv", "-o", "mine", "--valid", 1, "--test", 0, "--label", "y"]
    told = molvae(*words, "--score", "qed", "--score", "MolWt").stdout
    manifest = json.loads((tmp_path / "mine" / "manifest.json").read_text())
    assert manifest["properties"] == ["y", "QED", "MolWt"]
    assert (manifest["settings"]["labels"], manifest["settings"]["scores"]) == (["y"], ["qed", "MolWt"])
    shown = [line.split() for line in told.splitlines()]
    assert ["labelled", "train", "valid", "test"] in shown
    assert ["MolWt", "3", "1", "0"] in shown
    assert "settings.scores" in refused(*words, code=1)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--label", "nam"], "did you mean 'name'"),
        (["--label", "name"], "has not one number"),
    ],
)
def test_prepare_refuses_labels_that_are_not_there(refused, tmp_path, words, message):
    (tmp_path / "mine.csv").write_text("\n".join(MIXED) + "\n")
    assert message in refused("data", "prepare", "mine.csv", "-o", "mine", *words, code=1)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--score", "qedd"], "did you mean 'qed'"),
        (["--score", "similarity"], "needs settings"),
        (["--valid", "-0.5"], "valid"),
        (["--valid", "1.5"], "valid"),
        (["--test", "inf"], "test"),
        (["--split", "scafold"], "did you mean|'random', 'scaffold' or 'given'"),
        (["--max-length", "0"], "max_length"),
    ],
)
def test_prepare_refuses_settings_that_make_no_sense(refused, trained, words, message):
    told = refused("data", "prepare", trained / "molecules.smi", "-o", "mine", *words, code=2)
    assert any(one in told for one in message.split("|"))


def test_a_fetched_set_prepared_is_what_a_recipe_reads(molvae, tmp_path, training):
    molvae("data", "fetch", "nci5k", "-q")
    molvae("data", "prepare", "data/nci5k/raw", "-o", "data/nci5k/prepared", "--max-length", 20, "-q")
    recipe = read_recipe(training(corpus="data/nci5k/prepared"), TrainRecipe)
    assert max(map(len, (recipe.corpus / "train.smi").read_text().split())) == 20
