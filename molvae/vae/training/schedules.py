"""How β and the learning rate move with the progress of a training, 0 at its first step and 1 at its end."""

import math
from typing import Literal, Protocol

from pydantic import Field

from molvae.config import Component
from molvae.registry import Registry


class Beta(Protocol):
    """What a recipe says of the weight of the KL over a training."""

    def __call__(self, progress: float) -> float:
        """β, at least 0, at a progress between 0 and 1."""


class LinearBeta(Component):
    """β rises in a straight line from ``start`` to ``end`` over the first ``over`` of the training, then stays."""

    kind: Literal["linear"] = "linear"
    start: float = Field(0.0, ge=0, description="β at the first step")
    end: float = Field(0.05, ge=0, description="β at the end")
    over: float = Field(0.1, ge=0, le=1, description="share of the training in which it rises")

    def __call__(self, progress: float) -> float:
        """See `Beta`."""
        share = min(1.0, progress / self.over) if self.over else 1.0
        return self.start + (self.end - self.start) * share


BETAS = Registry("beta schedule", Beta, (LinearBeta,))


def cosine(progress: float, warmup: float, hold: float = 0.0) -> float:
    """Factor on the learning rate: a straight rise in ``warmup``, 1 until ``hold``, then half a cosine down to 0."""
    if progress < warmup:
        return progress / warmup
    fall = max(warmup, hold)
    if progress < fall:
        return 1.0
    return 0.5 * (1 + math.cos(math.pi * (progress - fall) / (1 - fall))) if progress < 1 else 0.0
