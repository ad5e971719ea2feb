"""The public names, and the example of the README."""

import importlib.util
import inspect
from pathlib import Path

import pandas as pd
import pytest

import molvae

TINY = Path(__file__).parent / "cli" / "tiny.py"


@pytest.fixture(scope="session")
def trained(tmp_path_factory, worker_id) -> Path:
    spec = importlib.util.spec_from_file_location("tiny", TINY)
    assert spec is not None
    assert spec.loader is not None
    tiny = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(tiny)
    base = tmp_path_factory.getbasetemp()
    return tiny.make(base if worker_id == "master" else base.parent)


@pytest.fixture
def model(trained) -> Path:
    return trained / "training" / "model"


@pytest.mark.parametrize("name", molvae.__all__)
def test_each_name_is_there_and_documented(name):
    assert inspect.getdoc(getattr(molvae, name))


def test_the_list_is_what_dir_says_and_sorted():
    assert dir(molvae) == molvae.__all__ == sorted(molvae.__all__)


def test_another_name_is_an_error_that_lists_them():
    with pytest.raises(AttributeError, match="molvae has no 'Vae'; it has Campaign, "):
        molvae.Vae  # noqa: B018


def test_the_version_is_the_packages():
    from importlib.metadata import version

    assert molvae.__version__ == version("molvae")


@pytest.mark.parametrize(
    "call",
    [
        lambda vae, out: molvae.load(5),
        lambda vae, out: molvae.load("no such model"),
        lambda vae, out: molvae.predict(vae, 5),
        lambda vae, out: molvae.predict(vae, ["CCO", None]),
        lambda vae, out: molvae.neighbors(vae, ["CCO"]),
        lambda vae, out: molvae.neighbors(vae, "CCO", n="many"),
        lambda vae, out: molvae.interpolate(vae, "CCO", None),
        lambda vae, out: molvae.latent_map(vae, pd.DataFrame({"smiles": ["CCO"] * 5})),
        lambda vae, out: molvae.latent_map(vae, ["CCO", "CCN", "CCC"]),
        lambda vae, out: molvae.evaluate(vae, [], 5),
        lambda vae, out: molvae.evaluate(vae, None, 5),
        lambda vae, out: molvae.fetch(5, out),
        lambda vae, out: molvae.fetch("zinc", out),
        lambda vae, out: molvae.prepare(out / "missing.smi", out, molvae.PrepareSettings()),
        lambda vae, out: molvae.PrepareSettings(valid="many"),
        lambda vae, out: molvae.Objective(score=lambda smiles: 1.0),
        lambda vae, out: molvae.Objective(score="qed"),
        lambda vae, out: molvae.Objective(score={"kind": "qed"}, direction="up"),
        lambda vae, out: molvae.CampaignRecipe(objectives=[lambda smiles: 1.0]),
        lambda vae, out: molvae.TrainRecipe(),
        lambda vae, out: molvae.TrainRecipe(corpus=5),
        lambda vae, out: molvae.Campaign.open({"objectives": []}, out),
        lambda vae, out: molvae.Campaign.open(out / "missing.toml", out),
        lambda vae, out: molvae.Campaign.read(out),
        lambda vae, out: molvae.train({"corpus": "x"}, out),
        lambda vae, out: molvae.read_recipe(out, molvae.CampaignRecipe),
        lambda vae, out: molvae.Molecule.parse(None),
        lambda vae, out: molvae.write_picture(out / "a.svg", pd.DataFrame({"a": [1]}), ["a"]),
        lambda vae, out: molvae.write_map(pd.DataFrame({"a": [1]}), out / "a.html"),
        lambda vae, out: vae.encode(5),
        lambda vae, out: vae.decode("CCO"),
        lambda vae, out: vae.sample("many"),
        lambda vae, out: vae.sample(-1),
        lambda vae, out: vae.predict(None),
    ],
)
def test_every_public_call_raises_our_errors_only(model, tmp_path, call):
    with pytest.raises(molvae.MolvaeError):
        call(molvae.load(model), tmp_path)


def test_all_errors_are_of_one_tree():
    from molvae import errors

    own = [one for one in vars(errors).values() if inspect.isclass(one) and issubclass(one, Exception)]
    assert all(issubclass(one, molvae.MolvaeError) for one in own)
    assert {one.exit_code for one in own} == {1, 2}


def test_a_model_between_strings_and_vectors(model):
    vae = molvae.load(model)
    posterior = vae.encode(["CC(=O)NCCO", "c1ccccc1"])
    assert tuple(posterior.mean.shape) == tuple(posterior.logvar.shape) == (2, 8)
    texts = vae.decode(posterior.mean)
    assert [type(text) for text in texts] == [str, str]
    assert len(vae.sample(100, seed=0)) == 100
    assert vae.sample(100, seed=0) == vae.sample(100, seed=0) != vae.sample(100, seed=1)


def test_a_campaign_from_a_recipe_to_a_table(model, tmp_path):
    recipe = Path(__file__).parents[1] / "pipelines" / "campaign.toml"
    small = [f'model="{model}"', "start.n=6", "budget.evaluations=10", "q=4", 'executor.kind="inline"']
    campaign = molvae.Campaign.open(recipe, tmp_path / "run", small)
    state = campaign.run()
    assert state.used == 10
    table = campaign.table()
    assert table.columns[0] == "SMILES"
    assert len(table) == 10
    again = molvae.Campaign.open(recipe, tmp_path / "run", small)
    again.run()
    pd.testing.assert_frame_equal(again.table(), table)
    assert molvae.Campaign.read(tmp_path / "run").export(tmp_path / "candidates.csv") == 10


def test_fetch_prepare_train_and_evaluate_from_python(trained, tmp_path):
    raw = molvae.fetch("nci5k", tmp_path / "raw")
    assert (raw / "manifest.json").exists()
    manifest = molvae.prepare(trained / "molecules.smi", tmp_path / "corpus", molvae.PrepareSettings(valid=10, test=0))
    assert manifest["counts"]["train"] == 150
    recipe = molvae.TrainRecipe(
        corpus=tmp_path / "corpus",
        net={
            "latent": 2,
            "embedding": 4,
            "encoder": {"kind": "gru", "hidden": 4},
            "decoder": {"kind": "gru", "hidden": 4},
        },
        train={"epochs": 1, "batch": 64},
        hardware={"device": "cpu"},
    )
    vae = molvae.load(molvae.train(recipe, tmp_path / "run"))
    assert isinstance(vae, molvae.SmilesVAE)
    assert molvae.evaluate(vae, ["CCCO", "CCCN"], samples=5).nll > 0
    assert molvae.Molecule.parse("OCC").smiles == "CCO"
