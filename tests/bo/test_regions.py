from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from molvae.bo.regions import Region, TrustRegion
from molvae.config import parse_recipe
from molvae.errors import RecipeError

RULE = TrustRegion(length=0.8, shortest=0.3, longest=1.6, successes=2, failures=2)


@pytest.mark.parametrize(
    ("history", "region"),
    [
        ([], Region(0.8)),
        ([1.0], Region(0.8)),
        ([1.0, 2.0], Region(0.8)),  # one success
        ([1.0, 2.0, 3.0], Region(1.6)),  # two: doubled
        ([1.0, 2.0, 3.0, 4.0, 5.0], Region(1.6)),  # and no longer than the longest
        ([1.0, 1.0, 1.0], Region(0.4)),  # two failures: halved
        ([1.0, 1.0, 2.0, 2.0], Region(0.8)),  # a success forgets the failure before it
        ([1.0, 2.0, 2.0, 3.0], Region(0.8)),  # and a failure the success
        ([1.0, 1.0005, 1.0009], Region(0.4)),  # gains below a thousandth are none
        ([-2.0, -1.999, -1.998], Region(0.4)),  # measured by the size, whatever the sign
        ([1.0, 1.0, 1.0, 1.0, 1.0], Region(0.8, restarts=1)),  # 0.2 would be too short: anew
        ([1.0] * 9, Region(0.8, restarts=2)),
        ([1.0] * 5 + [2.0, 3.0], Region(1.6, restarts=1)),
    ],
)
def test_by_hand(history, region):
    assert RULE(history) == region


@given(st.lists(st.floats(-1e6, 1e6), max_size=60).map(lambda steps: [max(steps[: k + 1]) for k in range(len(steps))]))
def test_length_stays_within_bounds_and_prefixes_are_a_course(history):
    rule = TrustRegion()
    course = [rule(history[:k]) for k in range(len(history) + 1)]
    assert all(rule.shortest <= region.length <= rule.longest for region in course)
    assert all(a.restarts <= b.restarts for a, b in pairwise(course))


def test_bounds_in_wrong_order_are_refused():
    with pytest.raises(RecipeError, match="shortest ≤ length ≤ longest"):
        parse_recipe({"length": 2.0}, TrustRegion)
