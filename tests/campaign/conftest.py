from pathlib import Path
from types import ModuleType

import pytest

from molvae.campaign.recipe import CampaignRecipe
from molvae.config import parse_recipe

HERE = Path(__file__).parent


@pytest.fixture(scope="session")
def toy(module_at) -> ModuleType:
    return module_at(HERE / "toy.py")


@pytest.fixture(scope="session")
def space(toy):
    return toy.ToySpace()


@pytest.fixture(scope="session")
def open_space(toy):
    return toy.OpenSpace()


@pytest.fixture(scope="session")
def recipe():
    """A small campaign on the toy space, whose pool edits of graphs hardly hit; keyword arguments change its table."""

    def make(**changes) -> CampaignRecipe:
        table = {
            "model": "toy",
            "objectives": [{"score": {"kind": "logp"}}],
            "start": {"kind": "prior", "n": 6},
            "budget": {"evaluations": 14},
            "q": 4,
            "search": {"generations": 2, "children": 40, "crossing": 0, "mutation": 0},
            "executor": {"kind": "inline"},
        }
        return parse_recipe(table | changes, CampaignRecipe)

    return make
