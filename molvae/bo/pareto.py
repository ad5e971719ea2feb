"""Non-dominated fronts and exact hypervolumes, bigger being better. Without torch, for quick reading."""

from typing import Any

import numpy as np
import numpy.typing as npt

Matrix = npt.NDArray[np.floating[Any]]


def fronts(Y: Matrix) -> npt.NDArray[np.int64]:
    """Number of the front that each row belongs to: 1 is not dominated, 2 only by rows of front 1, and so on.

    Args:
        Y: (n, m) utilities.

    Returns:
        (n,) int64, from 1.
    """
    rows, where = np.unique(-Y, axis=0, return_inverse=True)  # sorted: whoever dominates a row stands before it
    if Y.shape[1] == 1:
        return where.reshape(-1) + 1
    columns = np.ascontiguousarray(rows.T)
    depth = np.zeros(len(rows), dtype=np.int64)
    for k in range(len(rows)):
        over = np.all(columns[:, :k] <= columns[:, k, None], axis=0)
        depth[k] = 1 + depth[:k][over].max(initial=0)
    return depth[where.reshape(-1)]


def ranking(Y: Matrix) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Front and rank of each row, both (n,) from 1.

    Ranks go by front, and within a front by the mean over the objectives of the share of rows that the row is at
    least as good as: that depends neither on units nor on outliers, and all-round rows come before one-sided ones.
    What is still equal keeps its order.

    Args:
        Y: (n, m) utilities.
    """
    front = fronts(Y)
    share = np.sum([np.searchsorted(np.sort(column), column, side="right") for column in Y.T], axis=0)
    rank = np.empty(len(Y), dtype=np.int64)
    rank[np.lexsort((-share, front))] = np.arange(1, len(Y) + 1)
    return front, rank


def best_first(Y: Matrix, rng: np.random.Generator | None = None) -> npt.NDArray[np.int64]:
    """Rows by front and rank; with ``rng``, in chance order within a front where there are several columns."""
    front, rank = ranking(Y)
    ties = rank if rng is None or Y.shape[1] == 1 else rng.permutation(len(Y))
    return np.lexsort((ties, front))


def hypervolume(Y: Matrix, reference: Matrix) -> float:
    """Volume that the rows dominate above the reference point, exact, by slicing along the last objective.

    Args:
        Y: (n, m) utilities.
        reference: (m,); rows that are not above it in every objective add nothing.
    """
    above = Y[np.all(reference < Y, axis=1)] - reference
    if not len(above):
        return 0.0
    if above.shape[1] == 1:
        return float(above.max())
    if above.shape[1] > 2:
        above = above[fronts(above) == 1]
    above = above[np.argsort(-above[:, -1], kind="stable")]
    thickness = above[:, -1] - np.append(above[1:, -1], 0.0)
    if above.shape[1] == 2:
        return float(np.maximum.accumulate(above[:, 0]) @ thickness)
    slabs = np.flatnonzero(thickness)
    floor = np.zeros(above.shape[1] - 1)
    return float(sum(thickness[k] * hypervolume(above[: k + 1, :-1], floor) for k in slabs))


def reference_below(Y: Matrix) -> npt.NDArray[np.float64]:
    """A point a tenth of the range below the worst value of each objective (Ishibuchi et al., 2011).

    Args:
        Y: (n, m) utilities, n ≥ 1.

    Returns:
        (m,) float64.
    """
    span = Y.max(0) - Y.min(0)
    span = np.where(span > 0, span, np.maximum(np.abs(Y.max(0)), 1.0))
    return np.asarray(Y.min(0) - 0.1 * span, dtype=np.float64)
