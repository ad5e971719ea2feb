"""When a campaign is over."""

import numpy as np
from pydantic import Field

from molvae.campaign.record.merit import Problem, history, violations
from molvae.campaign.record.state import Failed, State
from molvae.config import Component
from molvae.errors import CampaignError


class Budget(Component):
    """When to stop.

    Attributes:
        evaluations: different molecules that may be evaluated, start set and failures included.
        target: stop after the round in which the one objective's raw value is at least as good as this.
        plateau: stop after this many rounds in a row without a better molecule (or a larger hypervolume, or, as long
            as none is feasible, one that violates the constraints less).
    """

    evaluations: int = Field(default=300, ge=1)
    target: float | None = None
    plateau: int | None = Field(default=None, ge=1)

    def __call__(self, state: State, problem: Problem) -> str | None:
        """Why the campaign is over, or None; looked at only between rounds, so that it cannot depend on timing.

        Raises:
            CampaignError: all start molecules failed.
        """
        if not state.records:
            return None
        if not state.observed:
            first = state.failed[0]
            reason = first.outcome.reason if isinstance(first.outcome, Failed) else ""
            raise CampaignError(
                f"none of the {len(state.records)} start molecules could be evaluated; "
                f"the first, {first.proposal.smiles}: {reason}"
            )
        scores = history(state, problem)
        one = problem.objectives[problem.improved[0]]
        if self.target is not None and scores and scores[-1] >= one.utility(self.target):
            return f"target {self.target:g} reached"
        if self.plateau is not None and _rounds_without_gain(scores, _closest(state, problem)) >= self.plateau:
            return f"plateau: nothing better in {self.plateau} {'round' if self.plateau == 1 else 'rounds'}"
        if len(state.records) >= self.evaluations:
            return f"budget of {self.evaluations} evaluations used"
        return None


def _closest(state: State, problem: Problem) -> list[float]:
    """After the start set and after each round: minus the least violation so far."""
    closest = np.full(state.round + 1, -np.inf)
    np.maximum.at(closest, [record.proposal.round for record in state.observed], -violations(state, problem))
    return list(map(float, np.maximum.accumulate(closest)))


def _rounds_without_gain(scores: list[float], closest: list[float]) -> int:
    gains = list(zip(closest, scores, strict=True)) if scores else []
    return len(gains) - 1 - gains.index(max(gains)) if gains else 0
