"""(model, candidates, q) → which candidates to evaluate next."""

import warnings
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from pydantic import Field

from molvae.config import Component

if TYPE_CHECKING:  # a recipe holds these settings, and reading a recipe should not load torch
    from botorch.acquisition import AcquisitionFunction
    from botorch.models import SingleTaskGP
    from torch import Tensor


@dataclass(frozen=True)
class Choice:
    """Which candidates were chosen, in order, and what the model said of them.

    Attributes:
        indices: rows of the candidate matrix, each once.
        mean, sd: (q, m) prediction of each objective's utility, noise not included.
        acquisition: for each, the value of the batch up to and with it.
    """

    indices: tuple[int, ...]
    mean: tuple[tuple[float, ...], ...]
    sd: tuple[tuple[float, ...], ...]
    acquisition: tuple[float, ...]


class Acquisition(Component):
    """Expected improvement, in logarithms so that it never flattens to zero (Ament et al., 2023).

    One objective: qLogExpectedImprovement over the best observed value, chosen one after another from the
    ``screen`` candidates with the highest analytic LogEI. Several: qLogNoisyExpectedHypervolumeImprovement,
    from the ``screen`` candidates with the highest qLogExpectedHypervolumeImprovement on their own.

    Attributes:
        samples: quasi-random (Sobol) draws from the posterior; several objectives cost a partition of the
            objective space for each.
        screen: candidates that the joint choice looks at.
        reference: the point that hypervolumes are measured from, one raw value for each objective, in the
            recipe's order; by default inferred from the Pareto front.
    """

    samples: int = Field(default=64, ge=1)
    screen: int = Field(default=100, ge=1)
    reference: tuple[float, ...] | Literal["inferred"] = "inferred"

    def __call__(
        self,
        model: "SingleTaskGP",
        Y: "Tensor",
        candidates: "Tensor",
        q: int,
        reference: "Tensor | None" = None,
        seed: int = 0,
    ) -> Choice:
        """Choose ``q`` of the candidates, or all if there are fewer.

        Args:
            model: fitted to (X, Y).
            Y: (n, m) float64 observed utilities.
            candidates: (c, d) float64.
            reference: (m,) utilities, used for m > 1; inferred from Y if None.
            seed: of everything drawn; the result is a pure function of the arguments.
        """
        import torch
        from botorch.optim import optimize_acqf_discrete
        from linear_operator.utils.warnings import NumericalWarning

        q = min(q, len(candidates))
        with torch.random.fork_rng(devices=[]), torch.no_grad(), warnings.catch_warnings():
            torch.manual_seed(seed)  # pruning the baseline draws from the global generator
            # jitter on a nearly singular covariance is routine; the other one concerns torch's own developers
            warnings.filterwarnings("ignore", category=NumericalWarning)
            warnings.filterwarnings("ignore", "Sparse invariant checks", UserWarning)
            if Y.shape[1] == 1:
                shortlist, function = self._single(model, Y, candidates, q, seed)
            else:
                shortlist, function = self._several(model, Y, candidates, q, reference, seed)
            points, values = optimize_acqf_discrete(function, q, candidates[shortlist], max_batch_size=256)
            rows = _rows_of(points, candidates, shortlist)
            posterior = model.posterior(candidates[rows])
        mean, sd = (tuple(map(tuple, t.tolist())) for t in (posterior.mean, posterior.variance.sqrt()))
        return Choice(tuple(rows), mean, sd, tuple(values.reshape(-1).tolist()))

    def _single(
        self, model: "SingleTaskGP", Y: "Tensor", candidates: "Tensor", q: int, seed: int
    ) -> "tuple[list[int], AcquisitionFunction]":
        import torch
        from botorch.acquisition import LogExpectedImprovement, qLogExpectedImprovement
        from botorch.sampling import SobolQMCNormalSampler

        scores = LogExpectedImprovement(model, best_f=Y.max())(candidates.unsqueeze(1))
        sampler = SobolQMCNormalSampler(torch.Size([self.samples]), seed=seed)
        return _highest(scores, max(q, self.screen)), qLogExpectedImprovement(model, Y.max(), sampler)

    def _several(
        self,
        model: "SingleTaskGP",
        Y: "Tensor",
        candidates: "Tensor",
        q: int,
        reference: "Tensor | None",
        seed: int,
    ) -> "tuple[list[int], AcquisitionFunction]":
        import torch
        from botorch.acquisition.multi_objective.logei import (
            qLogExpectedHypervolumeImprovement,
            qLogNoisyExpectedHypervolumeImprovement,
        )
        from botorch.sampling import SobolQMCNormalSampler
        from botorch.utils.multi_objective.box_decompositions import FastNondominatedPartitioning
        from botorch.utils.multi_objective.hypervolume import infer_reference_point
        from botorch.utils.multi_objective.pareto import is_non_dominated

        if reference is None:
            reference = infer_reference_point(Y[is_non_dominated(Y)])
        draws = torch.Size([self.samples])
        quick = qLogExpectedHypervolumeImprovement(
            model,
            reference,
            FastNondominatedPartitioning(reference, Y),
            sampler=SobolQMCNormalSampler(draws, seed=seed),
        )
        function = qLogNoisyExpectedHypervolumeImprovement(
            model,
            reference,
            model.input_transform.untransform(model.train_inputs[0][0]),
            sampler=SobolQMCNormalSampler(draws, seed=seed),
            prune_baseline=True,
        )
        return _highest(quick(candidates.unsqueeze(1)), max(q, self.screen)), function


def _highest(scores: "Tensor", count: int) -> list[int]:
    rows: list[int] = scores.argsort(descending=True, stable=True)[:count].tolist()
    return rows


def _rows_of(chosen: "Tensor", candidates: "Tensor", shortlist: list[int]) -> list[int]:
    """Candidate rows of the chosen points, each once, although two molecules may share a latent point."""
    rows: list[int] = []
    for point in chosen:
        rows.append(next(k for k in shortlist if k not in rows and bool((candidates[k] == point).all())))
    return rows
