import importlib.util
from pathlib import Path
from types import ModuleType

import pytest

from molvae.campaign.recipe import CampaignRecipe
from molvae.config import parse_recipe

HERE = Path(__file__).parent


@pytest.fixture(scope="session")
def toy() -> ModuleType:
    spec = importlib.util.spec_from_file_location("toy", HERE / "toy.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="session")
def space(toy):
    return toy.ToySpace()


@pytest.fixture(scope="session")
def recipe():
    """A small campaign on the toy space; keyword arguments change the recipe's table."""

    def make(**changes) -> CampaignRecipe:
        table = {
            "model": "toy",
            "objectives": [{"score": {"kind": "logp"}}],
            "start": {"kind": "prior", "n": 6},
            "budget": {"evaluations": 14},
            "q": 4,
            "search": {"points": 80},
            "acquisition": {"samples": 16},
            "executor": {"kind": "inline"},
        }
        return parse_recipe(table | changes, CampaignRecipe)

    return make
