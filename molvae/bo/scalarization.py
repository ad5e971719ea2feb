"""Several utilities, and what is not known of them, as one score."""

from dataclasses import dataclass, replace

import numpy as np
import torch
from botorch.utils.safe_math import log_softplus
from torch import Tensor

from molvae.bo.observations import Observations, spread


@dataclass(frozen=True)
class Scalarization:
    """How much exploration counts, and which of several objectives: the score that parents are selected by.

    Each objective's upper confidence bound is measured from the reference in units of its spread; with several the
    smallest of these over random weights counts; the expectation of its m-th power is the hypervolume up to a constant
    [Golovin and Zhang, "Random hypervolume scalarizations for provable multi-objective black box optimization", 2020].

    With constraints the score is log P + log softplus(gain): P is the probability of feasibility, that all of them
    hold, and gain is what the bound is above the best feasible molecule. Where the gain is large this is the product
    of Gardner et al. ("Bayesian optimization with inequality constraints", 2014); below the best it still falls with
    the bound, where a product of P and a negative number would prefer what is infeasible. As long as nothing feasible
    is known, P alone counts [Gelbart et al., "Bayesian optimization with unknown constraints", 2014].

    Attributes:
        exploration: how many standard deviations are added to the mean.
        reference, spread, weights: one for each objective that is no constraint; weights are positive, a direction.
        constraints: columns that have to be at least 0.
        incumbent: score of the best feasible molecule observed; None if there is none.
    """

    exploration: float
    reference: Tensor
    spread: Tensor
    weights: Tensor
    constraints: tuple[int, ...] = ()
    incumbent: float | None = None

    def __call__(self, mean: Tensor, sd: Tensor) -> Tensor:
        """(c, m) each → (c,)."""
        if not self.constraints:
            return self.bound(mean, sd)
        columns = list(self.constraints)
        feasibility = log_feasibility(mean[:, columns], sd[:, columns])
        if self.incumbent is None:
            return feasibility
        gain: Tensor = log_softplus(self.bound(mean, sd) - self.incumbent)
        return feasibility + gain

    def bound(self, mean: Tensor, sd: Tensor) -> Tensor:
        """The score without regard to constraints, (c, m) each → (c,)."""
        improved = [k for k in range(mean.shape[1]) if k not in self.constraints]
        bounds = mean[:, improved] + self.exploration * sd[:, improved]
        lowest: Tensor = ((bounds - self.reference) / self.spread / self.weights).amin(-1)
        return lowest


def draw_scalarization(seen: Observations, exploration: tuple[float, float], rng: np.random.Generator) -> Scalarization:
    """One with random weights of the objectives.

    Args:
        exploration: least and largest number of standard deviations, between which it is drawn log-uniformly.
    """
    low, high = np.log(exploration)
    Y = seen.Y[:, seen.improved]
    weights = np.abs(rng.standard_normal(Y.shape[1])) + 1e-3  # one of 0 would divide by zero
    drawn = Scalarization(
        exploration=float(np.exp(rng.uniform(low, high))),
        reference=seen.reference_point,
        spread=spread(Y),
        weights=torch.from_numpy(weights / np.linalg.norm(weights)),
        constraints=seen.constraints,
    )
    if not seen.constraints or not seen.feasible.any():
        return drawn
    known = seen.Y[seen.feasible]
    return replace(drawn, incumbent=float(drawn.bound(known, torch.zeros_like(known)).max()))


def log_feasibility(mean: Tensor, sd: Tensor) -> Tensor:
    """Logarithm of the probability that independent normal outcomes are all at least 0, (c, k) each → (c,)."""
    above = (mean / sd).nan_to_num(nan=np.inf).clamp(-1e9, 1e9)  # 0 for sure holds; infinities would spoil scores
    found: Tensor = torch.special.log_ndtr(above).sum(-1)
    return found
