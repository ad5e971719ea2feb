"""A Gaussian process on fragments, descriptors and latent points together, as a BoTorch model."""

from collections.abc import Sequence
from typing import Final, NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from scipy.optimize import minimize
from torch import Tensor

from molvae.bo.finite import Independent
from molvae.bo.kernels import Levels, MinMaxKernel, nearness, similarity

Vector = npt.NDArray[np.float64]

COUNTS: Final = 2048
DESCRIPTORS: Final = 25
"""Columns of a row of features: counts, then descriptors, then the latent point."""
JUDGED: Final = 500
"""Observations that hyper-parameters are fitted to: more take longer and predict no better."""
SMALLEST_UNIT: Final = 0.3
"""Descriptors are measured in standard deviations, or in this where nearly all molecules have the same."""
LEEWAY: Final = (2.0, 1.0, 1.5)
"""Standard deviations of the normal priors of the shares' logits, and of the logarithms of length scales and noise."""
FARTHEST: Final = 3.0
"""Such standard deviations that a hyper-parameter may be from its median."""


class Hyper(NamedTuple):
    """Hyper-parameters of one outcome.

    Attributes:
        shares: of the kernels, ``(parts,)``; their sum is 1.
        lengths: a length scale for each column of descriptors and of latent points, in √columns.
        noise: variance.
    """

    shares: Tensor
    lengths: list[Tensor]
    noise: Tensor


class AdditiveModel(Independent):
    """y ~ N(c, a (s₁ K + s₂ D + s₃ R + r I)) for each outcome; outcomes are standardised.

    K is the MinMax kernel of counts, D and R squared exponentials of descriptors and latent points, with a length scale
    for each column, which by its prior grows with √columns as distances do [Hvarfner et al., "Vanilla Bayesian
    optimization performs great in high dimensions", 2024]. Shares s, lengths and noise r are those of the highest
    posterior density: a score that hangs on fragments wants much of K, one that counts rings a short length in that
    column of D, one that is smooth in the latent space much of R. Parts without columns are left out.

    Args:
        X: counts, descriptors and latent points, ``(n, COUNTS + DESCRIPTORS + latent)``.
        Y: ``(n, m)`` float64.
        noise: median of r's prior.
        iterations: of L-BFGS-B, which begins at the medians of all priors.
    """

    def __init__(self, X: Tensor, Y: Tensor, noise: float, iterations: int) -> None:
        super().__init__()
        self.shift, self.spread = Y.mean(0), spread(Y)
        described = X[:, COUNTS : COUNTS + DESCRIPTORS].double()
        self._units = described.std(0, correction=0).clamp_min(SMALLEST_UNIT)
        counts, self._points = self._parts(X)
        self._levels, self._sums = Levels(counts), counts.sum(-1)
        self._features = self._levels(counts)
        K = similarity(self._features @ self._features.T, self._sums[:, None], self._sums[None])
        outcomes = ((Y - self.shift) / self.spread).T
        some = torch.linspace(0, len(Y) - 1, min(len(Y), JUDGED)).round().long()
        parts = K[some][:, some], [rows[some] for rows in self._points]
        self.hyper = [_likeliest(*parts, y[some], noise, iterations) for y in outcomes]
        kernels = [_kernel(one, K, self._points, self._points) for one in self.hyper]
        self._roots = [torch.linalg.cholesky(_noisy(k, one)) for k, one in zip(kernels, self.hyper, strict=True)]
        self._weights = [torch.cholesky_solve(y[:, None], L) for y, L in zip(outcomes, self._roots, strict=True)]

    @property
    def num_outputs(self) -> int:
        """Outcomes."""
        return len(self.shift)

    def joint(self, X: Tensor) -> tuple[Tensor, Tensor]:
        """At rows ``(*batch, q, COUNTS + DESCRIPTORS + latent)``."""
        counts, points = self._parts(X)
        K = similarity(self._levels(counts) @ self._features.T, counts.sum(-1)[..., :, None], self._sums)
        own_K = MinMaxKernel()(counts).to_dense()
        means, covariances = [], []
        for k, one in enumerate(self.hyper):
            across = _kernel(one, K, points, self._points)
            explained = torch.linalg.solve_triangular(self._roots[k], across.mT, upper=False)
            means.append(self.shift[k] + self.spread[k] * (across @ self._weights[k])[..., 0])
            own = _kernel(one, own_K, points, points)
            covariances.append(self.spread[k] ** 2 * (own - explained.mT @ explained))
        return torch.stack(means, -1), torch.stack(covariances)

    def _parts(self, X: Tensor) -> tuple[Tensor, list[Tensor]]:
        """Counts, and those of descriptors in their units and latent points that there are."""
        counts, described, points = X.tensor_split((COUNTS, COUNTS + DESCRIPTORS), -1)
        return counts, [rows for rows in (described.double() / self._units, points.double()) if rows.shape[-1]]


def _kernel(hyper: Hyper, K: Tensor, first: Sequence[Tensor], second: Sequence[Tensor]) -> Tensor:
    found = hyper.shares[0] * K
    for share, length, one, other in zip(hyper.shares[1:], hyper.lengths, first, second, strict=True):
        found = found + share * nearness(one / length, other / length)
    return found


def _noisy(K: Tensor, hyper: Hyper) -> Tensor:
    return K + hyper.noise * torch.eye(len(K), dtype=K.dtype)


def _likeliest(K: Tensor, points: Sequence[Tensor], y: Tensor, noise: float, iterations: int) -> Hyper:
    """Of the highest posterior density for one standardised outcome ``(n,)``."""
    widths = [len(points) + 1, *(rows.shape[-1] for rows in points), 1]
    leeways = LEEWAY[0], *[LEEWAY[1]] * len(points), LEEWAY[2]
    leeway = torch.cat([torch.full((width,), each) for width, each in zip(widths, leeways, strict=True)])

    def hyper(deviations: Tensor) -> Hyper:
        logits, *lengths, last = torch.split(leeway * deviations, widths)
        return Hyper(logits.softmax(0), [length.exp() for length in lengths], noise * last.exp())

    def loss(deviations: Vector) -> tuple[float, Vector]:
        where = torch.tensor(deviations, requires_grad=True)
        one = hyper(where)
        covariance = _noisy(_kernel(one, K, points, points), one)
        with torch.no_grad():
            root = torch.linalg.cholesky(covariance)
            inverse = torch.cholesky_inverse(root)
            weights = inverse @ y
            fit = (y @ weights + where.square().sum()) / 2 + root.diagonal().log().sum()
        [slope] = torch.autograd.grad(covariance, where, (inverse - weights[:, None] * weights) / 2)
        return fit.item(), slope.numpy() + deviations

    best = np.zeros(sum(widths))
    if iterations:
        bounds = [(-FARTHEST, FARTHEST)] * len(best)
        best = minimize(loss, best, jac=True, method="L-BFGS-B", bounds=bounds, options={"maxiter": iterations}).x
    with torch.no_grad():
        return hyper(torch.from_numpy(best))


def spread(Y: Tensor) -> Tensor:
    """Standard deviation of each column of ``(n, m)``, 1 where all values are equal but for rounding, ``(m,)``."""
    found = Y.std(0) if len(Y) > 1 else torch.zeros_like(Y[0])
    return torch.where(found > 1e-12 * Y.abs().amax(0), found, 1.0)
