"""What a training minimises: the negative evidence lower bound, or another loss from outside the package."""

from collections.abc import Sequence
from typing import Annotated, Literal, NamedTuple, Protocol

import numpy as np
import torch
from pydantic import Field, NonNegativeFloat
from torch import Tensor

from molvae.config import Component
from molvae.registry import Registry
from molvae.vae.nets.nets import Net
from molvae.vae.training.schedules import BETAS, Beta, LinearBeta


class LossBatch(NamedTuple):
    """Molecules of a step, on the device of the weights.

    Attributes:
        tokens: strings of one length without start and end, ``(batch, time)`` int64.
        labels: ``(batch, properties)`` in the properties' own units, NaN for missing; None for none at all.
    """

    tokens: Tensor
    labels: Tensor | None


class LossTerms(NamedTuple):
    """A loss, and what the log tells of it.

    Attributes:
        loss: what is minimised, a scalar.
        nll, kl: means over the batch of −log p(x | z) and of the KL, in nats a molecule.
        beta: weight of the KL.
    """

    loss: Tensor
    nll: Tensor
    kl: Tensor
    beta: float = 1.0


class Loss(Protocol):
    """What a recipe says of a loss.

    Example:
        A loss in a module of one's own, chosen by ``loss = {kind = "my_losses:Plain"}``::

            class Plain(Component):
                beta: float = 0.05

                def __call__(self, net, batch, rng, progress):
                    mean, logvar = net.encoder(batch.tokens)
                    z = mean + standard_normal(rng, mean.shape, mean.device) * torch.exp(logvar / 2)
                    nll, kl = net.nll(batch.tokens, z).mean(), gaussian_kl(mean, logvar).sum(1).mean()
                    return LossTerms(nll + self.beta * kl, nll, kl, self.beta)
    """

    def __call__(self, net: Net, batch: LossBatch, rng: np.random.Generator, progress: float) -> LossTerms:
        """The loss of a batch: a pure function of the weights and of these arguments, or resume is not exact.

        Args:
            net: the weights, under the precision of the training.
            batch: its molecules.
            rng: what all draws are taken from; it depends on the seed, the step and the device's rank alone.
            progress: of the training, 0 at its first step, below 1 at its last.
        """


def standard_normal(rng: np.random.Generator, shape: Sequence[int], device: torch.device) -> Tensor:
    """Draws from N(0, 1) in float32."""
    return torch.from_numpy(rng.standard_normal(shape, dtype=np.float32)).to(device)


class LatentNoise(Component):
    """Augmentation of the decoder: some molecules are decoded from farther off than their posterior puts them.

    So the decoder learns what lies between molecules; the encoder learns nothing from these.

    Attributes:
        share: of the molecules.
        sd: how far: the standard deviation of each one's noise is drawn evenly between these.
        weight: of their nll beside that of the others.
    """

    share: float = Field(0.0, ge=0, le=1)
    sd: tuple[NonNegativeFloat, NonNegativeFloat] = (0.3, 1.0)
    weight: float = Field(1.0, ge=0)

    def draw(self, rng: np.random.Generator, batch: int) -> Tensor:
        """The standard deviation for each molecule, 0 for those that stay with their posterior; ``(batch, 1)``."""
        low, high = self.sd
        scale = low + (high - low) * rng.random((batch, 1), dtype=np.float32)
        return torch.from_numpy(np.where(rng.random((batch, 1)) < self.share, scale, np.float32(0)))


class ELBO(Component):
    """The negative evidence lower bound, nll + β · KL, and the errors of the property heads.

    Attributes:
        beta: weight of the KL over the training; both terms are sums, over characters and over latent dimensions.
        latent_noise: see `LatentNoise`.
        property_weights: of the squared errors of net.properties, in standard deviations, beside the nll; else 1.
    """

    kind: Literal["elbo"] = "elbo"
    beta: Annotated[Beta, BETAS] = LinearBeta()
    latent_noise: LatentNoise = LatentNoise()
    property_weights: dict[str, NonNegativeFloat] = Field({})

    def __call__(self, net: Net, batch: LossBatch, rng: np.random.Generator, progress: float) -> LossTerms:
        """See `Loss`; nll is that of the loss, with the latent noise and its weight."""
        count, device = len(batch.tokens), batch.tokens.device
        noise = standard_normal(rng, (count, net.settings.latent), device)
        latent_sd = self.latent_noise.draw(rng, count).to(device)
        terms = net(batch.tokens, noise, batch.labels, latent_sd)
        share = torch.where(latent_sd > 0, self.latent_noise.weight, 1.0)[:, 0]
        nll, kl, beta = (share * terms.nll).mean(), terms.kl.mean(0).sum(), self.beta(progress)
        loss = nll + beta * kl
        if batch.labels is not None:
            weights = [self.property_weights.get(name, 1.0) for name in net.settings.properties]
            loss = loss + (torch.tensor(weights, device=device) * terms.errors).sum()
        return LossTerms(loss, nll, kl, beta)


LOSSES = Registry("loss", Loss, (ELBO,), plural="losses")
