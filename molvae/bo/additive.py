"""A Gaussian process on fragments, descriptors and latent points together, as a BoTorch model."""

from collections.abc import Sequence
from typing import Final, NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from scipy.optimize import minimize
from torch import Tensor

from molvae.bo.discrete_posterior import Independent
from molvae.bo.kernels import Levels, MinMaxKernel, nearness, similarity
from molvae.bo.layout import FeatureLayout
from molvae.bo.observations import spread
from molvae.bo.torch_state import one_thread

Vector = npt.NDArray[np.float64]

FIT_SUBSET: Final = 500
"""Observations that hyper-parameters are fitted to: more take longer and predict no better."""
SMALLEST_UNIT: Final = 0.3
"""Descriptors are measured in standard deviations, or in this where nearly all molecules have the same."""
PRIOR_SD: Final = (2.0, 1.0, 1.5)
"""Standard deviations of the normal priors of the shares' logits, and of the logarithms of length scales and noise."""
BOUND_SD: Final = 3.0
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
        X: rows of features, ``(n, layout.width)``.
        Y: ``(n, m)`` float64.
        layout: where counts, descriptors and latent points are; each may have no columns.
        noise: median of r's prior.
        iterations: of L-BFGS-B, which begins at the medians of all priors.
    """

    def __init__(self, X: Tensor, Y: Tensor, layout: FeatureLayout, noise: float, iterations: int) -> None:
        super().__init__()
        self._layout = layout
        self.shift, self.spread = Y.mean(0), spread(Y)
        self._units = descriptor_units(X, layout)
        counts, self._points = self._parts(X)
        self._levels, self._sums = Levels(counts), counts.sum(-1)
        self._features = self._levels(counts)
        K = similarity(self._features @ self._features.T, self._sums[:, None], self._sums[None])
        outcomes = ((Y - self.shift) / self.spread).T
        some = torch.linspace(0, len(Y) - 1, min(len(Y), FIT_SUBSET)).round().long()
        parts = K[some][:, some], [rows[some] for rows in self._points]
        with one_thread():
            self.hyper = [_likeliest(*parts, y[some], noise, iterations) for y in outcomes]
        self._roots = []
        for one in self.hyper:
            C = _kernel(one, K, self._points, self._points)
            C.diagonal().add_(one.noise)
            self._roots.append(torch.linalg.cholesky(C))
        self._weights = [torch.cholesky_solve(y[:, None], L) for y, L in zip(outcomes, self._roots, strict=True)]

    @property
    def num_outputs(self) -> int:
        """Outcomes."""
        return len(self.shift)

    def joint(self, X: Tensor) -> tuple[Tensor, Tensor]:
        """At rows ``(*batch, q, layout.width)``."""
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
        blocks = self._layout.split(X)
        points = blocks["descriptors"].double() / self._units, blocks["latent"].double()
        return blocks["counts"], [rows for rows in points if rows.shape[-1]]


def descriptor_units(X: Tensor, layout: FeatureLayout) -> Tensor:
    """What descriptors are measured in, of the observed rows ``(n, layout.width)``: ``(descriptors,)``."""
    described = layout.split(X)["descriptors"].double()
    return (described - described.mean(0)).square().mean(0).sqrt().clamp_min(SMALLEST_UNIT)


def _kernel(hyper: Hyper, K: Tensor, first: Sequence[Tensor], second: Sequence[Tensor]) -> Tensor:
    found = hyper.shares[0] * K
    for share, length, one, other in zip(hyper.shares[1:], hyper.lengths, first, second, strict=True):
        found += share * nearness(one / length, other / length)
    return found


def _likeliest(K: Tensor, points: Sequence[Tensor], y: Tensor, noise: float, iterations: int) -> Hyper:
    """Of the highest posterior density for one standardised outcome ``(n,)``."""
    widths = [len(points) + 1, *(rows.shape[-1] for rows in points), 1]
    sds = PRIOR_SD[0], *[PRIOR_SD[1]] * len(points), PRIOR_SD[2]
    sd = torch.cat([torch.full((width,), each) for width, each in zip(widths, sds, strict=True)])

    def hyper(deviations: Vector) -> Hyper:
        logits, *lengths, last = torch.split(sd * torch.from_numpy(deviations), widths)
        return Hyper(logits.softmax(0), [length.exp() for length in lengths], noise * last.exp())

    def loss(deviations: Vector) -> tuple[float, Vector]:
        """− log density, but for a constant, and its gradient: with C the covariance, ½ tr (C⁻¹ − C⁻¹yyᵀC⁻¹) dC."""
        shares, lengths, r = hyper(deviations)
        scaled = [rows / length for rows, length in zip(points, lengths, strict=True)]
        kernels = [K, *(nearness(rows, rows) for rows in scaled)]
        C = sum(share * kernel for share, kernel in zip(shares, kernels, strict=True))
        C.diagonal().add_(r)
        root = torch.linalg.cholesky(C)
        inverse = torch.cholesky_inverse(root)
        weights = inverse @ y
        G = (inverse - weights[:, None] * weights) / 2
        slopes = torch.stack([(G * kernel).sum() for kernel in kernels])
        found = [shares * (slopes - shares @ slopes)]
        for share, kernel, rows in zip(shares[1:], kernels[1:], scaled, strict=True):
            W = share * G * kernel  # Σ W (xᵢ − xⱼ)² = 2 Σ W xᵢ² − 2 Σ W xᵢ xⱼ
            found.append((W.sum(0) @ rows.square() - (rows * (W @ rows)).sum(0)) * (2 / rows.shape[-1]))
        gradient = sd * torch.cat([*found, r * G.trace()])
        value = (y @ weights) / 2 + root.diagonal().log().sum()
        return float(value + (deviations @ deviations) / 2), gradient.numpy() + deviations

    best = np.zeros(sum(widths))
    if iterations:
        bounds = [(-BOUND_SD, BOUND_SD)] * len(best)
        best = minimize(loss, best, jac=True, method="L-BFGS-B", bounds=bounds, options={"maxiter": iterations}).x
    return hyper(best)
