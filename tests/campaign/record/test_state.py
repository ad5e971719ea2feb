import math
from decimal import Decimal
from fractions import Fraction

import numpy as np
import pytest

from molvae.campaign.record.state import Failed, Observed, Proposal, fold
from molvae.errors import CampaignError

Z = np.zeros(2, dtype=np.float32)
THREE = [Proposal(3, 1, "CCO", Z), Proposal(1, 0, "C", Z), Proposal(2, 0, "CC", Z)]


def test_fold_sorts_by_call_and_tells_records_apart():
    state = fold(THREE, {2: Failed("no", 0.1), 1: Observed((4.0, 5.0), 0.2)})
    assert [record.proposal.call for record in state.records] == [1, 2, 3]
    assert [proposal.smiles for proposal in state.pending] == ["CCO"]
    assert [record.proposal.smiles for record in state.failed] == ["CC"]
    assert state.values.tolist() == [[4.0, 5.0]]
    assert (state.used, state.round, state.proposed) == (2, 1, {"C", "CC", "CCO"})


def test_values_become_floats_or_are_refused():
    one = Observed((np.float32(1.5), [2], Fraction(1, 2), Decimal(3)), np.float64(0.5))
    assert one == Observed((1.5, 2.0, 0.5, 3.0), 0.5)
    assert {type(value) for value in (*one.values, one.seconds)} == {float}
    assert Observed(np.array([1, 2]), 1).values == (1.0, 2.0)
    for values, seconds, what in (
        ((math.nan,), 0.0, "nan, which is not finite"),
        (("1.5",), 0.0, "'1.5', which is not one number"),
        ((1.0, True), 0.0, "True, which is a truth value"),
        (1.5, 0.0, "not iterable"),
        ((1.0,), None, "None, which is not one number"),
    ):
        with pytest.raises(CampaignError, match=f"an outcome has finite values.*{what}"):
            Observed(values, seconds)


def test_a_reason_is_text_that_a_file_can_hold():
    assert Failed("no \ud800", 0.0).reason == "no \\ud800"
    assert Failed("nö\n→", 0.0).reason == "nö\n→"


def test_nothing_folds_to_an_empty_state():
    state = fold([], {})
    assert (state.used, state.round, state.pending, len(state.values)) == (0, 0, (), 0)


@pytest.mark.parametrize(
    ("proposals", "outcomes", "match"),
    [
        (THREE[:2], {}, "calls are not 1 to 2"),
        ([Proposal(1, 0, "C", Z), Proposal(2, 0, "C", Z)], {}, "proposed twice"),
        (THREE, {4: Failed("no", 0.0)}, "outcome without a proposal"),
    ],
)
def test_impossible_records_are_refused(proposals, outcomes, match):
    with pytest.raises(CampaignError, match=match):
        fold(proposals, outcomes)


def test_an_outcome_more_is_the_fold_with_it():
    outcomes = {2: Failed("no", 0.1), 1: Observed((4.0, 5.0), 0.2)}
    before = fold(THREE, {2: outcomes[2]})
    assert before.concluded(1, outcomes[1]) == fold(THREE, outcomes)
    assert before.concluded(1, outcomes[1]).used == 2
