"""(model, what was observed, candidates, q) → which candidates to evaluate next."""

import warnings
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Annotated, Literal

import numpy as np
from pydantic import Field, model_validator

from molvae.config import Component

if TYPE_CHECKING:  # a recipe holds these settings, and reading a recipe should not load torch
    from botorch.acquisition import AcquisitionFunction
    from botorch.models.model import Model
    from torch import Tensor

    from molvae.bo.discrete_posterior import Finite

SCREEN = 20
"""Candidates with the highest score by each taste: a batch is chosen among them."""

Reference = tuple[float, ...] | Literal["inferred"]


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

    X: "Tensor"
    Y: "Tensor"
    reference: "Tensor | None" = None
    constraints: tuple[int, ...] = ()

    @property
    def improved(self) -> list[int]:
        """The columns of Y that are no constraints."""
        return [k for k in range(self.Y.shape[1]) if k not in self.constraints]

    @property
    def feasible(self) -> "Tensor":
        """Whether all constraints hold, (n,) bool."""
        held: Tensor = (self.Y[:, list(self.constraints)] >= 0).all(1)
        return held


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

    With constraints the score is log P + log softplus(gain): P is the probability that all of them hold, and gain is
    what the bound is above the best feasible molecule. Where the gain is large this is the product of Gardner et al.
    ("Bayesian optimization with inequality constraints", 2014); below the best it still falls with the bound, where a
    product of P and a negative number would prefer what is infeasible. As long as nothing feasible is known, P alone
    counts [Gelbart et al., "Bayesian optimization with unknown constraints", 2014].

    Attributes:
        weight: of the standard deviation.
        low, spread, shares: one for each objective that is no constraint.
        constraints: columns that have to be at least 0.
        best: score of the best feasible molecule observed; None if there is none.
    """

    weight: float
    low: "Tensor"
    spread: "Tensor"
    shares: "Tensor"
    constraints: tuple[int, ...] = ()
    best: float | None = None

    def __call__(self, mean: "Tensor", sd: "Tensor") -> "Tensor":
        """(c, m) each → (c,)."""
        from botorch.utils.safe_math import log_softplus

        if not self.constraints:
            return self.bound(mean, sd)
        columns = list(self.constraints)
        hold = log_probability(mean[:, columns], sd[:, columns])
        return hold if self.best is None else hold + log_softplus(self.bound(mean, sd) - self.best)

    def bound(self, mean: "Tensor", sd: "Tensor") -> "Tensor":
        """The score without regard to constraints, (c, m) each → (c,)."""
        improved = [k for k in range(mean.shape[1]) if k not in self.constraints]
        bounds = mean[:, improved] + self.weight * sd[:, improved]
        lowest: Tensor = ((bounds - self.low) / self.spread / self.shares).amin(-1)
        return lowest


def log_probability(mean: "Tensor", sd: "Tensor") -> "Tensor":
    """Logarithm of the probability that independent normal outcomes are all at least 0, (c, k) each → (c,)."""
    import torch

    above = (mean / sd).nan_to_num(nan=np.inf).clamp(-1e9, 1e9)  # 0 for sure holds; infinities would spoil scores
    found: Tensor = torch.special.log_ndtr(above).sum(-1)
    return found


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
        Y = seen.Y[:, seen.improved]
        shares = np.abs(rng.standard_normal(Y.shape[1])) + 1e-3
        taste = Taste(
            weight=float(np.exp(rng.uniform(low, high))),
            low=_reference(seen),
            spread=spread(Y),
            shares=torch.from_numpy(shares / np.linalg.norm(shares)),
            constraints=seen.constraints,
        )
        if not seen.constraints or not seen.feasible.any():
            return taste
        known = seen.Y[seen.feasible]
        return replace(taste, best=float(taste.bound(known, torch.zeros_like(known)).max()))

    def __call__(self, model: "Model", seen: Observations, candidates: Candidates, q: int, seed: int = 0) -> Choice:
        """Choose ``q`` of the candidates, or all if there are fewer; a pure function of the arguments."""
        from molvae.bo.discrete_posterior import Finite

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
    Improvement. Constraints: improvement counts where they hold, over the best feasible; as long as nothing feasible
    is known, the probability that they hold. The batch is chosen one after another among those with the highest upper
    confidence bounds.

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

        from molvae.bo.discrete_posterior import Finite

        rng = np.random.default_rng(seed)
        q = min(q, len(candidates.X))
        rows = _shortlist(candidates, [self.taste(seen, rng) for _ in range(max(q, 10))], q)
        several = len(seen.improved) > 1 and len(_counted(seen)) > 0
        front = seen.X[seen.feasible][_front(_counted(seen))] if several else seen.X[:0]
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
        from botorch.acquisition.logei import qLogProbabilityOfFeasibility
        from botorch.acquisition.multi_objective.logei import qLogNoisyExpectedHypervolumeImprovement
        from botorch.acquisition.multi_objective.objective import IdentityMCMultiOutputObjective
        from botorch.acquisition.objective import GenericMCObjective
        from botorch.sampling import SobolQMCNormalSampler

        sampler = SobolQMCNormalSampler(torch.Size([self.samples]), seed=seed)
        limits, counted = _limits(seen), _counted(seen)
        if limits and not len(counted):
            return qLogProbabilityOfFeasibility(belief, limits, sampler)
        if not len(baseline):
            [k] = seen.improved
            objective = GenericMCObjective(lambda samples, X=None: samples[..., k]) if limits else None
            return qLogExpectedImprovement(belief, counted.max(), sampler, objective, constraints=limits or None)
        return qLogNoisyExpectedHypervolumeImprovement(
            belief,
            _reference(seen),
            baseline,
            sampler=sampler,
            objective=IdentityMCMultiOutputObjective(seen.improved) if limits else None,
            constraints=limits or None,
            prune_baseline=True,
            cache_root=False,
        )


class Thompson(Component):
    """Thompson sampling: each of the batch is the best of one draw from what the surrogate believes of all candidates.

    A draw is joint, so that candidates that are alike rise and fall together, and is judged by random shares of the
    objectives like `UCB`. With constraints the best of a draw is the best of those that hold them in that draw, or, if
    there is none, the one that violates them least [Eriksson and Poloczek, "Scalable constrained Bayesian
    optimization", 2021]. The draws are of those with the highest upper confidence bounds.

    Attributes:
        reference: as of `UCB`.
    """

    kind: Literal["thompson"] = "thompson"
    reference: Reference = "inferred"

    def taste(self, seen: Observations, rng: np.random.Generator) -> Taste:
        """A draw of what the search breeds by."""
        return UCB().taste(seen, rng)

    def __call__(self, model: "Model", seen: Observations, candidates: Candidates, q: int, seed: int = 0) -> Choice:
        """As `UCB`; each value is what the draw had for the one chosen."""
        import torch

        from molvae.bo.additive import spread
        from molvae.bo.discrete_posterior import Finite

        rng = np.random.default_rng(seed)
        tastes = [self.taste(seen, rng) for _ in range(min(q, len(candidates.X)))]
        rows = _shortlist(candidates, tastes, q)
        belief = Finite.of(model, candidates.X[rows]).shrunk(candidates.shares[rows])
        columns = list(seen.constraints)
        units = spread(seen.Y)[columns]
        chosen: list[int] = []
        values = []
        for taste, draw in zip(tastes, belief.draws(len(tastes), seed), strict=True):
            scores = taste.bound(draw, torch.zeros_like(draw))
            violation = ((-draw[:, columns]).clamp_min(0) / units).sum(-1)
            scores = torch.where(violation > 0, scores.min() - 1 - violation, scores)
            scores[chosen] = -np.inf
            chosen.append(int(scores.argmax()))
            values.append(float(scores[chosen[-1]]))
        return Choice(tuple(rows[k] for k in chosen), tuple(values))


Acquisition = Annotated[UCB | LogEI | Thompson, Field(discriminator="kind")]


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
    Y = _counted(seen)
    if not len(Y):
        Y = seen.Y[:, seen.improved]
    inferred: Tensor = Y.amin(0) if Y.shape[1] == 1 else infer_reference_point(Y[_front(Y)])
    return inferred


def _counted(seen: Observations) -> "Tensor":
    """Utilities of the feasible molecules, without the constraints."""
    return seen.Y[seen.feasible][:, seen.improved]


def _limits(seen: Observations) -> list[Callable[["Tensor"], "Tensor"]]:
    """The constraints as BoTorch has them: functions of draws, in the spread of what was seen, that hold below 0."""
    from molvae.bo.additive import spread

    def limit(k: int, unit: "Tensor") -> Callable[["Tensor"], "Tensor"]:
        return lambda draws: -draws[..., k] / unit

    units = spread(seen.Y)
    return [limit(k, units[k]) for k in seen.constraints]


def _front(Y: "Tensor") -> "Tensor":
    from botorch.utils.multi_objective.pareto import is_non_dominated

    found: Tensor = is_non_dominated(Y)
    return found
