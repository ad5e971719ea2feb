"""A trust region as a pure function of the history: how far moves may go from the best that is known."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

from pydantic import Field, model_validator

from molvae.config import Component

SMALLEST_GAIN = 1e-3
"""A round is a success when it raises the best by more than this share of its size, as in TuRBO."""


@dataclass(frozen=True)
class Region:
    """How far moves may go: ``length`` in standard deviations of the latent prior; ``restarts`` so far."""

    length: float
    restarts: int = 0


class TrustRegion(Component):
    """Doubles after ``successes`` good rounds in a row, halves after ``failures`` poor ones; anew if tiny.

    The rule of TuRBO (Eriksson et al., "Scalable global optimization via local Bayesian optimization", 2019),
    with tolerances counted in rounds of a campaign of some tens of rounds.

    Example:
        >>> TrustRegion(length=0.8, failures=2)([1.0, 1.0, 1.0])
        Region(length=0.4, restarts=0)
    """

    length: float = Field(default=1.5, gt=0)
    shortest: float = Field(default=0.1, gt=0)
    longest: float = Field(default=1.6, gt=0)
    successes: int = Field(default=2, ge=1)
    failures: int = Field(default=3, ge=1)

    @model_validator(mode="after")
    def _ordered(self) -> "TrustRegion":
        if not self.shortest <= self.length <= self.longest:
            raise ValueError("a region needs shortest ≤ length ≤ longest")
        return self

    def __call__(self, history: Sequence[float]) -> Region:
        """The region for the next round.

        Args:
            history: the best utility (or hypervolume) after the start set, after round 1, and so on.
        """
        length, restarts, good, poor = self.length, 0, 0, 0
        for before, after in pairwise(history):
            success = after > before + SMALLEST_GAIN * abs(before)
            good, poor = (good + 1, 0) if success else (0, poor + 1)
            if good == self.successes:
                length, good = min(2 * length, self.longest), 0
            elif poor == self.failures:
                length, poor = length / 2, 0
            if length < self.shortest:
                length, restarts, good, poor = self.length, restarts + 1, 0, 0
        return Region(length, restarts)
