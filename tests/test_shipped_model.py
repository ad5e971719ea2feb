"""The model that comes with the package, and what the first command of the README makes of it."""

import numpy as np
import pytest

import molvae
from molvae.config import parse_recipe
from molvae.vae.evaluation.metrics import text_statistics
from molvae.vae.folder import find_model, installed_models, model_facts

DRUGS = {
    "aspirin": "CC(=O)Oc1ccccc1C(=O)O",
    "paracetamol": "CC(=O)Nc1ccc(O)cc1",
    "ibuprofen": "CC(C)Cc1ccc(C(C)C(=O)O)cc1",
    "lidocaine": "CCN(CC)CC(=O)Nc1c(C)cccc1C",
    "moclobemide": "O=C(NCCN1CCOCC1)c1ccc(Cl)cc1",
    "diazepam": "CN1C(=O)CN=C(c2ccccc2)c2cc(Cl)ccc21",
    "celecoxib": "Cc1ccc(-c2cc(C(F)(F)F)nn2-c2ccc(S(N)(=O)=O)cc2)cc1",
    "zolpidem": "Cc1ccc(-c2nc3ccc(C)cn3c2CC(=O)N(C)C)cc1",
}


@pytest.fixture(scope="module")
def vae():
    return molvae.load("zinc250k")


def test_the_model_is_small_and_whole_and_says_where_it_comes_from():
    folder = find_model("zinc250k")
    assert [model.name for model in installed_models()] == ["zinc250k"]
    assert sum(path.stat().st_size for path in folder.iterdir()) < 20e6
    facts = model_facts("zinc250k")
    assert facts["data"]["counts"]["train"] == 220_010
    parts = [facts]
    while "start" in parts[-1]:
        parts.append(parts[-1]["start"])
    assert sum(part["seconds"] for part in parts) >= 4 * 3600
    assert not any(part["commit"].endswith("-dirty") for part in parts)
    card = (folder / "card.md").read_text()
    for said in (
        facts["commit"],
        facts["data"]["digest"],
        facts["hardware"]["device"],
        "reconstruction",
        "validity_prior",
    ):
        assert said in card


def test_its_recipes_are_those_in_pipelines():
    """Those of each training, the last first."""
    facts = {"start": model_facts("zinc250k")}
    for part in ("match", "anneal", "synthetic", "refine", "train"):
        facts = facts["start"]
        recipe = molvae.read_recipe(f"pipelines/{part}_zinc250k.toml", molvae.TrainRecipe)
        assert parse_recipe(facts["recipe"], molvae.TrainRecipe) == recipe
    assert "start" not in facts


def test_its_latent_space_holds_known_drugs_apart(vae):
    posterior = vae.encode(list(DRUGS.values()))
    assert posterior.mean.shape == posterior.logvar.shape == (len(DRUGS), 64)
    back = vae.decode(posterior.mean)
    same = [molvae.Molecule.parse(smiles).smiles == text for smiles, text in zip(DRUGS.values(), back, strict=True)]
    assert np.mean(same) >= 0.5


def test_its_samples_are_valid_different_and_new(vae):
    figures = text_statistics(vae.sample(200, seed=3, grammar=False), vae.known)
    assert figures["validity"] > 0.5
    assert figures["unique"] > 0.99
    assert figures["novel"] > 0.95
    assert vae.sample(20, seed=5) == vae.sample(20, seed=5) != vae.sample(20, seed=6)


@pytest.mark.slow
def test_a_short_campaign_beats_its_own_start(tmp_path):
    settings = ["budget.evaluations=110", 'executor.kind="inline"']
    campaign = molvae.Campaign.open("pipelines/campaign.toml", tmp_path / "run", settings)
    campaign.run()
    table = campaign.table()
    score = table["5QED-SAS"]
    assert len(table) == table["SMILES"].nunique() == 110
    assert score[table["round"] > 0].mean() > score[table["round"] == 0].mean() + 1
    assert score.head(10).mean() > score[table["round"] == 0].nlargest(10).mean()
