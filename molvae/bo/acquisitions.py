"""(model, what was observed, candidates, q) → which candidates to evaluate next."""

import warnings
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Literal, Protocol

import numpy as np
from pydantic import Field, model_validator

from molvae.config import Component
from molvae.registry import Registry

if TYPE_CHECKING:  # a recipe holds these settings, and reading a recipe should not load torch
    from botorch.acquisition import AcquisitionFunction
    from botorch.models.model import Model
    from torch import Tensor

    from molvae.bo.discrete_posterior import DiscretePosterior
    from molvae.bo.observations import Observations
    from molvae.bo.scalarization import Scalarization

SCREEN: Final = 20
"""Candidates with the highest score by each scalarization: a batch is chosen among them."""
EXPLORATION: Final = (0.3, 10.0)
"""Least and largest number of standard deviations that an upper confidence bound is above the mean."""


@dataclass(frozen=True)
class Candidates:
    """What may be chosen.

    Attributes:
        X: features, (c, d).
        mean, sd: what the model expects, (c, m).
        sd_factor: what each standard deviation is multiplied by before it counts, (c,); 1 but for candidates that are
            out of the distribution.
    """

    X: "Tensor"
    mean: "Tensor"
    sd: "Tensor"
    sd_factor: "Tensor"


@dataclass(frozen=True)
class Choice:
    """Which candidates were chosen: rows of `Candidates`, each once, and the acquisition value of each."""

    rows: tuple[int, ...]
    values: tuple[float, ...]


class Acquisition(Protocol):
    """An acquisition function: how much a candidate promises, and which of them are evaluated next."""

    def scalarize(self, seen: "Observations", rng: np.random.Generator) -> "Scalarization":
        """A score of one number, by which the search selects parents; drawn anew for each generation."""

    def __call__(self, model: "Model", seen: "Observations", candidates: Candidates, q: int, seed: int = 0) -> Choice:
        """Choose ``q`` of the candidates, or all if there are fewer; a pure function of the arguments.

        Args:
            model: independent outcomes, fitted to ``seen``.
            candidates: at least one.
            q: at least 1.
            seed: of every draw.
        """


class UCB(Component):
    """Upper confidence bounds, each of the batch with its own exploration weight.

    The weights are drawn log-uniformly, so that a batch holds sure gains and long shots. After each choice the others'
    uncertainty is what it would be had that one been observed, which keeps a batch diverse.

    Attributes:
        weights: least and largest number of standard deviations that are added to the mean.
    """

    kind: Literal["ucb"] = "ucb"
    weights: tuple[float, float] = EXPLORATION

    @model_validator(mode="after")
    def _drawable(self) -> "UCB":
        if not 0 < self.weights[0] <= self.weights[1]:
            raise ValueError("weights need 0 < least ≤ largest")
        return self

    def scalarize(self, seen: "Observations", rng: np.random.Generator) -> "Scalarization":
        """An upper confidence bound with random weights."""
        from molvae.bo.scalarization import draw_scalarization

        return draw_scalarization(seen, self.weights, rng)

    def __call__(self, model: "Model", seen: "Observations", candidates: Candidates, q: int, seed: int = 0) -> Choice:
        """Choose ``q`` of the candidates, or all if there are fewer; a pure function of the arguments."""
        rng = np.random.default_rng(seed)
        drawn = [self.scalarize(seen, rng) for _ in range(min(q, len(candidates.X)))]
        rows = _shortlist(candidates, drawn, q)
        posterior = _posterior(model, candidates, rows)
        chosen: list[int] = []
        values = []
        for scalarization in drawn:
            scores = scalarization(posterior.mean, posterior.sd)
            scores[chosen] = -np.inf
            chosen.append(int(scores.argmax()))
            values.append(float(scores[chosen[-1]]))
            posterior = posterior.conditioned(chosen[-1])
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
    """

    kind: Literal["logei"] = "logei"
    samples: int = Field(default=64, ge=1)

    def scalarize(self, seen: "Observations", rng: np.random.Generator) -> "Scalarization":
        """An upper confidence bound with random weights, as of `UCB`."""
        from molvae.bo.scalarization import draw_scalarization

        return draw_scalarization(seen, EXPLORATION, rng)

    def __call__(self, model: "Model", seen: "Observations", candidates: Candidates, q: int, seed: int = 0) -> Choice:
        """As `UCB`; each value is of the batch up to and with that candidate."""
        import torch
        from botorch.optim import optimize_acqf_discrete
        from linear_operator.utils.warnings import NumericalWarning

        from molvae.bo.discrete_posterior import DiscretePosterior
        from molvae.bo.torch_state import seeded

        rng = np.random.default_rng(seed)
        q = min(q, len(candidates.X))
        rows = _shortlist(candidates, [self.scalarize(seen, rng) for _ in range(max(q, 10))], q)
        several = len(seen.improved) > 1 and len(seen.feasible_Y) > 0
        front = seen.feasible_front if several else seen.X[:0]
        factor = torch.cat([candidates.sd_factor[rows], torch.ones(len(front), dtype=candidates.sd_factor.dtype)])
        posterior = DiscretePosterior.of(model, torch.cat([candidates.X[rows], front])).scaled(factor)
        with seeded(seed), torch.no_grad():  # pruning the baseline draws from the global generator
            # jitter on a nearly singular covariance is routine; the other one concerns torch's own developers
            warnings.filterwarnings("ignore", category=NumericalWarning)
            warnings.filterwarnings("ignore", "Sparse invariant checks", UserWarning)
            function = self._function(posterior, seen, posterior.rows[len(rows) :], seed)
            points, values = optimize_acqf_discrete(function, q, posterior.rows[: len(rows)], max_batch_size=256)
        return Choice(tuple(rows[int(k)] for k in points[:, 0]), tuple(values.reshape(-1).tolist()))

    def _function(
        self, posterior: "DiscretePosterior", seen: "Observations", baseline: "Tensor", seed: int
    ) -> "AcquisitionFunction":
        import torch
        from botorch.acquisition import qLogExpectedImprovement
        from botorch.acquisition.logei import qLogProbabilityOfFeasibility
        from botorch.acquisition.multi_objective.logei import qLogNoisyExpectedHypervolumeImprovement
        from botorch.acquisition.multi_objective.objective import IdentityMCMultiOutputObjective
        from botorch.acquisition.objective import GenericMCObjective
        from botorch.sampling import SobolQMCNormalSampler

        sampler = SobolQMCNormalSampler(torch.Size([self.samples]), seed=seed)
        limits, feasible = _limits(seen), seen.feasible_Y
        if limits and not len(feasible):
            return qLogProbabilityOfFeasibility(posterior, limits, sampler)
        if not len(baseline):
            [k] = seen.improved
            objective = GenericMCObjective(lambda samples, X=None: samples[..., k]) if limits else None
            return qLogExpectedImprovement(posterior, feasible.max(), sampler, objective, constraints=limits or None)
        return qLogNoisyExpectedHypervolumeImprovement(
            posterior,
            seen.reference_point,
            baseline,
            sampler=sampler,
            objective=IdentityMCMultiOutputObjective(seen.improved) if limits else None,
            constraints=limits or None,
            prune_baseline=True,
            cache_root=False,
        )


class Thompson(Component):
    """Thompson sampling: each of the batch is the best of one draw from the joint posterior of all candidates.

    A draw is joint, so that candidates that are alike rise and fall together, and is scored by random weights of the
    objectives like `UCB`. With constraints the best of a draw is the best of those that hold them in that draw, or, if
    there is none, the one that violates them least [Eriksson and Poloczek, "Scalable constrained Bayesian
    optimization", 2021]. The draws are of those with the highest upper confidence bounds.
    """

    kind: Literal["thompson"] = "thompson"

    def scalarize(self, seen: "Observations", rng: np.random.Generator) -> "Scalarization":
        """An upper confidence bound with random weights, as of `UCB`."""
        from molvae.bo.scalarization import draw_scalarization

        return draw_scalarization(seen, EXPLORATION, rng)

    def __call__(self, model: "Model", seen: "Observations", candidates: Candidates, q: int, seed: int = 0) -> Choice:
        """As `UCB`; each value is what the draw had for the one chosen."""
        import torch

        from molvae.bo.observations import spread

        rng = np.random.default_rng(seed)
        drawn = [self.scalarize(seen, rng) for _ in range(min(q, len(candidates.X)))]
        rows = _shortlist(candidates, drawn, q)
        posterior = _posterior(model, candidates, rows)
        columns = list(seen.constraints)
        units = spread(seen.Y)[columns]
        chosen: list[int] = []
        values = []
        for scalarization, sample in zip(drawn, posterior.sample(len(drawn), seed), strict=True):
            scores = scalarization.bound(sample, torch.zeros_like(sample))
            violation = ((-sample[:, columns]).clamp_min(0) / units).sum(-1)
            scores = torch.where(violation > 0, scores.min() - 1 - violation, scores)
            scores[chosen] = -np.inf
            chosen.append(int(scores.argmax()))
            values.append(float(scores[chosen[-1]]))
        return Choice(tuple(rows[k] for k in chosen), tuple(values))


ACQUISITIONS = Registry("acquisition", Acquisition, (UCB, LogEI, Thompson))


def _shortlist(candidates: Candidates, drawn: "list[Scalarization]", q: int) -> list[int]:
    """Rows of the best by each scalarization, in ascending order, at least ``q``."""
    rows: set[int] = set()
    for scalarization in drawn:
        scores = scalarization(candidates.mean, candidates.sd * candidates.sd_factor[:, None])
        rows.update(scores.argsort(descending=True, stable=True)[: max(q, SCREEN)].tolist())
    return sorted(rows)


def _posterior(model: "Model", candidates: Candidates, rows: list[int]) -> "DiscretePosterior":
    """Of some candidates, with the standard deviations that count."""
    from molvae.bo.discrete_posterior import DiscretePosterior

    return DiscretePosterior.of(model, candidates.X[rows]).scaled(candidates.sd_factor[rows])


def _limits(seen: "Observations") -> list[Callable[["Tensor"], "Tensor"]]:
    """The constraints as BoTorch has them: functions of draws, in the spread of what was seen, that hold below 0."""
    from molvae.bo.observations import spread

    def limit(k: int, unit: "Tensor") -> Callable[["Tensor"], "Tensor"]:
        return lambda draws: -draws[..., k] / unit

    units = spread(seen.Y)
    return [limit(k, units[k]) for k in seen.constraints]
