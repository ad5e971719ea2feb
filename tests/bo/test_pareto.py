import numpy as np
import pytest
import torch
from botorch.utils.multi_objective.hypervolume import Hypervolume
from botorch.utils.multi_objective.pareto import is_non_dominated
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from molvae.bo.pareto import fronts, hypervolume, reference_below

STAIRS = np.array([[1.0, 3.0], [2.0, 2.0], [3.0, 1.0]])


def test_fronts_by_hand():
    Y = np.array([[1, 3], [0, 0], [2, 2], [3, 1], [1, 1], [2, 2]], dtype=float)
    assert fronts(Y).tolist() == [1, 3, 1, 1, 2, 1]


def test_hypervolume_by_hand():
    zero = np.zeros(2)
    assert hypervolume(STAIRS, zero) == 6.0  # columns of 3, 2 and 1
    assert hypervolume(STAIRS, np.array([1.0, 1.0])) == 1.0  # (2, 2) alone is above in both
    assert hypervolume(STAIRS, np.array([3.0, 3.0])) == 0.0
    assert hypervolume(np.array([[2.0, 3.0, 4.0], [1.0, 1.0, 5.0]]), np.zeros(3)) == 25.0  # 24 + 1·1·1
    assert hypervolume(np.array([[2.0], [5.0]]), np.array([1.0])) == 4.0


@pytest.mark.parametrize("m", [2, 3, 4])
def test_hypervolume_is_botorchs(m):
    Y = np.random.default_rng(m).normal(size=(40, m))
    reference = reference_below(Y)
    T = torch.from_numpy(Y)
    expected = Hypervolume(torch.from_numpy(reference)).compute(T[is_non_dominated(T)])
    assert hypervolume(Y, reference) == pytest.approx(expected, rel=1e-12)
    assert ((fronts(Y) == 1) == is_non_dominated(T).numpy()).all()


@given(arrays(float, (8, 3), elements=st.integers(0, 5).map(float)))
def test_more_points_never_lose_volume_and_order_does_not_matter(Y):
    zero = np.full(3, -1.0)
    assert hypervolume(Y[:4], zero) <= hypervolume(Y, zero)
    assert hypervolume(Y[::-1], zero) == hypervolume(Y, zero)
    assert hypervolume(Y[fronts(Y) == 1], zero) == hypervolume(Y, zero)


def test_reference_below_by_hand():
    assert reference_below(STAIRS).tolist() == pytest.approx([0.8, 0.8])
    assert reference_below(np.array([[5.0, 0.0]])).tolist() == pytest.approx([4.5, -0.1])
