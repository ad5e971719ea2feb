from pathlib import Path

import pytest

from molvae.bo.acquisitions import UCB
from molvae.bo.surrogates import AdditiveGP
from molvae.campaign.evaluate.executors import Processes
from molvae.campaign.propose.bayes import Bayes
from molvae.campaign.propose.initial import FromPrior
from molvae.campaign.propose.inner_loop import MOVES
from molvae.campaign.recipe import CampaignRecipe
from molvae.config import as_table, parse_recipe, read_recipe, read_record
from molvae.errors import RecipeError

PIPELINES = Path(__file__).parents[2] / "pipelines"
QED = {"score": {"kind": "qed"}}
SAS = {"score": {"kind": "sas"}}
AT_MOST = {"score": {"kind": "logp"}, "direction": "at most", "bound": 3.0}


def test_the_demo_campaign():
    recipe = read_recipe(PIPELINES / "campaign.toml", CampaignRecipe)
    assert [objective.label for objective in recipe.objectives] == ["5*QED-SAS"] or len(recipe.objectives) == 1
    assert recipe.objectives[0].score.kind == "qed_sas"
    assert (recipe.model, recipe.q, recipe.budget.evaluations) == ("zinc250k", 10, 300)
    assert recipe.start == FromPrior(n=60)
    assert recipe.executor == Processes()
    assert recipe.method == Bayes(surrogate=AdditiveGP(), acquisition=UCB())
    assert recipe == parse_recipe({"objectives": [{"score": {"kind": "qed_sas"}}]}, CampaignRecipe)


def test_the_pareto_campaign():
    recipe = read_recipe(PIPELINES / "pareto.toml", CampaignRecipe)
    assert [objective.direction for objective in recipe.objectives] == ["maximize", "minimize", "target"]
    assert [recipe.objectives[2].utility(value) for value in (1.0, 2.5, 3.0, 4.5)] == [0.0, 0.0, 0.0, -1.5]
    assert recipe.budget.evaluations == 200


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"surrogate": {"kind": "latent", "iterations": 2}, "acquisition": {"kind": "logei"}, "reference_point": [1.0]},
    ],
)
def test_a_recipe_round_trips_through_its_table(recipe, changes):
    assert parse_recipe(as_table(recipe(**changes)), CampaignRecipe) == recipe(**changes)


def test_constraints_do_not_count_as_objectives_to_improve():
    table = {"objectives": [AT_MOST, QED], "budget": {"target": 0.9}, "method": {"kind": "cmaes"}}
    recipe = parse_recipe(table, CampaignRecipe)
    assert (recipe.improved, recipe.constraints) == ([1], [0])


@pytest.mark.parametrize(
    ("changes", "match"),
    [
        ({"objectives": []}, "objectives"),
        ({"objectives": [QED, QED]}, "two objectives are called 'QED'"),
        ({"objectives": [QED, SAS], "budget": {"target": 0.9}}, "budget.target is for a single objective"),
        ({"objectives": [QED, SAS], "reference_point": [0.1]}, "1 values for 2 objectives"),
        ({"objectives": [AT_MOST]}, "all objectives are constraints and none is to be improved; add one"),
        (
            {"objectives": [QED, AT_MOST], "reference_point": [0.1, 3]},
            "2 values for 1 objectives to improve",
        ),
        (
            {"objectives": [QED, SAS, {**QED, "name": "a"}, {**QED, "name": "b"}, {**QED, "name": "c"}, AT_MOST]},
            "at most 4 objectives can be improved at once, and there are 5",
        ),
        ({"start": {"kind": "prior", "n": 400}}, "400 start molecules are more than the 300"),
        ({"start": {"kind": "given", "smiles": []}}, "start.given.smiles"),
        ({"start": {"kind": "pryor"}}, "there is no kind 'pryor'; did you mean 'prior'"),
        ({"budget": {"evaluation": 3}}, "unknown key; did you mean 'evaluations'"),
        ({"q": "10"}, "q: .*valid integer"),
        ({"method": {"kind": "gradient"}}, "method.kind gradient needs method.weights"),
        ({"method": {"retrain": {"every": -1}}}, "retrain.every: .*greater than or equal to 0"),
        ({"method": {"kind": "bayesian"}}, "there is no kind 'bayesian'; did you mean 'bayes'"),
        ({"surrogate": {"kind": "latnt"}}, "there is no kind 'latnt'; did you mean 'latent'"),
        ({"acquisition": {"samples": 16}}, "acquisition.ucb.samples: unknown key"),
        ({"acquisition": {"weights": [2.0, 1.0]}}, "acquisition.ucb: weights .* 0 < least ≤ largest"),
        (
            {"search": dict.fromkeys(MOVES, 0)},
            "search: one of noise, interpolation, crossing and mutation has to be above 0",
        ),
        ({"executor": {"kind": "processes", "timeout": 0}}, "executor.processes.timeout: .*greater than 0"),
    ],
)
def test_a_wrong_recipe_names_the_key(changes, match):
    with pytest.raises(RecipeError, match=match):
        parse_recipe({"objectives": [QED]} | changes, CampaignRecipe)


BEFORE = {
    "seed": 1, "model": "zinc250k", "q": 5,
    "objectives": [
        {"score": {"kind": "qed_sas"}, "name": None, "direction": "maximize", "target": None, "tolerance": 0.0},
    ],
    "start": {"kind": "prior", "n": 12},
    "budget": {"evaluations": 32, "target": None, "plateau": None},
    "search": {
        "generations": 2, "children": 60, "parents": 100, "length": 1.5, "noise": 0.3, "interpolation": 0.2,
        "crossing": 0.25, "mutation": 0.25,
    },
    "acquisition": {"kind": "ucb", "weights": [0.3, 10.0], "reference": "inferred"},
    "learning": {"every": 10, "best": 100, "drawn": 32, "replay": 32, "rate": 0.0001, "beta": 0.02},
    "restarts": {"patience": 5, "gain": 0.9},
    "executor": {"kind": "inline"}, "reference": None,
}  # fmt: skip
"""What version 0.1 recorded of a campaign, but for surrogate and method."""


@pytest.mark.parametrize("surrogate", [{"kind": "additive", "most": 2000, "noise": 0.01, "iterations": 15},
                                       {"kind": "latent", "most": 2000, "bound": 3.0, "iterations": 50}])  # fmt: skip
def test_a_record_of_version_0_1_is_read(surrogate):
    table = {**BEFORE, "surrogate": surrogate, "method": {"kind": "bayes", "strangers": 0.1}}
    method = read_record(table, CampaignRecipe, "recipe.json").method
    assert method.surrogate.kind == surrogate["kind"]
    assert (method.search.children, method.retrain.sampled, method.restarts.patience) == (60, 32, 5)


@pytest.mark.parametrize("kind", ["random", "genetic", "cmaes"])
def test_a_record_of_version_0_1_held_what_its_method_never_read(kind):
    table = {**BEFORE, "surrogate": {"kind": "additive", "most": 9}, "method": {"kind": kind}}
    assert read_record(table, CampaignRecipe, "recipe.json").method.kind == kind
    with pytest.raises(RecipeError, match="does not read it"):
        parse_recipe(table, CampaignRecipe)


def test_old_keys_are_read_with_a_remark_each(caplog):
    table = {"objectives": [QED], "search": {"children": 7}, "learning": {"every": 3, "drawn": 5}}
    recipe = parse_recipe(table, CampaignRecipe)
    assert recipe.method == Bayes(search={"children": 7}, retrain={"every": 3, "sampled": 5})
    assert caplog.messages == [
        "the recipe: learning.drawn is called method.retrain.sampled now; the old name will go in a later release",
        "the recipe: learning is called method.retrain now; the old name will go in a later release",
        "the recipe: search is called method.search now; the old name will go in a later release",
    ]
    with pytest.raises(RecipeError, match=r"search is called method\.search now, and the recipe has both"):
        parse_recipe({**table, "method": {"search": {"children": 8}}}, CampaignRecipe)
