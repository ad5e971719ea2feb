"""How good a campaign is so far, and whether it is over: pure functions of its state and recipe."""

import numpy as np
import numpy.typing as npt

from molvae.bo.pareto import best_first, hypervolume, reference_below
from molvae.campaign.recipe import Bayes, CampaignRecipe
from molvae.campaign.record.state import Failed, Record, State
from molvae.errors import CampaignError

Matrix = npt.NDArray[np.float64]


def utilities(state: State, recipe: CampaignRecipe) -> Matrix:
    """Utilities of the observed molecules, (n, objectives) float64, in the order of ``state.observed``."""
    if not state.observed:
        return np.zeros((0, len(recipe.objectives)))
    return np.stack([o.utility(column) for o, column in zip(recipe.objectives, state.values.T, strict=True)], axis=1)


def violations(state: State, recipe: CampaignRecipe) -> Matrix:
    """How much the observed molecules break the constraints, (n,): 0 for feasible ones.

    The sum over the constraints of what is missing to the bound, in standard deviations of the observed values.
    """
    U = utilities(state, recipe)[:, recipe.constraints]
    return np.asarray((np.maximum(-U, 0.0) / _width(U)).sum(1), dtype=np.float64)


def merits(state: State, recipe: CampaignRecipe) -> Matrix:
    """By what observed molecules are ordered: utilities of the objectives to improve, (n, improved) float64.

    Infeasible molecules have in each column less than any feasible one, and the less the more they violate the
    constraints [Deb, "An efficient constraint handling method for genetic algorithms", 2000]. So whatever orders by
    merits, Pareto fronts and CMA-ES included, respects constraints.
    """
    Y, violation = utilities(state, recipe)[:, recipe.improved], violations(state, recipe)[:, None]
    if not violation.any():
        return Y
    feasible = Y[violation[:, 0] == 0]
    least = feasible.min(0) if len(feasible) else 0.0
    return np.where(violation == 0, Y, least - _width(Y) * (1 + violation))


def given_reference(recipe: CampaignRecipe) -> Matrix | None:
    """The recipe's reference point as utilities, (improved,); None where it is to be inferred."""
    point = recipe.reference_point
    if point == "inferred":
        return None
    improved = [recipe.objectives[k] for k in recipe.improved]
    return np.array([o.utility(value) for o, value in zip(improved, point, strict=True)])


def history(state: State, recipe: CampaignRecipe) -> list[float]:
    """After the start set and after each round: the best utility, or the dominated hypervolume if several.

    Of feasible molecules; −∞ or 0 before the first. Hypervolumes of a campaign share one reference point: the
    recipe's, or one below all of the start set.
    """
    rounds = np.array([record.proposal.round for record in state.observed], dtype=np.int64)
    if not (rounds == 0).any():
        return []
    feasible = violations(state, recipe) == 0
    Y, rounds = utilities(state, recipe)[feasible][:, recipe.improved], rounds[feasible]
    if Y.shape[1] == 1:
        highest = np.full(state.round + 1, -np.inf)
        np.maximum.at(highest, rounds, Y[:, 0])
        return list(map(float, np.maximum.accumulate(highest)))
    reference = _reference(state, recipe)
    return [hypervolume(Y[rounds <= r], reference) for r in range(state.round + 1)]


def best(state: State, recipe: CampaignRecipe) -> tuple[str, float] | None:
    """Name and raw value of the best so far, or "hypervolume" and its size; None before the first feasible one."""
    feasible = violations(state, recipe) == 0
    if not feasible.any():
        return None
    if len(recipe.improved) == 1:
        [column], row = recipe.improved, int(merits(state, recipe)[:, 0].argmax())
        return recipe.objectives[column].label, float(state.values[row, column])
    return "hypervolume", hypervolume(utilities(state, recipe)[feasible][:, recipe.improved], _reference(state, recipe))


def ranked(state: State, recipe: CampaignRecipe, rng: np.random.Generator | None = None) -> list[Record]:
    """Observed records, best first, as tables rank them; with ``rng``, in chance order within a Pareto front."""
    return [state.observed[k] for k in best_first(merits(state, recipe), rng)]


def reason_to_stop(state: State, recipe: CampaignRecipe) -> str | None:
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
    budget, scores = recipe.budget, history(state, recipe)
    one = recipe.objectives[recipe.improved[0]]
    if budget.target is not None and scores and scores[-1] >= one.utility(budget.target):
        return f"target {budget.target:g} reached"
    if budget.plateau is not None and _rounds_without_gain(scores, _closest(state, recipe)) >= budget.plateau:
        return f"plateau: nothing better in {budget.plateau} {'round' if budget.plateau == 1 else 'rounds'}"
    if len(state.records) >= budget.evaluations:
        return f"budget of {budget.evaluations} evaluations used"
    return None


def stale(state: State, recipe: CampaignRecipe) -> bool:
    """Whether the next round is one that begins again; looked at only between rounds, too."""
    left = recipe.budget.evaluations - len(state.records)
    return isinstance(recipe.method, Bayes) and recipe.restarts.due(state.life, merits(state.life, recipe), left)


def _reference(state: State, recipe: CampaignRecipe) -> Matrix:
    given = given_reference(recipe)
    if given is not None:
        return given
    rounds = np.array([record.proposal.round for record in state.observed])
    return reference_below(utilities(state, recipe)[rounds == rounds.min()][:, recipe.improved])


def _width(Y: Matrix) -> Matrix:
    """Standard deviation of each column, 1 where all values are equal or there are none."""
    found = Y.std(0) if len(Y) else np.zeros(Y.shape[1])
    return np.where(found > 0, found, 1.0)


def _closest(state: State, recipe: CampaignRecipe) -> list[float]:
    """After the start set and after each round: minus the least violation so far."""
    closest = np.full(state.round + 1, -np.inf)
    np.maximum.at(closest, [record.proposal.round for record in state.observed], -violations(state, recipe))
    return list(map(float, np.maximum.accumulate(closest)))


def _rounds_without_gain(scores: list[float], closest: list[float]) -> int:
    gains = list(zip(closest, scores, strict=True)) if scores else []
    return len(gains) - 1 - gains.index(max(gains)) if gains else 0
