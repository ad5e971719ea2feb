import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from molvae.chem.combine import Desirability, Product, WeightedSum
from molvae.chem.objectives import Objective, named
from molvae.chem.scorers import (
    QED,
    SAS,
    Descriptor,
    External,
    LogP,
    PenalizedLogP,
)
from molvae.config import Component, as_table, parse_recipe, read_recipe, recipe_hash
from molvae.errors import ObjectiveError, RecipeError, UsageError

finite = st.floats(-1e6, 1e6)


# --- directions ---------------------------------------------------------------------------------------


@given(finite, finite)
def test_maximise_and_minimise(a, b):
    up, down = Objective(score=QED(), direction="maximize"), Objective(score=QED(), direction="minimize")
    assert up.utility(a) == a
    assert down.utility(a) == -a
    assert (up.utility(a) < up.utility(b)) == (down.utility(a) > down.utility(b)) == (a < b)


@given(finite, finite, st.floats(0, 1e3), finite)
def test_target(value, target, tolerance, other):
    made = Objective(score=LogP(), direction="target", target=target, tolerance=tolerance)
    assert made.utility(target) == 0.0
    assert made.utility(value) <= 0.0
    assert made.utility(value) == pytest.approx(-max(0.0, abs(value - target) - tolerance))
    if abs(value - target) <= abs(other - target):
        assert made.utility(value) >= made.utility(other)


@given(finite, finite)
def test_a_bound_holds_from_a_utility_of_0_up(value, bound):
    most = Objective(score=LogP(), direction="at most", bound=bound)
    least = Objective(score=LogP(), direction="at least", bound=bound)
    assert (most.utility(value) >= 0) == (value <= bound)
    assert (least.utility(value) >= 0) == (value >= bound)
    assert most.utility(value) == -least.utility(value)
    assert most.constraint
    assert not Objective(score=LogP()).constraint


@pytest.mark.parametrize("direction", ["maximize", "minimize", "at most", "at least"])
def test_a_utility_stands_for_a_value(direction):
    made = Objective(score=LogP(), direction=direction, bound=2.0 if "at" in direction[:2] else None)
    assert made.value(made.utility(0.75)) == 0.75


def test_where_there_is_no_bound_recipes_read_as_they_did_before_there_were_any():
    assert "bound" not in as_table(Objective(score=LogP()))
    bounded = Objective(score=LogP(), direction="at most", bound=3.0)
    assert parse_recipe(as_table(bounded), Objective) == bounded


def test_natural_directions_are_filled_in_and_kept():
    assert Objective(score=SAS()).direction == "minimize"
    assert Objective(score=QED()).direction == "maximize"
    assert Objective(score=SAS()).utility(3.0) == -3.0
    assert Objective(score=SAS()) == Objective(score=SAS(), direction="minimize")
    assert recipe_hash(Objective(score=SAS())) == recipe_hash(Objective(score=SAS(), direction="minimize"))
    assert Objective(score=SAS(), direction="maximize").utility(3.0) == 3.0


def test_labels_units_and_meanings():
    made = Objective(score=QED())
    assert (made.label, made.unit, made.meaning) == (
        "QED",
        "0 to 1",
        "quantitative estimate of drug-likeness",
    )
    assert Objective(score=QED(), name="drug-likeness").label == "drug-likeness"
    assert Objective(score=PenalizedLogP(normalised=True)).label == "penalized_logP_normalised"


# --- values that are none -----------------------------------------------------------------------------


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf, None, "1.5", [1.0, 2.0], np.ones(2), 1j, True])
def test_values_that_are_not_finite_numbers(value, monkeypatch, aspirin):
    monkeypatch.setattr(LogP, "__call__", lambda self, molecule: value)
    for score in (LogP(), Product(of=(LogP(),)), Desirability(of=LogP(), points=((0, 0), (1, 1)))):
        with pytest.raises(ObjectiveError, match=r"logP .*CC\(=O\)Oc1ccccc1C\(=O\)O"):
            Objective(score=score).evaluate(aspirin)


@pytest.mark.parametrize("value", [3, np.float32(3), np.int64(3), True + 2, np.array(3.0)])
def test_values_that_are_numbers(value, monkeypatch, aspirin):
    monkeypatch.setattr(LogP, "__call__", lambda self, molecule: value)
    found = Objective(score=LogP()).evaluate(aspirin)
    assert found == 3.0
    assert type(found) is float


def test_an_overflow_is_an_error(aspirin):
    huge = WeightedSum(of=(SAS(),), weights=(1e308,))
    with pytest.raises(ObjectiveError, match="no finite value"):
        Objective(score=Product(of=(huge, huge))).evaluate(aspirin)


# --- recipes ------------------------------------------------------------------------------------------


class Recipe(Component):
    objectives: tuple[Objective, ...]


def test_a_toml_recipe(tmp_path, aspirin):
    (tmp_path / "recipe.toml").write_text(
        "[[objectives]]\n"
        'score = {kind = "qed"}\n'
        'direction = "maximize"\n'
        "[[objectives]]\n"
        'name = "balanced"\n'
        'score = {kind = "weighted_sum", of = [{kind = "qed"}, {kind = "sas"}], weights = [5, -1]}\n'
        "[[objectives]]\n"
        'score = {kind = "logp"}\n'
        'direction = "target"\n'
        "target = 2\n"
        "tolerance = 0.5\n"
        "[[objectives]]\n"
        'score = {kind = "desirability", of = {kind = "similarity", to = "CCO"}, points = [[0, 0], [1, 9]]}\n'
    )
    recipe = read_recipe(tmp_path / "recipe.toml", Recipe)
    assert [made.label for made in recipe.objectives] == [
        "QED",
        "balanced",
        "logP",
        "desirability_of_similarity",
    ]
    assert recipe.objectives[1].evaluate(aspirin) == pytest.approx(1.1706, abs=5e-5)
    assert recipe.objectives[2].utility(3.0) == -0.5
    assert parse_recipe(as_table(recipe), Recipe) == recipe


@pytest.mark.parametrize(
    ("table", "message"),
    [
        ({"score": {"kind": "qde"}}, r"there is no kind 'qde'; did you mean 'qed'"),
        ({"score": {}}, r"key 'kind' is required"),
        ({"score": {"kind": "qed", "weight": 1}}, r"score.qed.weight: unknown key"),
        ({"score": {"kind": "qed"}, "direktion": "maximize"}, r"unknown key; did you mean 'direction'"),
        ({"score": {"kind": "qed"}, "direction": "up"}, r"'maximize', 'minimize', 'target', 'at most' or 'at least'"),
        ({"score": {"kind": "qed"}, "direction": "target"}, r"direction = 'target' needs target"),
        ({"score": {"kind": "qed"}, "target": 1}, r"target and tolerance go with direction = 'target'"),
        ({"score": {"kind": "qed"}, "direction": "at most"}, r"direction = 'at most' needs bound"),
        ({"score": {"kind": "qed"}, "direction": "maximize", "bound": 1}, r"bound goes with direction = 'at most' or"),
        ({"score": {"kind": "qed"}, "direction": "at least", "bound": 1, "target": 2}, r"target and tolerance go with"),
        ({"score": {"kind": "qed"}, "tolerance": 1}, r"target and tolerance go with direction = 'target'"),
        (
            {"score": {"kind": "qed"}, "direction": "target", "target": 1, "tolerance": -1},
            r"tolerance: .*greater",
        ),
        ({"score": {"kind": "qed"}, "direction": "target", "target": "1"}, r"target: .*number"),
        ({"score": {"kind": "qed"}, "name": ""}, r"name: .*at least 1"),
        ({"score": {"kind": "descriptor", "name": "molwt"}}, r"no descriptor 'molwt'; did you mean 'MolWt'"),
        ({"score": {"kind": "descriptor", "name": "zzzzz"}}, r"descList has them all"),
        ({"score": {"kind": "similarity", "to": ["CCO", "C1CC"]}}, r"'C1CC': .*unclosed ring at character 2"),
        ({"score": {"kind": "similarity", "to": []}}, r"at least 1 item"),
        (
            {"score": {"kind": "weighted_sum", "of": [{"kind": "qed"}], "weights": [1, 2]}},
            r"1 scorers need as many",
        ),
        ({"score": {"kind": "product", "of": []}}, r"at least 1 item"),
        (
            {"score": {"kind": "desirability", "of": {"kind": "qed"}, "points": [[1, 0], [1, 1]]}},
            r"rise strictly",
        ),
        ({"score": {"kind": "desirability", "of": {"kind": "qed"}, "points": [[1, 0]]}}, r"at least 2 items"),
        ({"score": {"kind": "callable", "call": "os.system"}}, r"'package.module:name'"),
        ({"score": {"kind": "callable", "call": "a b:c"}}, r"'package.module:name'"),
    ],
)
def test_recipes_that_do_not_fit(table, message):
    with pytest.raises(RecipeError, match=message):
        parse_recipe(table, Objective)


# --- words on the command line ------------------------------------------------------------------------


def test_named():
    assert named("qed") == named("QED") == Objective(score=QED())
    assert named("sas").direction == "minimize"
    assert named("qed_sas").label == "5QED-SAS"
    assert named("MolWt").score == Descriptor(name="MolWt")
    assert named("math:sqrt").score == External(call="math:sqrt")


@pytest.mark.parametrize(
    ("word", "message"),
    [
        ("qd", r"there is no objective 'qd'; did you mean 'qed'"),
        ("molwt", r"did you mean 'MolWt'"),
        ("xyzzy", r"known are logp, qed, .*MolWt, and package.module:function"),
        ("similarity", r"needs settings \(to\); put it in a recipe"),
        ("desirability", r"needs settings \(of, points\)"),
        ("a b:c", r"'package.module:name'"),
    ],
)
def test_named_nothing(word, message):
    with pytest.raises(UsageError, match=message):
        named(word)
