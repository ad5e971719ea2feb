import json
from dataclasses import asdict, replace

import numpy as np
import pytest

from molvae.campaign.recipe import CampaignRecipe
from molvae.campaign.record.state import Failed, Observed, Proposal, fold
from molvae.campaign.record.store import Round
from molvae.campaign.report.diagnostics import Best, Calibration, Move, diagnose
from molvae.config import parse_recipe

LOGP = {"score": {"kind": "logp"}}
DOWN = {"score": {"kind": "sas"}, "direction": "minimize"}
Z = np.zeros(2, dtype=np.float32)
PARTS = ("C", "N", "O", "F", "Cl", "CC", "CO", "OC", "CN", "C#N")
CORES = ("c1ccc({})cc1{}", "C1CN({})CCC1{}", "c1cc({})oc1{}")
POOL = tuple(core.format(a, b) for core in CORES for a in PARTS for b in PARTS)
START = POOL[::25]
OTHERS = tuple(smiles for smiles in POOL if smiles not in START)


def recipe(*objectives):
    return parse_recipe({"objectives": list(objectives or (LOGP,))}, CampaignRecipe)


def course(start, *rounds, smiles=None):
    """A state: values of the start set, then of each round as (move, predicted mean, sd, value); value None fails."""
    rows = [(0, ("prior", None, None, value)) for value in start]
    rows += [(k, row) for k, made in enumerate(rounds, 1) for row in made]
    names = smiles or [*START[: len(start)], *OTHERS]
    proposals, outcomes = [], {}
    for call, (number, (move, mean, sd, value)) in enumerate(rows, 1):
        told = None if mean is None else (_tuple(mean), _tuple(sd))
        proposals.append(
            Proposal(call, number, names[call - 1], Z, None, move, *(told or (None, None)), told and sum(told[0]))
        )
        outcomes[call] = Failed("no", 0.0) if value is None else Observed(_tuple(value), 0.0)
    return fold(proposals, outcomes)


def _tuple(values):
    return tuple(float(value) for value in values) if isinstance(values, tuple) else (float(values),)


def made(*numbers):
    return [Round(0, 9, 9, 9, 1.0, "w"), *(Round(k, *each, 3.0, "w") for k, each in enumerate(numbers, 1))]


class TestPredictions:
    ROUND = (("noise", 1, 1, 1.5), ("noise", 2, 1, 3.5), ("crossing", 3, 1, 6), ("mutation", 4, 2, 8))

    def test_by_hand(self):
        found = diagnose(course([1], self.ROUND), made((8, 6, 3)), recipe())
        assert found.window == 4
        assert found.calibration == {"logP": Calibration(n=4, within_1=0.25, within_2=0.75, rank_correlation=1.0)}

    def test_they_are_of_utilities_so_that_a_minimised_value_is_compared_with_its_negative(self):
        rounds = [("noise", -2, 1, 2.5), ("noise", -3, 1, 3), ("noise", -1, 1, 4.5)]
        found = diagnose(course([9], rounds), made((8, 6, 3)), recipe(DOWN)).calibration["SAS"]
        assert (found.within_1, found.within_2) == (2 / 3, 2 / 3)
        assert found.rank_correlation == pytest.approx(-0.5)

    def test_each_objective_has_its_own(self):
        rounds = [("noise", (k, -k), (1, 1), (k, k + 5)) for k in range(4)]
        found = diagnose(course([(0, 1)], rounds), made((8, 6, 3)), recipe(LOGP, DOWN))
        assert [(label, one.within_2) for label, one in found.calibration.items()] == [("logP", 1.0), ("SAS", 0.0)]
        assert [one.rank_correlation for one in found.calibration.values()] == pytest.approx([1, 1])

    def test_equal_values_share_a_rank_and_constant_ones_say_nothing(self):
        ties = [("noise", mean, 1, value) for mean, value in ((1, 1), (1, 2), (2, 2), (3, 3))]
        found = diagnose(course([1], ties), made((8, 6, 3)), recipe())
        assert found.calibration["logP"].rank_correlation == pytest.approx(5 / 6)  # as scipy.stats.spearmanr
        constant = [("noise", 1, 1, value) for value in range(4)]
        assert diagnose(course([1], constant), made((8, 6, 3)), recipe()).calibration["logP"].rank_correlation is None

    def test_only_the_last_200_evaluated_count(self):
        rounds = [[("old", 0, 1, 50)] * 10, *[[("new", 0, 1, 0)] * 10] * 20, [("new", 0, 1, None)] * 10]
        found = diagnose(course([1], *rounds), made(*[(8, 6, 3)] * 22), recipe())
        assert (found.window, found.calibration["logP"].n) == (200, 190)
        assert found.calibration["logP"].within_1 == 1.0
        assert found.moves == {"new": Move(200, 0)}

    def test_molecules_that_nothing_was_predicted_of_have_moves_alone(self):
        found = diagnose(course([1, 2], [("random", None, None, 3)]), made((8, 6, 3)), recipe())
        assert found.calibration == {}
        assert found.moves == {"random": Move(1, 1)}


class TestMoves:
    def test_one_entered_if_fewer_than_ten_before_it_were_as_good(self):
        start = range(10)
        rounds = [("low", 0, 1, 0), ("high", 0, 1, 0.5), ("low", 0, 1, 0.5), ("high", 0, 1, 99), ("fail", 0, 1, None)]
        found = diagnose(course(start, rounds), made((8, 6, 3)), recipe())
        assert found.moves == {"fail": Move(1, 0), "high": Move(2, 2), "low": Move(2, 0)}

    def test_with_several_objectives_the_first_front_counts(self):
        values = ((2, 2), (1, 1), (3, 9), (2, 2), (3, 1), (2.5, 1))
        rounds = [(f"{k}", (0, 0), (1, 1), value) for k, value in enumerate(values)]
        found = diagnose(course([(0, 5)], rounds), made((8, 6, 3)), recipe(LOGP, DOWN))
        assert [move for move, one in found.moves.items() if one.entered] == ["0", "1", "2", "4"]


class TestSearch:
    def test_texts_and_time_of_the_last_ten_rounds(self):
        rounds = [[("noise", 0, 1, 0)] * 2] * 11
        found = diagnose(course([1], *rounds), made((99, 1, 1), *[(10, 8, 2)] * 10), recipe())
        assert (found.invalid, found.known) == pytest.approx((0.2, 0.75))
        assert found.seconds == pytest.approx(1.5)

    def test_a_restart_is_no_search(self):
        rounds = [[("noise", 0, 1, 5)] * 2, [("restart", None, None, 9)] * 3, [("noise", 0, 1, 7)] * 2]
        found = diagnose(course([1], *rounds), made((10, 8, 2), (3, 3, 3), (10, 8, 2)), recipe())
        assert (found.invalid, found.known, found.seconds) == pytest.approx((0.2, 0.75, 1.5))
        assert (found.window, list(found.moves)) == (4, ["noise"])
        assert (found.rounds, found.without_gain) == (3, 1)

    @pytest.mark.parametrize(("values", "ago"), [((1, 1, 1), 3), ((2, 2, 1), 2), ((1, 2, 3), 0), ((2, None, None), 2)])
    def test_rounds_since_the_last_gain(self, values, ago):
        rounds = [[("noise", 0, 1, value)] for value in values]
        found = diagnose(course([1], *rounds), made(*[(8, 6, 3)] * 3), recipe())
        assert (found.rounds, found.without_gain) == (3, ago)

    def test_a_start_set_alone_says_little(self):
        found = diagnose(course([1, 2, 3]), made(), recipe())
        assert (found.window, found.moves, found.invalid, found.seconds) == (0, {}, None, None)
        assert (found.rounds, found.without_gain, found.warnings) == (0, 0, ())

    def test_no_records_say_nothing(self):
        found = diagnose(fold([], {}), [], recipe())
        assert (found.window, found.best, found.warnings) == (0, None, ())


class TestBest:
    def test_beside_the_start_set(self):
        smiles = [*START, "CCCCCCCCCCCCCCCCCCCCCCCC", "CCCCCCCCOCCCCCCCC"]
        state = course([0] * 12, [("noise", 0, 1, 2), ("noise", 0, 1, 1)], smiles=smiles)
        found = diagnose(state, made((8, 6, 3)), recipe()).best
        assert found.far == {"heavy atoms": 2, "logP": 2, "SAS": 0}
        assert (found.far_in_any, found.chains) == (2, 2)
        assert 0.8 < found.nearest_start < 1  # the other eight are start molecules
        assert 0.1 < found.alike < 0.5

    def test_those_of_a_restart_are_start_molecules_too(self):
        state = course([0] * 12, [("restart", None, None, 9)] * 10)
        found = diagnose(state, made((8, 6, 3)), recipe()).best
        assert found.nearest_start == 1.0

    def test_far_is_beyond_half_the_width_of_the_start_set(self):
        smiles = ["C" * n for n in (*range(5, 17), 21, 22)]  # 16 + 11 / 2 lies between 21 and 22
        state = course([0] * 12, [("noise", 0, 1, 2), ("noise", 0, 1, 1)], smiles=smiles)
        found = diagnose(state, made((8, 6, 3)), recipe()).best
        assert (found.far["heavy atoms"], found.far["logP"]) == (1, 1)

    def test_a_few_start_molecules_make_no_range(self):
        found = diagnose(course(range(9)), made(), recipe()).best
        assert (found.far, found.far_in_any, found.nearest_start) == (None, None, 1.0)


class TestWarnings:
    def warned(self, state, *rounds, objectives=()):
        return diagnose(state, made(*rounds or [(8, 6, 3)]), recipe(*objectives)).warnings

    def test_a_good_course_has_none(self):
        rounds = [[("noise", k, 1, k + 0.5)] for k in range(24)]
        assert self.warned(course(range(-12, 0), *rounds)) == ()

    @pytest.mark.parametrize(
        ("gains", "poor", "stale"), [(0, 10, True), (0, 9, False), (20, 10, True), (21, 10, False)]
    )
    def test_a_stale_search(self, gains, poor, stale):
        rounds = [[("noise", k, 1, k)] for k in range(2, gains + 2)] + [[("noise", k, 1, k - 100)] for k in range(poor)]
        told = self.warned(course([1], *rounds))
        assert [text.startswith(f"nothing better in the last {poor} of {gains + poor} rounds") for text in told] == (
            [True] if stale else []
        )

    @pytest.mark.parametrize(("poor", "stale"), [(9, False), (10, True)])
    def test_a_search_that_began_again_is_stale_by_what_it_gained_since(self, poor, stale):
        before = [[("noise", k, 9, 99)] for k in range(15)]
        since = [[("restart", None, None, 0)]] + [[("noise", k, 9, k)] for k in range(1, 11)]
        told = self.warned(course([1], *before, *since, *[[("noise", 0, 9, 0)]] * poor))
        assert [text.startswith(f"nothing better in the last {poor} of {10 + poor} rounds") for text in told] == (
            [True] if stale else []
        )

    def test_predictions_that_do_not_rank_from_fifty_on(self):
        rows = [("noise", k % 7, 9, k // 7 % 2) for k in range(50)]
        assert self.warned(course([9], rows[:49])) == ()
        (told,) = self.warned(course([9], rows))
        assert told.startswith("logP: predictions do not rank what was chosen (rank correlation -0.03 ")
        assert "over 50 molecules" in told
        assert "surrogate.kind = 'latent'" in told

    def test_an_overconfident_surrogate(self):
        rows = [("noise", k, 1, k if k % 3 else k - 5) for k in range(50)]
        (told,) = self.warned(course([99], rows))
        assert told.startswith("logP: only 66% of the values lie within two predicted standard deviations")

    def test_texts_that_are_mostly_invalid(self):
        (told,) = self.warned(course([1], [("noise", 1, 1, 1)]), (100, 39, 5))
        assert told.startswith("61% of the texts of the last rounds were no molecules; see `molvae doctor zinc250k`")
        assert self.warned(course([1], [("noise", 1, 1, 1)]), (100, 40, 5)) == ()

    def test_strings_of_one_atom_far_from_the_start_set_that_are_all_alike(self):
        smiles = [*START, *("C" * k for k in range(30, 41))]
        told = self.warned(course([0] * 12, [("mutation", 1, 9, k) for k in range(1, 12)], smiles=smiles))
        assert [text[:34] for text in told] == [
            "10 of the ten best have a string o",
            "10 of the ten best are far outside",
            "the ten best are nearly one molecu",
        ]
        assert "(heavy atoms: 10, logP: 10)" in told[1]

    def test_a_start_set_is_not_blamed(self):
        smiles = [f"{'C' * k}O" for k in range(20, 32)]
        assert self.warned(course(range(12), smiles=smiles)) == ()


def test_it_is_plain_values():
    state = course(range(12), [("noise", 1, 1, 1), ("noise", 1, 1, None)])
    found = diagnose(state, made((8, 6, 3)), recipe())
    assert json.loads(json.dumps(asdict(found)))["moves"] == {"noise": {"proposed": 2, "entered": 0}}
    assert isinstance(found.best, Best)


def test_molecules_that_still_wait_change_nothing():
    state = course(range(12), [("noise", 1, 1, 1)])
    waiting = fold(
        [*(record.proposal for record in state.records), Proposal(14, 2, "CCO", Z, None, "noise", (9.0,), (1.0,), 9.0)],
        {record.proposal.call: record.outcome for record in state.records},
    )
    rounds = made((8, 6, 3))
    with_more = diagnose(waiting, [*rounds, replace(rounds[-1], round=2)], recipe())
    assert with_more == diagnose(state, rounds, recipe())
