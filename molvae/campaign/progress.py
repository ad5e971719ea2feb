"""How good a campaign is so far, and whether it is over: pure functions of its state and recipe."""

import numpy as np
import numpy.typing as npt

from molvae.bo.pareto import best_first, hypervolume, reference_below
from molvae.campaign.recipe import CampaignRecipe
from molvae.campaign.state import Failed, Record, State
from molvae.errors import CampaignError

Matrix = npt.NDArray[np.float64]


def utilities(state: State, recipe: CampaignRecipe) -> Matrix:
    """Utilities of the observed molecules, (n, objectives) float64, in the order of ``state.observed``."""
    if not state.observed:
        return np.zeros((0, len(recipe.objectives)))
    return np.stack([o.utility(column) for o, column in zip(recipe.objectives, state.values.T, strict=True)], axis=1)


def given_reference(recipe: CampaignRecipe) -> Matrix | None:
    """The recipe's reference point as utilities, (objectives,); None where it is to be inferred."""
    reference = recipe.acquisition.reference
    if reference == "inferred":
        return None
    return np.array([o.utility(value) for o, value in zip(recipe.objectives, reference, strict=True)])


def history(state: State, recipe: CampaignRecipe) -> list[float]:
    """After the start set and after each round: the best utility, or the dominated hypervolume if several.

    Hypervolumes of a campaign share one reference point: the recipe's, or one below all of the start set.
    """
    rounds = np.array([record.proposal.round for record in state.observed], dtype=np.int64)
    if not (rounds == 0).any():
        return []
    Y, reference = utilities(state, recipe), _reference(state, recipe)
    if Y.shape[1] == 1:
        highest = np.full(state.round + 1, -np.inf)
        np.maximum.at(highest, rounds, Y[:, 0])
        return list(map(float, np.maximum.accumulate(highest)))
    return [hypervolume(Y[rounds <= r], reference) for r in range(state.round + 1)]


def best(state: State, recipe: CampaignRecipe) -> tuple[str, float] | None:
    """Name and raw value of the best so far, or "hypervolume" and its size; None before the first observation."""
    if not state.observed:
        return None
    if len(recipe.objectives) == 1:
        k = int(utilities(state, recipe)[:, 0].argmax())
        return recipe.objectives[0].label, float(state.values[k, 0])
    return "hypervolume", hypervolume(utilities(state, recipe), _reference(state, recipe))


def ranked(state: State, recipe: CampaignRecipe, rng: np.random.Generator | None = None) -> list[Record]:
    """Observed records, best first, as tables rank them; with ``rng``, in chance order within a Pareto front."""
    return [state.observed[k] for k in best_first(utilities(state, recipe), rng)]


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
    if budget.target is not None and scores and scores[-1] >= recipe.objectives[0].utility(budget.target):
        return f"target {budget.target:g} reached"
    if budget.plateau is not None and _rounds_without_gain(scores) >= budget.plateau:
        return f"plateau: nothing better in {budget.plateau} {'round' if budget.plateau == 1 else 'rounds'}"
    if len(state.records) >= budget.evaluations:
        return f"budget of {budget.evaluations} evaluations used"
    return None


def _reference(state: State, recipe: CampaignRecipe) -> Matrix:
    given = given_reference(recipe)
    if given is not None:
        return given
    rounds = np.array([record.proposal.round for record in state.observed])
    return reference_below(utilities(state, recipe)[rounds == rounds.min()])


def _rounds_without_gain(scores: list[float]) -> int:
    return len(scores) - 1 - scores.index(max(scores)) if scores else 0
