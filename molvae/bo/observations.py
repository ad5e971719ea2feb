"""What was observed so far, as acquisition functions see it."""

from dataclasses import dataclass

import torch
from botorch.utils.multi_objective.hypervolume import infer_reference_point
from botorch.utils.multi_objective.pareto import is_non_dominated
from torch import Tensor


@dataclass(frozen=True)
class Observations:
    """What a model was fitted to.

    Attributes:
        X: features, (n, d).
        Y: (n, m) float64 utilities.
        reference: utilities that hypervolumes are measured from, one for each column that is not a constraint;
            inferred from Y if None.
        constraints: columns of Y that have to be at least 0, whatever more they are.
    """

    X: Tensor
    Y: Tensor
    reference: Tensor | None = None
    constraints: tuple[int, ...] = ()

    @property
    def improved(self) -> list[int]:
        """The columns of Y that are no constraints."""
        return [k for k in range(self.Y.shape[1]) if k not in self.constraints]

    @property
    def feasible(self) -> Tensor:
        """Whether all constraints hold, (n,) bool."""
        held: Tensor = (self.Y[:, list(self.constraints)] >= 0).all(1)
        return held

    @property
    def feasible_Y(self) -> Tensor:  # noqa: N802 (of Y)
        """Utilities of the feasible observations, without the constraints, (feasible, improved)."""
        return self.Y[self.feasible][:, self.improved]

    @property
    def feasible_front(self) -> Tensor:
        """Features of the feasible observations that no other one dominates."""
        return self.X[self.feasible][_front(self.feasible_Y)]

    @property
    def reference_point(self) -> Tensor:
        """The one that is given, or one inferred from the feasible observations (from all, if none is), (improved,)."""
        if self.reference is not None:
            return self.reference
        Y = self.feasible_Y
        if not len(Y):
            Y = self.Y[:, self.improved]
        inferred: Tensor = Y.amin(0) if Y.shape[1] == 1 else infer_reference_point(Y[_front(Y)])
        return inferred


def spread(Y: Tensor) -> Tensor:
    """Standard deviation of each column of ``(n, m)``, 1 where all values are equal but for rounding, ``(m,)``."""
    found = Y.std(0) if len(Y) > 1 else torch.zeros_like(Y[0])
    return torch.where(found > 1e-12 * Y.abs().amax(0), found, 1.0)


def _front(Y: Tensor) -> Tensor:
    found: Tensor = is_non_dominated(Y)
    return found
