import numpy as np
import pytest

from molvae.campaign.record.merit import best, history, merits, ranked, utilities, violations
from molvae.campaign.record.state import Failed, Observed, Proposal, fold
from molvae.errors import CampaignError

LOGP = {"score": {"kind": "logp"}}
DOWN = {"score": {"kind": "sas"}, "direction": "minimize"}
AT_MOST = {"score": {"kind": "logp"}, "direction": "at most", "bound": 2.0}
NEAR = {"score": {"kind": "logp"}, "direction": "target", "target": 2.0, "tolerance": 1.0}


def course(*values, q=2):
    """Rounds of two; None fails."""
    z = np.zeros(2, dtype=np.float32)
    rows = [value if value is None or isinstance(value, tuple) else (value,) for value in values]
    proposals = [Proposal(k + 1, k // q, "C" * (k + 1), z) for k in range(len(rows))]
    outcomes = [Failed("no", 0.0) if row is None else Observed(tuple(map(float, row)), 0.0) for row in rows]
    return fold(proposals, {k + 1: outcome for k, outcome in enumerate(outcomes)})


@pytest.mark.parametrize(
    ("objective", "expected", "top"),
    [(LOGP, [2.0, 2.0, 6.0], 6.0), (DOWN, [-1.0, -1.0, -1.0], 1.0), (NEAR, [0.0, 0.0, 0.0], 1.0)],
)
def test_history_is_the_best_utility_after_each_round(recipe, objective, expected, top):
    state, asked = course(1, 2, None, 1.5, 6, None), recipe(objectives=[objective])
    assert history(state, asked) == expected
    assert best(state, asked) == (asked.objectives[0].label, top)


def test_hypervolume_history_by_hand_with_a_given_and_an_inferred_reference(recipe):
    state = course((1, 3), (3, 5), (4, 1), (2, 2))  # logP up, SAS down: (1, −3), (3, −5), (4, −1), (2, −2)
    given = recipe(objectives=[LOGP, DOWN], reference_point=[0.0, 6.0])
    assert history(state, given) == [1 * 3 + 2 * 1, 4 * 5]
    assert best(state, given) == ("hypervolume", 20.0)
    inferred = recipe(objectives=[LOGP, DOWN])  # a tenth of the range below the start set: (0.8, −5.2)
    assert history(state, inferred) == pytest.approx([0.2 * 2.2 + 2.0 * 0.2, 3.2 * 4.2])


def test_utilities_apply_each_direction_once(recipe):
    state, asked = course((1, 3), (4, 5)), recipe(objectives=[NEAR, DOWN])
    assert utilities(state, asked).tolist() == [[0.0, -3.0], [-1.0, -5.0]]


def test_ranked_by_utility_or_by_front(recipe):
    assert [r.proposal.call for r in ranked(course(1, 3, None, 2), recipe())] == [2, 4, 1]
    several = course((1, 3), (0, 9), (4, 5), (2, 4))
    asked = recipe(objectives=[LOGP, DOWN])
    assert [r.proposal.call for r in ranked(several, asked)] == [1, 3, 4, 2]
    shuffled = [r.proposal.call for r in ranked(several, asked, np.random.default_rng(0))]
    assert sorted(shuffled[:3]) == [1, 3, 4]
    assert shuffled[3] == 2


@pytest.mark.parametrize(
    ("budget", "values", "reason"),
    [
        ({"evaluations": 6}, (1, 2, 3, 4), None),
        ({"evaluations": 6}, (1, None, 3, 4, None, 2), "budget of 6 evaluations used"),
        ({"evaluations": 9, "target": 3.0}, (1, 2, 3, 2), "target 3 reached"),
        ({"evaluations": 9, "target": 3.1}, (1, 2, 3, 2), None),
        ({"evaluations": 9, "plateau": 2}, (5, 2, 3, 4), None),
        ({"evaluations": 9, "plateau": 2}, (5, 2, 3, 4, 5, 1), "plateau: nothing better in 2 rounds"),
        ({"evaluations": 9, "plateau": 2}, (5, 2, 3, 4, 6, 1), None),
    ],
)
def test_reasons_to_stop(recipe, budget, values, reason):
    asked = recipe(budget=budget, start={"kind": "prior", "n": 2})
    assert asked.budget(course(*values), asked) == reason


def test_target_of_a_minimised_objective(recipe):
    asked = recipe(objectives=[DOWN], budget={"evaluations": 9, "target": 2.0})
    assert asked.budget(course(3, 2.5), asked) is None
    assert asked.budget(course(3, 1.5), asked) == "target 2 reached"


def test_a_start_set_that_failed_whole_is_an_error_with_the_first_reason(recipe):
    with pytest.raises(CampaignError, match=r"none of the 2 start molecules could be evaluated; the first, C: no"):
        recipe().budget(course(None, None), recipe())


class TestConstraints:
    """SAS down or QED up as well, logP at most 2."""

    def test_merits_by_hand(self, recipe):
        state, asked = course((3, 1), (1, 3), (2, 2), (1, 4)), recipe(objectives=[DOWN, AT_MOST])
        assert utilities(state, asked)[:, 1].tolist() == [1.0, -1.0, 0.0, -2.0]
        assert violations(state, asked) == pytest.approx([0, 1 / 1.25**0.5, 0, 2 / 1.25**0.5])
        width = 0.6875**0.5
        expected = [-3, -3 - width * (1 + 1 / 1.25**0.5), -2, -3 - width * (1 + 2 / 1.25**0.5)]
        assert merits(state, asked)[:, 0] == pytest.approx(expected)
        assert [r.proposal.call for r in ranked(state, asked)] == [3, 1, 2, 4]

    def test_violations_of_several_are_added_in_units_of_their_spread(self, recipe):
        weight = {"score": {"kind": "descriptor", "name": "MolWt"}, "direction": "at least", "bound": 100}
        state = course((0, 3, 90), (0, 1, 110), (0, 3, 110), (0, 1, 90))
        assert violations(state, recipe(objectives=[DOWN, AT_MOST, weight])) == pytest.approx([2, 0, 1, 1])

    def test_with_constraints_that_all_hold_merits_are_utilities(self, recipe):
        state = course((3, 1), (1, 2))
        assert merits(state, recipe(objectives=[DOWN, AT_MOST])).tolist() == [[-3.0], [-1.0]]

    def test_of_several_objectives_an_infeasible_one_is_on_no_front_of_feasible_ones(self, recipe):
        qed = {"score": {"kind": "qed"}}
        asked = recipe(objectives=[AT_MOST, DOWN, qed])
        state = course((3, 1, 0.9), (1, 3, 0.5), (2, 4, 0.6), (9, 1, 0.9))
        assert [r.proposal.call for r in ranked(state, asked)][2:] == [1, 4]
        Y = merits(state, asked)
        assert (Y[[1, 2]] > Y[0]).all()
        assert (Y[0] > Y[3]).all()

    def test_history_and_best_are_of_feasible_ones(self, recipe):
        state, asked = course((1, 3), (1, 4), (3, 2), (1, 9), (2.5, 3), (2, 1)), recipe(objectives=[DOWN, AT_MOST])
        assert history(state, asked) == [-np.inf, -3.0, -2.0]
        assert best(state, asked) == ("SAS", 2.0)
        assert best(course((1, 3), (1, 4)), asked) is None
        assert best(course(), asked) is None

    def test_hypervolume_is_of_feasible_ones_and_its_reference_of_all_start_molecules(self, recipe):
        """SAS 1 to 3, QED 0.4 to 0.8: the reference is (−3.2, 0.36)."""
        asked = recipe(objectives=[DOWN, {"score": {"kind": "qed"}}, AT_MOST])
        state = course((1, 0.4, 3), (3, 0.8, 3), (2.2, 0.86, 2), (1, 0.9, 9))
        assert history(state, asked) == pytest.approx([0, 1.0 * 0.5])
        assert best(state, asked) == ("hypervolume", pytest.approx(0.5))
        assert best(course((1, 0.4, 3), (3, 0.8, 3)), asked) is None

    @pytest.mark.parametrize(
        ("budget", "values", "reason"),
        [
            ({"target": 2.0}, ((3, 1), (1, 3)), None),
            ({"target": 2.0}, ((3, 1), (2, 2)), "target 2 reached"),
            ({"plateau": 2}, ((3, 1), (2, 1), (1, 3), (1, 3), (1, 3), (0, 3)), "plateau: nothing better in 2 rounds"),
            ({"plateau": 2}, ((3, 5), (2, 5), (1, 4), (1, 3), (1, 3), (0, 2.5)), None),
            ({"plateau": 2}, ((3, 5), (2, 5), (1, 6), (1, 5), (1, 8), (0, 5)), "plateau: nothing better in 2 rounds"),
        ],
    )
    def test_reasons_to_stop(self, recipe, budget, values, reason):
        """As long as nothing is feasible, less violation is a gain."""
        asked = recipe(objectives=[DOWN, AT_MOST], budget={"evaluations": 9, **budget}, start={"kind": "prior", "n": 2})
        assert asked.budget(course(*values), asked) == reason
