"""(X, Y) → a fitted BoTorch model."""

import warnings
from typing import TYPE_CHECKING, Annotated, ClassVar, Literal

from pydantic import Field

from molvae.config import Component
from molvae.errors import CampaignError

if TYPE_CHECKING:  # a recipe holds a surrogate's settings, and reading a recipe should not load torch
    from botorch.models import SingleTaskGP
    from torch import Tensor

    from molvae.bo.additive import AdditiveModel

Features = Literal["all", "latent"]
"""What a surrogate reads: counts of fragments, descriptors and then the latent point, or that alone."""


class _Surrogate(Component):
    most: int = Field(default=2000, ge=2)

    def kept(self, n: int, seed: int) -> "Tensor":
        """Rows of ``n`` observations, best first, that a model is fitted to, in ascending order.

        All, or where there are more than ``most`` the best, and as many drawn from the rest: so a round's cost stays
        what it is.
        """
        import torch

        best = n if n <= self.most else self.most // 2
        drawn = torch.randperm(n - best, generator=torch.Generator().manual_seed(seed))[: self.most - best]
        return torch.cat([torch.arange(best), best + drawn.sort().values])


class AdditiveGP(_Surrogate):
    """A Gaussian process that compares molecules by fragments, by descriptors and by latent points.

    The kernel is a sum of MinMax on count fingerprints and squared exponentials on descriptors and on latent points,
    whose shares and length scales are fitted anew each round, see `molvae.bo.additive`.

    Attributes:
        noise: median of the prior of the noise's variance, as a share of the outcome's own.
        most: observations that the model is fitted to.
        iterations: of the optimiser; more take longer and predict no better.
    """

    kind: Literal["additive"] = "additive"
    noise: float = Field(default=0.01, ge=1e-6)
    iterations: int = Field(default=15, ge=0)

    features: ClassVar[Features] = "all"

    def __call__(self, X: "Tensor", Y: "Tensor", seed: int = 0) -> "AdditiveModel":
        """The model.

        Args:
            X: (n, d) counts, descriptors and latent points, see `molvae.bo.additive`.
            Y: (n, m) float64, utilities.
            seed: of nothing; this one needs no chance.
        """
        from molvae.bo.additive import AdditiveModel

        return AdditiveModel(X, Y, self.noise, self.iterations)


class LatentGP(_Surrogate):
    """A Gaussian process for each objective, with BoTorch's priors that scale with the dimension.

    Kernel: squared exponential with a length scale for each latent dimension, log-normal priors of Hvarfner
    et al. ("Vanilla Bayesian optimization performs great in high dimensions", 2024), inferred noise. Outcomes
    are standardised. Latents are mapped from [-bound, bound] to the unit cube, a fixed map: scaling by the
    observed range would blow up the dimensions that the VAE does not use.

    Attributes:
        most: observations that the model is fitted to.
        bound: in standard deviations of the latent prior.
        iterations: of the optimiser; hundreds more make the fit ten times slower and no better on new points.
    """

    kind: Literal["latent"] = "latent"
    bound: float = Field(default=3.0, gt=0)
    iterations: int = Field(default=50, ge=1)

    features: ClassVar[Features] = "latent"

    def __call__(self, X: "Tensor", Y: "Tensor", seed: int = 0) -> "SingleTaskGP":
        """Fit by maximum a posteriori (L-BFGS-B).

        Args:
            X: (n, d) float64, latents of the observed molecules.
            Y: (n, m) float64, utilities.
            seed: of the starting points of retries.

        Raises:
            CampaignError: the fit failed, BoTorch's own retries from other starting points included.
        """
        import torch
        from botorch.exceptions import InputDataWarning, ModelFittingError, OptimizationWarning
        from botorch.fit import fit_gpytorch_mll
        from botorch.models import SingleTaskGP
        from botorch.models.transforms import Normalize
        from gpytorch.mlls import ExactMarginalLogLikelihood
        from linear_operator.utils.errors import NanError, NotPSDError

        bounds = torch.tensor([[-self.bound], [self.bound]], dtype=X.dtype).expand(2, X.shape[-1])
        with torch.random.fork_rng(devices=[]), warnings.catch_warnings():
            torch.manual_seed(seed)
            # latents do not span the unit cube exactly (harmless: the kernel is stationary), constant
            # outcomes cannot be standardised, and an optimiser that stops early is tried again by BoTorch
            warnings.filterwarnings("ignore", r"Data \(.*\) is not", InputDataWarning)
            warnings.filterwarnings("ignore", category=OptimizationWarning)
            model = SingleTaskGP(X, Y, input_transform=Normalize(X.shape[-1], bounds=bounds))
            mll = ExactMarginalLogLikelihood(model.likelihood, model)
            try:
                fit_gpytorch_mll(mll, optimizer_kwargs={"options": {"maxiter": self.iterations}})
            except (ModelFittingError, NanError, NotPSDError) as error:
                raise CampaignError(
                    f"the Gaussian process could not be fitted to {len(X)} observations ({error}); "
                    "look for objective values of extreme size, or use another surrogate.bound"
                ) from error
        return model


Surrogate = Annotated[AdditiveGP | LatentGP, Field(discriminator="kind")]
