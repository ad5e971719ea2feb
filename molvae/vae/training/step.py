"""The step of a training: loss, gradient, how far the weights move. Fine-tuning takes the same step."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from lightning_fabric import Fabric
from torch import Tensor, nn
from torch.optim import Optimizer

from molvae.data.corpus import Tokens
from molvae.vae.nets.nets import Net
from molvae.vae.training.losses import Loss, LossBatch, LossTerms
from molvae.vae.training.optimizers import set_rate
from molvae.vae.training.recipe import TrainSettings
from molvae.vae.training.schedules import cosine


class StepFigures(NamedTuple):
    """What a step tells: means over the batch of nll and KL, in nats, and the weight of the KL."""

    nll: float
    kl: float
    beta: float


class TrainingStep:
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
        self._fabric, self._net, self._settings, self._steps = fabric, net, settings, steps
        self._loss, *self._optimizers = fabric.setup(_LossModule(net, settings.loss), *optimizers)

    def __call__(self, tokens: Tokens, labels: Tensor | None, seed: int, step: int, rank: int = 0) -> StepFigures:
        """Take a step.

        Args:
            tokens: strings of one length, ``(batch, time)``.
            labels: ``(batch, properties)``, NaN for missing; None for none at all.
            seed, step, rank: what all draws depend on; steps count from 0.
        """
        settings, device = self._settings, self._fabric.device
        batch = LossBatch(torch.from_numpy(tokens).to(device).long(), None if labels is None else labels.to(device))
        rng = np.random.default_rng((seed, step, rank))
        set_rate(self._optimizers, cosine((step + 1) / self._steps, settings.warmup, settings.hold))
        terms: LossTerms = self._loss(batch, rng, step / self._steps)
        for optimizer in self._optimizers:
            optimizer.zero_grad()
        self._fabric.backward(terms.loss)
        torch.nn.utils.clip_grad_norm_(self._net.parameters(), settings.clip)
        for optimizer in self._optimizers:
            optimizer.step()
        return StepFigures(terms.nll.item(), terms.kl.item(), terms.beta)


class _LossModule(nn.Module):
    """Net and loss as one module, since Fabric gives only a call of a whole module its precision and its devices."""

    def __init__(self, net: Net, loss: Loss) -> None:
        super().__init__()
        self.net, self.loss = net, loss

    def forward(self, batch: LossBatch, rng: np.random.Generator, progress: float) -> LossTerms:
        """See `Loss`."""
        return self.loss(self.net, batch, rng, progress)
