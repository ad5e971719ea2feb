"""(model, what was observed, candidates, q) → which candidates to evaluate next."""

import warnings
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Literal

import numpy as np
from pydantic import Field, model_validator

from molvae.config import Component

if TYPE_CHECKING:  # a recipe holds these settings, and reading a recipe should not load torch
    from botorch.acquisition import AcquisitionFunction
    from botorch.models.model import Model
    from torch import Tensor

    from molvae.bo.finite import Finite

SCREEN = 20
"""Candidates with the highest score by each taste: a batch is chosen among them."""

Reference = tuple[float, ...] | Literal["inferred"]


@dataclass(frozen=True)
class Observations:
    """What a model was fitted to.

    Attributes:
        X: features, (n, d).
        Y: (n, m) float64 utilities.
        reference: (m,) utilities, from which hypervolumes are measured if m > 1; inferred from Y if None.
    """

    X: "Tensor"
    Y: "Tensor"
    reference: "Tensor | None" = None


@dataclass(frozen=True)
class Candidates:
    """What may be chosen.

    Attributes:
        X: features, (c, d).
        mean, sd: what the model expects, (c, m).
        shares: of each standard deviation that counts, (c,).
    """

    X: "Tensor"
    mean: "Tensor"
    sd: "Tensor"
    shares: "Tensor"


@dataclass(frozen=True)
class Choice:
    """Which candidates were chosen: rows of `Candidates`, each once, and the acquisition value of each."""

    rows: tuple[int, ...]
    values: tuple[float, ...]


@dataclass(frozen=True)
class Taste:
    """How much exploration counts, and which of several objectives: the score that a search breeds by.

    Each objective's upper confidence bound is measured from the reference in units of its spread; with several the
    smallest of these over random shares counts; the expectation of its m-th power is the hypervolume up to a constant
    [Golovin and Zhang, "Random hypervolume scalarizations for provable multi-objective black box optimization", 2020].

    Attributes:
        weight: of the standard deviation.
        low, spread, shares: (m,).
    """

    weight: float
    low: "Tensor"
    spread: "Tensor"
    shares: "Tensor"

    def __call__(self, mean: "Tensor", sd: "Tensor") -> "Tensor":
        """(c, m) each → (c,)."""
        return ((mean + self.weight * sd - self.low) / self.spread / self.shares).amin(-1)


class UCB(Component):
    """Upper confidence bounds, each of the batch with its own exploration weight.

    The weights are drawn log-uniformly, so that a batch holds sure gains and long shots. After each choice the others'
    uncertainty is what it would be had that one been observed, which keeps a batch diverse.

    Attributes:
        weights: least and largest number of standard deviations that are added to the mean.
        reference: the point that several objectives are measured from, one raw value each, in the recipe's order; by
            default inferred from the Pareto front.
    """

    kind: Literal["ucb"] = "ucb"
    weights: tuple[float, float] = (0.3, 10.0)
    reference: Reference = "inferred"

    @model_validator(mode="after")
    def _drawable(self) -> "UCB":
        if not 0 < self.weights[0] <= self.weights[1]:
            raise ValueError("weights need 0 < least ≤ largest")
        return self

    def taste(self, seen: Observations, rng: np.random.Generator) -> Taste:
        """A draw of what counts."""
        import torch

        from molvae.bo.additive import spread

        low, high = np.log(self.weights)
        shares = np.abs(rng.standard_normal(seen.Y.shape[1])) + 1e-3
        return Taste(
            weight=float(np.exp(rng.uniform(low, high))),
            low=_reference(seen),
            spread=spread(seen.Y),
            shares=torch.from_numpy(shares / np.linalg.norm(shares)),
        )

    def __call__(self, model: "Model", seen: Observations, candidates: Candidates, q: int, seed: int = 0) -> Choice:
        """Choose ``q`` of the candidates, or all if there are fewer; a pure function of the arguments."""
        from molvae.bo.finite import Finite

        rng = np.random.default_rng(seed)
        tastes = [self.taste(seen, rng) for _ in range(min(q, len(candidates.X)))]
        rows = _shortlist(candidates, tastes, q)
        belief = Finite.of(model, candidates.X[rows]).shrunk(candidates.shares[rows])
        chosen: list[int] = []
        values = []
        for taste in tastes:
            scores = taste(belief.mean, belief.sd)
            scores[chosen] = -np.inf
            chosen.append(int(scores.argmax()))
            values.append(float(scores[chosen[-1]]))
            belief = belief.conditioned(chosen[-1])
        return Choice(tuple(rows[k] for k in chosen), tuple(values))


class LogEI(Component):
    """Expected improvement, in logarithms so that it never flattens to zero [Ament et al., 2023].

    One objective: qLogExpectedImprovement over the best observed value. Several: qLogNoisyExpectedHypervolume-
    Improvement. The batch is chosen one after another among those with the highest upper confidence bounds.

    Attributes:
        samples: quasi-random (Sobol) draws from the posterior; several objectives cost a partition of the
            objective space for each.
        reference: as of `UCB`.
    """

    kind: Literal["logei"] = "logei"
    samples: int = Field(default=64, ge=1)
    reference: Reference = "inferred"

    def taste(self, seen: Observations, rng: np.random.Generator) -> Taste:
        """A draw of what the search breeds by."""
        return UCB().taste(seen, rng)

    def __call__(self, model: "Model", seen: Observations, candidates: Candidates, q: int, seed: int = 0) -> Choice:
        """As `UCB`; each value is of the batch up to and with that candidate."""
        import torch
        from botorch.optim import optimize_acqf_discrete
        from linear_operator.utils.warnings import NumericalWarning

        from molvae.bo.finite import Finite

        rng = np.random.default_rng(seed)
        q = min(q, len(candidates.X))
        rows = _shortlist(candidates, [self.taste(seen, rng) for _ in range(max(q, 10))], q)
        front = seen.X[_front(seen.Y)] if seen.Y.shape[1] > 1 else seen.X[:0]
        shares = torch.cat([candidates.shares[rows], torch.ones(len(front), dtype=candidates.shares.dtype)])
        belief = Finite.of(model, torch.cat([candidates.X[rows], front])).shrunk(shares)
        with torch.random.fork_rng(devices=[]), torch.no_grad(), warnings.catch_warnings():
            torch.manual_seed(seed)  # pruning the baseline draws from the global generator
            # jitter on a nearly singular covariance is routine; the other one concerns torch's own developers
            warnings.filterwarnings("ignore", category=NumericalWarning)
            warnings.filterwarnings("ignore", "Sparse invariant checks", UserWarning)
            function = self._function(belief, seen, belief.rows[len(rows) :], seed)
            points, values = optimize_acqf_discrete(function, q, belief.rows[: len(rows)], max_batch_size=256)
        return Choice(tuple(rows[int(k)] for k in points[:, 0]), tuple(values.reshape(-1).tolist()))

    def _function(self, belief: "Finite", seen: Observations, baseline: "Tensor", seed: int) -> "AcquisitionFunction":
        import torch
        from botorch.acquisition import qLogExpectedImprovement
        from botorch.acquisition.multi_objective.logei import qLogNoisyExpectedHypervolumeImprovement
        from botorch.sampling import SobolQMCNormalSampler

        sampler = SobolQMCNormalSampler(torch.Size([self.samples]), seed=seed)
        if not len(baseline):
            return qLogExpectedImprovement(belief, seen.Y.max(), sampler)
        return qLogNoisyExpectedHypervolumeImprovement(
            belief, _reference(seen), baseline, sampler=sampler, prune_baseline=True, cache_root=False
        )


Acquisition = Annotated[UCB | LogEI, Field(discriminator="kind")]


def _shortlist(candidates: Candidates, tastes: list[Taste], q: int) -> list[int]:
    """Rows of the best by each taste, in ascending order, at least ``q``."""
    rows: set[int] = set()
    for taste in tastes:
        scores = taste(candidates.mean, candidates.sd * candidates.shares[:, None])
        rows.update(scores.argsort(descending=True, stable=True)[: max(q, SCREEN)].tolist())
    return sorted(rows)


def _reference(seen: Observations) -> "Tensor":
    from botorch.utils.multi_objective.hypervolume import infer_reference_point

    if seen.reference is not None:
        return seen.reference
    inferred: Tensor = seen.Y.amin(0) if seen.Y.shape[1] == 1 else infer_reference_point(seen.Y[_front(seen.Y)])
    return inferred


def _front(Y: "Tensor") -> "Tensor":
    from botorch.utils.multi_objective.pareto import is_non_dominated

    found: Tensor = is_non_dominated(Y)
    return found
