import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from molvae.errors import RecipeError
from molvae.vae.training.schedules import BETAS, LinearBeta, cosine

shares = st.floats(0, 1)


@pytest.mark.parametrize(
    ("progress", "beta"), [(0, 0.02), (0.125, 0.04), (0.25, 0.06), (0.5, 0.1), (0.75, 0.1), (1, 0.1)]
)
def test_linear_beta_rises_then_stays(progress, beta):
    assert LinearBeta(start=0.02, end=0.1, over=0.5)(progress) == pytest.approx(beta, abs=1e-12)


def test_linear_beta_over_nothing_is_there_at_once():
    assert LinearBeta(start=0.0, end=0.1, over=0.0)(0.0) == 0.1


@pytest.mark.parametrize("member", BETAS.members)
def test_each_schedule_is_finite_and_not_negative(member):
    assert all(0 <= member()(k / 100) < math.inf for k in range(101))


@pytest.mark.parametrize(
    ("progress", "factor"), [(0, 0), (0.1, 0.5), (0.2, 1), (0.4, 0.5 + math.sqrt(2) / 4), (0.6, 0.5), (1, 0)]
)
def test_the_learning_rate_warms_up_then_falls_as_a_cosine(progress, factor):
    assert cosine(progress, 0.2) == pytest.approx(factor, abs=1e-12)


@pytest.mark.parametrize(("progress", "factor"), [(0.1, 0.5), (0.2, 1), (0.59, 1), (0.6, 1), (0.8, 0.5), (1, 0)])
def test_the_learning_rate_may_stay_full_for_a_while(progress, factor):
    assert cosine(progress, 0.2, hold=0.6) == pytest.approx(factor, abs=1e-12)
    assert cosine(progress, 0.2, hold=0.1) == cosine(progress, 0.2)


def test_without_warm_up_the_learning_rate_starts_full():
    assert cosine(0.0, 0.0) == 1.0


@given(shares, st.floats(0, 0.99), st.floats(0, 0.99))
def test_the_factor_is_between_0_and_1(progress, warmup, hold):
    assert 0 <= cosine(progress, warmup, hold) <= 1


@given(shares, st.floats(0, 10), st.floats(0, 10), shares)
def test_linear_beta_stays_between_its_ends(progress, start, end, over):
    low, high = sorted([start, end])
    assert low - 1e-12 <= LinearBeta(start=start, end=end, over=over)(progress) <= high + 1e-12


def test_a_negative_beta_is_refused():
    with pytest.raises(RecipeError):
        LinearBeta(end=-0.1)
