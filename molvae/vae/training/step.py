"""The step of a training: loss, gradient, how far the weights move. Fine-tuning takes the same step."""

from collections.abc import Sequence

import numpy as np
import torch
from lightning_fabric import Fabric
from torch import Tensor
from torch.optim import Optimizer

from molvae.data.corpus import Tokens
from molvae.vae.nets.nets import Net
from molvae.vae.training.optimizers import set_rate
from molvae.vae.training.recipe import TrainSettings
from molvae.vae.training.schedules import cosine


class Descent:
    """What a batch does to the weights: a function of the batch, its place, the weights and the optimisers' moments.

    Args:
        fabric: device and precision.
        net: the weights, wherever they are.
        optimizers: of these weights, with the moments that they begin with.
        settings: loss and schedules.
        steps: of the whole training.
    """

    def __init__(
        self, fabric: Fabric, net: Net, optimizers: Sequence[Optimizer], settings: TrainSettings, steps: int
    ) -> None:
        self._fabric, self._plain, self._settings, self._steps = fabric, net, settings, steps
        self._net, *self._optimizers = fabric.setup(net, *optimizers)
        weights = [settings.property_weights.get(name, 1.0) for name in net.settings.properties]
        self._weights = torch.tensor(weights).to(fabric.device)

    def beta(self, step: int) -> float:
        """Weight of the KL at a step, counted from 0."""
        return self._settings.beta(step / self._steps)

    def __call__(
        self, tokens: Tokens, labels: Tensor | None, seed: int, step: int, rank: int = 0
    ) -> tuple[float, float]:
        """Take a step.

        Args:
            tokens: strings of one length, ``(batch, time)``.
            labels: ``(batch, properties)``, NaN for missing; None for none at all.
            seed, step, rank: what all draws depend on; steps count from 0.

        Returns:
            Means over the batch of nll and KL, in nats.
        """
        settings, device = self._settings, self._fabric.device
        ids = torch.from_numpy(tokens).to(device).long()
        known = None if labels is None else labels.to(device)
        noise, astray = _noise(settings, len(ids), self._plain.settings.latent, (seed, step, rank))
        set_rate(self._optimizers, cosine((step + 1) / self._steps, settings.warmup, settings.hold))

        terms = self._net(ids, noise.to(device), known, astray.to(device))
        share = torch.where(astray > 0, settings.astray_weight, 1.0)[:, 0].to(device)
        nll, kl = (share * terms.nll).mean(), terms.kl.mean(0)
        loss = nll + self.beta(step) * kl.clamp_min(settings.free_bits).sum()
        if known is not None:
            loss = loss + (self._weights * terms.errors).sum()
        for optimizer in self._optimizers:
            optimizer.zero_grad()
        self._fabric.backward(loss)
        torch.nn.utils.clip_grad_norm_(self._plain.parameters(), settings.clip)
        for optimizer in self._optimizers:
            optimizer.step()
        return nll.item(), kl.sum().item()


def _noise(settings: TrainSettings, batch: int, latent: int, place: tuple[int, ...]) -> tuple[Tensor, Tensor]:
    """Standard normal noise ``(batch, latent)``, and for each molecule how far it goes astray ``(batch, 1)``."""
    chance = np.random.default_rng(place)
    noise = chance.standard_normal((batch, latent), dtype=np.float32)
    low, high = settings.astray_noise
    scale = low + (high - low) * chance.random((batch, 1), dtype=np.float32)
    astray = np.where(chance.random((batch, 1)) < settings.astray, scale, np.float32(0))
    return torch.from_numpy(noise), torch.from_numpy(astray)
