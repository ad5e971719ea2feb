"""The joint posterior at finitely many points, as a model of its own."""

from abc import abstractmethod
from typing import Any

import torch
from botorch.acquisition.objective import PosteriorTransform
from botorch.models.model import Model
from botorch.posteriors import GPyTorchPosterior, Posterior
from gpytorch.distributions import MultitaskMultivariateNormal, MultivariateNormal
from linear_operator import to_linear_operator
from torch import Tensor

AT_ONCE = 256
"""Points whose joint distribution is computed where only their own variances are wanted."""


class Independent(Model):  # type: ignore[misc]
    """A model whose outcomes are independent of each other, each jointly normal at any points; without gradients."""

    @abstractmethod
    def joint(self, X: Tensor) -> tuple[Tensor, Tensor]:
        """Means ``(*batch, q, m)`` and covariances ``(m, *batch, q, q)`` of the noiseless outcomes at ``X``."""

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
        """Of the noiseless outcomes at ``X``, see `joint`."""
        mean, covariance = self.joint(X)
        each = [
            MultivariateNormal(mean[..., k], to_linear_operator(covariance[k]))
            for k in (range(self.num_outputs) if output_indices is None else output_indices)
        ]
        joint = each[0] if len(each) == 1 else MultitaskMultivariateNormal.from_independent_mvns(each)
        found = GPyTorchPosterior(joint)
        return found if posterior_transform is None else posterior_transform(found)


class DiscretePosterior(Independent):
    """The joint normal distribution of a model at points, which go by their row numbers.

    An acquisition function asks for thousands of small batches of the same few points. Here each costs a look-up
    instead of kernels over all that was observed.

    Args:
        mean: ``(points, m)``.
        covariance: of each outcome, ``(m, points, points)``.
    """

    def __init__(self, mean: Tensor, covariance: Tensor) -> None:
        super().__init__()
        self.mean, self.covariance = mean, covariance

    @classmethod
    @torch.no_grad()
    def of(cls, model: Model, X: Tensor) -> "DiscretePosterior":
        """The posterior of ``model`` at the rows of ``X`` ``(points, d)``."""
        normal = model.posterior(X).distribution
        mean, covariance = normal.mean, normal.covariance_matrix
        if mean.dim() == 1:
            return cls(mean[:, None], covariance[None])
        points, m = mean.shape
        blocks = covariance.view(points, m, points, m) if normal._interleaved else covariance.view(m, points, m, points)
        each = [blocks[:, k, :, k] if normal._interleaved else blocks[k, :, k, :] for k in range(m)]
        return cls(mean, torch.stack(each))

    @property
    def num_outputs(self) -> int:
        """Outcomes."""
        return self.mean.shape[1]

    @property
    def rows(self) -> Tensor:
        """All points, as inputs: ``(points, 1)``."""
        return torch.arange(len(self.mean), dtype=self.mean.dtype)[:, None]

    def joint(self, X: Tensor) -> tuple[Tensor, Tensor]:
        """At row numbers ``(*batch, q, 1)``."""
        rows = X[..., 0].long()
        return self.mean[rows], self.covariance[:, rows[..., :, None], rows[..., None, :]]

    def scaled(self, sd_factor: Tensor) -> "DiscretePosterior":
        """With each standard deviation multiplied by a factor, ``(points,)``; correlations stay."""
        return DiscretePosterior(self.mean, self.covariance * sd_factor[:, None] * sd_factor)

    def conditioned(self, row: int) -> "DiscretePosterior":
        """The posterior after the outcomes at a point were observed to be what is expected there, without noise."""
        column = self.covariance[:, :, row]
        own, largest = column[:, row], self.covariance.diagonal(dim1=1, dim2=2).amax(1)
        precision = torch.where(own > 1e-12 * largest, 1 / own, 0.0)
        explained = precision[:, None, None] * column[:, :, None] * column[:, None, :]
        return DiscretePosterior(self.mean, self.covariance - explained)

    def sample(self, n: int, seed: int) -> Tensor:
        """Joint draws of all points, ``(n, points, m)``; outcomes are independent."""
        values, vectors = torch.linalg.eigh(self.covariance)  # near twins have no Cholesky factor
        root = vectors * values.clamp_min(0).sqrt()[:, None, :]
        m, points, _ = root.shape
        noise = torch.randn(n, m, points, 1, dtype=root.dtype, generator=torch.Generator().manual_seed(seed))
        drawn: Tensor = self.mean + (root @ noise)[..., 0].mT
        return drawn

    @property
    def sd(self) -> Tensor:
        """``(points, m)``."""
        return self.covariance.diagonal(dim1=1, dim2=2).clamp_min(0).sqrt().T


@torch.no_grad()
def moments(model: Model, X: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and standard deviation at each row of ``X`` ``(points, d)``, both ``(points, m)`` float64."""
    parts = [DiscretePosterior.of(model, part) for part in torch.split(X, AT_ONCE)]
    return torch.cat([part.mean for part in parts]), torch.cat([part.sd for part in parts])
