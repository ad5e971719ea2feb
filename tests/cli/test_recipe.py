"""molvae init and parts, as a user types them."""

import tomllib

import pytest

from molvae.campaign.recipe import CampaignRecipe
from molvae.cli.recipe import RECIPES
from molvae.config import read_recipe
from molvae.vae.training.recipe import TrainRecipe


@pytest.mark.parametrize("name", RECIPES)
def test_a_recipe_to_begin_with_is_written_with_its_comments(molvae, tmp_path, monkeypatch, name):
    monkeypatch.chdir(tmp_path)
    told = molvae("init", name)
    path = tmp_path / f"{name}.toml"
    text = path.read_text()
    assert "#" in text
    assert "pipelines/" not in text.replace("scripts/", "")
    schema = TrainRecipe if "corpus" in tomllib.loads(text) else CampaignRecipe
    read_recipe(path, schema)
    assert ("molvae train " if schema is TrainRecipe else "molvae optimize ") in told.stderr


def test_a_path_says_where(molvae, tmp_path):
    molvae("init", str(tmp_path / "mine" / "pareto.toml"))
    assert len(read_recipe(tmp_path / "mine" / "pareto.toml", CampaignRecipe).objectives) == 3


def test_nothing_is_overwritten_and_the_nearest_name_is_told(molvae, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "campaign.toml").write_text("mine")
    assert "is there already" in molvae("init", "campaign", code=2).stderr
    assert (tmp_path / "campaign.toml").read_text() == "mine"
    assert "did you mean 'campaign'?" in molvae("init", "campain.toml", code=2).stderr


def test_parts_are_listed_by_sort_and_kind(molvae):
    told = molvae("parts").stdout
    for part in ("surrogate", "additive", "acquisition", "ucb", "method", "genetic", "scorer", "qed", "executor"):
        assert part in told
    only = molvae("parts", "surrogate").stdout
    assert "latent" in only
    assert "genetic" not in only
    assert "did you mean 'surrogate'?" in molvae("parts", "surogate", code=2).stderr
