"""A Gaussian process on count fingerprints with the MinMax kernel, as a BoTorch model."""

from typing import Any

import torch
from botorch.acquisition.objective import PosteriorTransform
from botorch.models.model import Model
from botorch.posteriors import Posterior
from torch import Tensor

from molvae.bo.finite import normal
from molvae.bo.kernels import Levels, MinMaxKernel, similarity


class TanimotoModel(Model):  # type: ignore[misc]
    """y ~ N(c, a (K + r I)) for each outcome, K the MinMax kernel of the observed counts; outcomes are standardised.

    Args:
        X: counts, ``(n, d)``.
        Y: ``(n, m)`` float64.
        noise: r, the variance of the noise as a share of the outcome's own.
    """

    def __init__(self, X: Tensor, Y: Tensor, noise: float) -> None:
        super().__init__()
        self.shift, self.spread = Y.mean(0), spread(Y)
        self._levels, self._sums = Levels(X), X.sum(-1)
        self._features = self._levels(X)
        K = similarity(self._features @ self._features.T, self._sums[:, None], self._sums[None])
        self._root = torch.linalg.cholesky(K + noise * torch.eye(len(X), dtype=K.dtype))
        self._weights = torch.cholesky_solve((Y - self.shift) / self.spread, self._root)

    @property
    def num_outputs(self) -> int:
        """Outcomes."""
        return len(self.shift)

    @property
    def batch_shape(self) -> torch.Size:
        """Of the model itself: none."""
        return torch.Size()

    @torch.no_grad()
    def posterior(
        self,
        X: Tensor,
        output_indices: list[int] | None = None,
        observation_noise: bool | Tensor = False,
        posterior_transform: PosteriorTransform | None = None,
        **_: Any,
    ) -> Posterior:
        """Of the noiseless outcomes at counts ``(*batch, q, d)``; there is no gradient with respect to counts."""
        across = similarity(self._levels(X) @ self._features.T, X.sum(-1)[..., :, None], self._sums)
        mean = across @ self._weights
        explained = torch.linalg.solve_triangular(self._root, across.mT, upper=False)
        covariance = MinMaxKernel()(X).to_dense() - explained.mT @ explained
        covariances = torch.stack([width**2 * covariance for width in self.spread])
        return normal(self.shift + self.spread * mean, covariances, output_indices, posterior_transform)


def spread(Y: Tensor) -> Tensor:
    """Standard deviation of each column of ``(n, m)``, 1 where all values are equal but for rounding, ``(m,)``."""
    found = Y.std(0) if len(Y) > 1 else torch.zeros_like(Y[0])
    return torch.where(found > 1e-12 * Y.abs().amax(0), found, 1.0)
