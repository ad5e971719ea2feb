"""A Gaussian process on fragments and latent points together, as a BoTorch model."""

from collections.abc import Sequence
from typing import Final

import torch
from torch import Tensor

from molvae.bo.finite import Independent
from molvae.bo.kernels import Levels, MinMaxKernel, nearness, similarity

COUNTS: Final = 2048
"""Columns of counts in a row of features; the latent point follows."""
JUDGED: Final = 500
"""Observations by which shares are compared."""


class AdditiveModel(Independent):
    """y ~ N(c, a (s K + (1 − s) R + r I)) for each outcome; outcomes are standardised.

    K is the MinMax kernel of counts, R the squared exponential one of latent points, with a length scale of √latent: it
    grows with the dimension as distances do. The share s of each outcome is the one of the highest marginal likelihood:
    a score that hangs on fragments wants much of K, one that is smooth in the latent space much of R.

    Args:
        X: counts and latent points, ``(n, COUNTS + latent)``.
        Y: ``(n, m)`` float64.
        noise: r, the variance of the noise as a share of the outcome's own.
        shares: to choose from, in [0, 1].
    """

    def __init__(self, X: Tensor, Y: Tensor, noise: float, shares: Sequence[float]) -> None:
        super().__init__()
        self.shift, self.spread = Y.mean(0), spread(Y)
        counts, self._points = X[:, :COUNTS], X[:, COUNTS:].double()
        self._levels, self._sums = Levels(counts), counts.sum(-1)
        self._features = self._levels(counts)
        K = similarity(self._features @ self._features.T, self._sums[:, None], self._sums[None])
        R = nearness(self._points, self._points)
        outcomes = (Y - self.shift) / self.spread
        self.shares = _likeliest(shares, K, R, outcomes, noise)
        roots = {share: _root(share * K + (1 - share) * R, noise) for share in set(self.shares)}
        self._roots = [roots[share] for share in self.shares]
        self._weights = [torch.cholesky_solve(y[:, None], L) for y, L in zip(outcomes.T, self._roots, strict=True)]

    @property
    def num_outputs(self) -> int:
        """Outcomes."""
        return len(self.shift)

    def joint(self, X: Tensor) -> tuple[Tensor, Tensor]:
        """At rows ``(*batch, q, COUNTS + latent)``."""
        counts, points = X[..., :COUNTS], X[..., COUNTS:].double()
        K = similarity(self._levels(counts) @ self._features.T, counts.sum(-1)[..., :, None], self._sums)
        R = nearness(points, self._points)
        own_K, own_R = MinMaxKernel()(counts).to_dense(), nearness(points, points)
        means, covariances = [], []
        for k, share in enumerate(self.shares):
            across = share * K + (1 - share) * R
            explained = torch.linalg.solve_triangular(self._roots[k], across.mT, upper=False)
            means.append(self.shift[k] + self.spread[k] * (across @ self._weights[k])[..., 0])
            own = share * own_K + (1 - share) * own_R
            covariances.append(self.spread[k] ** 2 * (own - explained.mT @ explained))
        return torch.stack(means, -1), torch.stack(covariances)


def _likeliest(shares: Sequence[float], K: Tensor, R: Tensor, Y: Tensor, noise: float) -> list[float]:
    """The share for each column of ``Y``; judged by some of many observations, evenly taken."""
    step = -(-len(Y) // JUDGED)
    K, R, Y = K[::step, ::step], R[::step, ::step], Y[::step]
    found = []
    for share in shares:
        root = _root(share * K + (1 - share) * R, noise)
        fit = torch.linalg.solve_triangular(root, Y, upper=False).square().sum(0)
        found.append(-fit / 2 - root.diagonal().log().sum())
    return [shares[k] for k in torch.stack(found).argmax(0).tolist()]


def _root(K: Tensor, noise: float) -> Tensor:
    found: Tensor = torch.linalg.cholesky(K + noise * torch.eye(len(K), dtype=K.dtype))
    return found


def spread(Y: Tensor) -> Tensor:
    """Standard deviation of each column of ``(n, m)``, 1 where all values are equal but for rounding, ``(m,)``."""
    found = Y.std(0) if len(Y) > 1 else torch.zeros_like(Y[0])
    return torch.where(found > 1e-12 * Y.abs().amax(0), found, 1.0)
