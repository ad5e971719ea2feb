"""(X, Y) → a fitted BoTorch model."""

import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, ClassVar, Final, Literal, Protocol

from pydantic import Field

from molvae.bo.layout import FeatureLayout
from molvae.config import Component
from molvae.errors import CampaignError
from molvae.registry import Registry

if TYPE_CHECKING:  # a recipe holds a surrogate's settings, and reading a recipe should not load torch
    from botorch.models import ModelListGP, SingleTaskGP
    from botorch.models.model import Model
    from torch import Tensor

    from molvae.bo.additive import AdditiveModel

LATENT_BOUND: Final = 3.0
"""Latent points from minus this to this are mapped to the unit cube, in standard deviations of the latent prior."""


class Surrogate(Protocol):
    """Settings of a model of the utilities, and how it is fitted."""

    @property
    def most(self) -> int:
        """Observations that the model is fitted to at most; see `fit_subset`."""

    def __call__(self, X: "Tensor", Y: "Tensor", layout: FeatureLayout, seed: int = 0) -> "Model":
        """A model whose posterior takes rows of the whole layout ``(*batch, q, layout.width)``.

        Args:
            X: (n, layout.width) float64, features of the observed molecules.
            Y: (n, m) float64, utilities.
            layout: which columns of ``X`` are what.
            seed: of whatever is drawn; the model is a pure function of the arguments.

        Raises:
            CampaignError: the model could not be fitted.
        """


def fit_subset(n: int, most: int, seed: int) -> "Tensor":
    """Rows of ``n`` observations, best first, that a model is fitted to, in ascending order, (≤ most,) int64.

    All, or where there are more than ``most`` the best half of these, and the others drawn from the rest: so a round's
    cost stays what it is.
    """
    import torch

    best = n if n <= most else most // 2
    drawn = torch.randperm(n - best, generator=torch.Generator().manual_seed(seed))[: most - best]
    return torch.cat([torch.arange(best), best + drawn.sort().values])


class AdditiveGP(Component):
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
    most: int = Field(default=2000, ge=2)
    iterations: int = Field(default=15, ge=0)

    def __call__(self, X: "Tensor", Y: "Tensor", layout: FeatureLayout, seed: int = 0) -> "AdditiveModel":
        """The model; nothing is drawn."""
        from molvae.bo.additive import AdditiveModel

        return AdditiveModel(X, Y, layout, self.noise, self.iterations)


class LatentGP(Component):
    """A Gaussian process on latent points for each objective, with BoTorch's priors that scale with the dimension.

    Kernel: squared exponential with a length scale for each latent dimension, log-normal priors of Hvarfner
    et al. ("Vanilla Bayesian optimization performs great in high dimensions", 2024), inferred noise. Outcomes
    are standardised. Latents are mapped from [-3, 3] to the unit cube, a fixed map: scaling by the observed range
    would blow up the dimensions that the VAE does not use.

    Attributes:
        most: observations that the model is fitted to.
        iterations: of the optimiser; hundreds more make the fit ten times slower and no better on new points.
    """

    REMOVED: ClassVar[Mapping[str, float]] = {"bound": 3.0}

    kind: Literal["latent"] = "latent"
    most: int = Field(default=2000, ge=2)
    iterations: int = Field(default=50, ge=1)

    def __call__(self, X: "Tensor", Y: "Tensor", layout: FeatureLayout, seed: int = 0) -> "SingleTaskGP":
        """Fit by maximum a posteriori (L-BFGS-B); the seed is of the starting points of retries.

        Raises:
            CampaignError: the fit failed, BoTorch's own retries from other starting points included.
        """
        import torch
        from botorch.fit import fit_gpytorch_mll
        from botorch.models import SingleTaskGP
        from botorch.models.transforms import Normalize
        from botorch.models.transforms.input import ChainedInputTransform, FilterFeatures
        from gpytorch.mlls import ExactMarginalLogLikelihood

        columns = torch.arange(layout.width)[layout["latent"]]
        bounds = torch.tensor([[-LATENT_BOUND], [LATENT_BOUND]], dtype=X.dtype).expand(2, len(columns))
        transform = ChainedInputTransform(latent=FilterFeatures(columns), scale=Normalize(len(columns), bounds=bounds))
        with _fitting(len(X), seed):
            model = SingleTaskGP(X, Y, input_transform=transform)
            mll = ExactMarginalLogLikelihood(model.likelihood, model)
            fit_gpytorch_mll(mll, optimizer_kwargs={"options": {"maxiter": self.iterations}})
        return model


class BotorchGP(Component):
    """`AdditiveGP` in GPyTorch's own parts, for what only BoTorch's models can do: a model to begin one's own from.

    It has the same kernel, priors and bounds, so at the same hyper-parameters it predicts the same. It also conditions
    on observations, makes fantasies and takes ``X_pending``, and its kernel is a sum of GPyTorch kernels, to which
    others can be added, see `molvae.bo.gpytorch_additive`. It takes longer, since counts are compared anew in each step
    of the fit.

    Attributes:
        noise: median of the prior of the noise's variance, as a share of the outcome's own.
        most: observations that the model is fitted to.
        iterations: of the optimiser.

    Example:
        >>> model = BotorchGP()(X, Y, layout)
        >>> fantasies = model.fantasize(X[:1], SobolQMCNormalSampler(torch.Size([8])))
    """

    kind: Literal["botorch"] = "botorch"
    noise: float = Field(default=0.01, ge=1e-6)
    most: int = Field(default=500, ge=2)
    iterations: int = Field(default=15, ge=0)

    def __call__(self, X: "Tensor", Y: "Tensor", layout: FeatureLayout, seed: int = 0) -> "SingleTaskGP | ModelListGP":
        """Fit by maximum a posteriori (L-BFGS-B); a list of models for several outcomes.

        Raises:
            CampaignError: the fit failed, BoTorch's own retries from other starting points included.
        """
        from botorch.fit import fit_gpytorch_mll
        from botorch.models import ModelListGP
        from gpytorch.mlls import ExactMarginalLogLikelihood, SumMarginalLogLikelihood

        from molvae.bo.gpytorch_additive import additive_gp

        with _fitting(len(X), seed):
            model = additive_gp(X, Y, layout, self.noise)
            likelihood = SumMarginalLogLikelihood if isinstance(model, ModelListGP) else ExactMarginalLogLikelihood
            mll = likelihood(model.likelihood, model)
            if self.iterations:
                fit_gpytorch_mll(mll, optimizer_kwargs={"options": {"maxiter": self.iterations}})
        return model.eval()


SURROGATES = Registry("surrogate", Surrogate, (AdditiveGP, LatentGP, BotorchGP))


@contextmanager
def _fitting(n: int, seed: int) -> Iterator[None]:
    """Fit a model of BoTorch's to ``n`` observations: quietly, and the same again by the same seed.

    Raises:
        CampaignError: the fit failed.
    """
    from botorch.exceptions import InputDataWarning, ModelFittingError, OptimizationWarning
    from linear_operator.utils.errors import NanError, NotPSDError

    from molvae.bo.torch_state import seeded

    with seeded(seed):
        # features do not span the unit cube exactly (harmless: the kernels are stationary), constant
        # outcomes cannot be standardised, and an optimiser that stops early is tried again by BoTorch
        warnings.filterwarnings("ignore", r"Data \(.*\) is not", InputDataWarning)
        warnings.filterwarnings("ignore", category=OptimizationWarning)
        try:
            yield
        except (ModelFittingError, NanError, NotPSDError) as error:
            raise CampaignError(
                f"the Gaussian process could not be fitted to {n} observations ({error}); "
                "look for objective values of extreme size, or use surrogate.kind = 'additive'"
            ) from error
