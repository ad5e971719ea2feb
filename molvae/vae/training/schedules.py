"""How β and the learning rate move with the progress of a training, 0 at its first step and 1 at its end."""

import math
from typing import Annotated, Literal

from pydantic import Field

from molvae.config import Component


class LinearBeta(Component):
    """β rises in a straight line from ``start`` to ``end`` over the first ``over`` of the training, then stays."""

    kind: Literal["linear"] = "linear"
    start: float = Field(0.0, ge=0)
    end: float = Field(0.05, ge=0)
    over: float = Field(0.1, ge=0, le=1)

    def __call__(self, progress: float) -> float:
        """β at a progress between 0 and 1."""
        share = min(1.0, progress / self.over) if self.over else 1.0
        return self.start + (self.end - self.start) * share


class CyclicBeta(Component):
    """β rises from 0 to ``end`` during the first ``ramp`` of each of ``cycles`` cycles, then stays till the next.

    Fu et al. 2019, "Cyclical annealing schedule".
    """

    kind: Literal["cyclic"] = "cyclic"
    end: float = Field(0.05, ge=0)
    cycles: int = Field(4, ge=1)
    ramp: float = Field(0.5, gt=0, le=1)

    def __call__(self, progress: float) -> float:
        """β at a progress between 0 and 1."""
        if progress >= 1:
            return self.end
        return self.end * min(1.0, (progress * self.cycles % 1.0) / self.ramp)


Beta = Annotated[LinearBeta | CyclicBeta, Field(discriminator="kind")]


def cosine(progress: float, warmup: float, hold: float = 0.0) -> float:
    """Factor on the learning rate: a straight rise in ``warmup``, 1 until ``hold``, then half a cosine down to 0."""
    if progress < warmup:
        return progress / warmup
    fall = max(warmup, hold)
    if progress < fall:
        return 1.0
    return 0.5 * (1 + math.cos(math.pi * (progress - fall) / (1 - fall))) if progress < 1 else 0.0
