"""The model of `molvae.bo.additive` in GPyTorch's own parts: slower, and able to do all that BoTorch's models can."""

import math
from typing import Any, Final

import torch
from botorch.models import ModelListGP, SingleTaskGP
from botorch.models.transforms import Standardize
from botorch.models.transforms.input import AffineInputTransform
from botorch.utils.constraints import LogTransformedInterval, NonTransformedInterval
from gpytorch.kernels import Kernel, RBFKernel
from gpytorch.likelihoods import GaussianLikelihood
from gpytorch.means import ZeroMean
from gpytorch.priors import NormalPrior
from torch import Tensor

from molvae.bo.additive import BOUND_SD, PRIOR_SD, descriptor_units
from molvae.bo.kernels import MinMaxKernel
from molvae.bo.layout import FeatureLayout

SHARES_SD, LENGTHS_SD, NOISE_SD = PRIOR_SD
LEAST_SPREAD: Final = 1e-12
"""Outcomes whose standard deviation is below this share of the largest one count as equal."""


class SharedKernel(Kernel):  # type: ignore[misc]
    """Σ sₖ kₖ of kernels kₖ with shares s = softmax(logits) that sum to 1.

    The logits have normal priors. A kernel reads the columns that its ``active_dims`` name.

    Example:
        >>> SharedKernel(MinMaxKernel(active_dims=range(2048)), RBFKernel(active_dims=range(2048, 2104)))
    """

    def __init__(self, *kernels: Kernel) -> None:
        super().__init__()
        self.kernels = torch.nn.ModuleList(kernels)
        self.register_parameter("logits", torch.nn.Parameter(torch.zeros(len(kernels))))
        self.register_constraint("logits", NonTransformedInterval(-BOUND_SD * SHARES_SD, BOUND_SD * SHARES_SD))
        self.register_prior("logits_prior", NormalPrior(0.0, SHARES_SD), _logits, _set_logits)

    @property
    def shares(self) -> Tensor:
        """Of the kernels, ``(kernels,)``."""
        shares: Tensor = self.logits.softmax(0)
        return shares

    def forward(self, x1: Tensor, x2: Tensor, diag: bool = False, **params: Any) -> Tensor:
        """Kernel matrix ``(*batch, n, m)``, or its diagonal."""
        terms = [kernel(x1, x2, diag=diag, **params) for kernel in self.kernels]
        found: Tensor = sum(
            share * (term if diag else term.to_dense()) for share, term in zip(self.shares, terms, strict=True)
        )
        return found


def additive_kernel(layout: FeatureLayout) -> SharedKernel:
    """MinMax on counts, and squared exponentials on descriptors and on latent points; blocks without columns have none.

    A length scale is √columns by the median of its prior, which is log-normal.
    """
    kernels = [MinMaxKernel(active_dims=_columns(layout, "counts"))]
    for name in ("descriptors", "latent"):
        columns = _columns(layout, name)
        if not columns:
            continue
        kernel = RBFKernel(
            ard_num_dims=len(columns),
            active_dims=columns,
            lengthscale_constraint=_within(LENGTHS_SD, math.sqrt(len(columns))),
        )
        prior = NormalPrior(math.log(len(columns)) / 2, LENGTHS_SD)
        kernel.register_prior("lengthscale_prior", prior, _log_lengthscale, _set_log_lengthscale)
        kernels.append(kernel)
    return SharedKernel(*kernels)


def additive_gp(X: Tensor, Y: Tensor, layout: FeatureLayout, noise: float) -> SingleTaskGP | ModelListGP:
    """The model, with all hyper-parameters at the medians of their priors: one for an outcome, a list for several.

    Args:
        X: rows of features, ``(n, layout.width)``.
        Y: ``(n, m)`` float64.
        layout: where counts, descriptors and latent points are.
        noise: median of the prior of the noise's variance, as a share of the outcome's own.
    """
    models = [_single(X.double(), column, layout, noise) for column in Y.mT[..., None]]
    return models[0] if len(models) == 1 else ModelListGP(*models)


def _single(X: Tensor, Y: Tensor, layout: FeatureLayout, noise: float) -> SingleTaskGP:
    likelihood = GaussianLikelihood(noise_constraint=_within(NOISE_SD, noise))
    likelihood.register_prior("noise_prior", NormalPrior(math.log(noise), NOISE_SD), _log_noise, _set_log_noise)
    units, scale = descriptor_units(X, layout), None
    if len(units):
        columns = list(_columns(layout, "descriptors"))
        scale = AffineInputTransform(layout.width, units, torch.zeros_like(units), indices=columns)
    least = max(LEAST_SPREAD * float(Y.abs().max()), torch.finfo(Y.dtype).tiny)
    return SingleTaskGP(
        X,
        Y,
        likelihood=likelihood,
        covar_module=additive_kernel(layout),
        mean_module=ZeroMean(),
        outcome_transform=Standardize(1, min_stdv=least),
        input_transform=scale,
    )


def _columns(layout: FeatureLayout, name: str) -> tuple[int, ...]:
    where = layout[name]
    return tuple(range(where.start, where.stop))


def _within(sd: float, median: float) -> LogTransformedInterval:
    """Of a positive parameter that is fitted by its logarithm, which has a normal prior."""
    apart = math.exp(BOUND_SD * sd)
    return LogTransformedInterval(median / apart, median * apart, initial_value=median)


# Priors are of logarithms: a log-normal prior of the parameter itself has its mode elsewhere, which would be another
# maximum a posteriori. Each needs its inverse, since BoTorch draws from priors where it tries a fit again. Functions
# with names, unlike what GPyTorch makes of a parameter's name, can be pickled.


def _logits(kernel: SharedKernel) -> Tensor:
    logits: Tensor = kernel.logits
    return logits


def _set_logits(kernel: SharedKernel, value: Tensor) -> None:
    kernel.initialize(logits=value)


def _log_lengthscale(kernel: RBFKernel) -> Tensor:
    logarithm: Tensor = kernel.lengthscale.log()
    return logarithm


def _set_log_lengthscale(kernel: RBFKernel, value: Tensor) -> None:
    kernel.lengthscale = value.exp()


def _log_noise(likelihood: GaussianLikelihood) -> Tensor:
    logarithm: Tensor = likelihood.noise.log()
    return logarithm


def _set_log_noise(likelihood: GaussianLikelihood, value: Tensor) -> None:
    likelihood.noise = value.exp()
