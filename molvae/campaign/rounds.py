"""A round as proposals: of the initial design, or of the recipe's method. A pure function of records and recipe."""

import time
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

from molvae.campaign.propose.method import Candidate, Context, Suggestion, draws
from molvae.campaign.recipe import CampaignRecipe
from molvae.campaign.record.state import Proposal, Round, State
from molvae.campaign.space import Space
from molvae.chem.features import Featurizer
from molvae.chem.molecule import Molecule


class Asked(NamedTuple):
    """The proposals of a round, how it was made, and the fingerprints of models that were made on the way."""

    proposals: tuple[Proposal, ...]
    made: Round
    pins: tuple[tuple[str, str], ...] = ()


def start_set(recipe: CampaignRecipe, space: Space) -> Asked:
    """Round 0: the recipe's start molecules, not more than the budget."""
    began, limit = time.monotonic(), recipe.budget.evaluations
    smiles = recipe.start(space, limit, int(draws(recipe.seed, 0).integers(2**31)), frozenset())[:limit]
    move = getattr(recipe.start, "kind", "start")
    candidates = tuple(Candidate(Molecule.trusted(text), None, move) for text in smiles)
    return as_proposals(State(), 0, space, Suggestion(candidates, len(smiles), len(smiles), len(smiles)), began)


def next_round(
    recipe: CampaignRecipe,
    space: Space,
    state: State,
    models: Path = Path("models"),
    featurizer: Featurizer | None = None,
) -> Asked:
    """The next round's proposals: at most ``q``, at most what is left of the budget, none if none are found.

    Args:
        state: with no pending proposals and at least one observation.
        models: the folder for models that the method makes on the way.
        featurizer: one that may have made features in earlier rounds, which saves time.
    """
    began = time.monotonic()
    context = context_of(recipe, space, state, models, featurizer)
    return as_proposals(state, context.round, space, recipe.method(context), began)


def context_of(
    recipe: CampaignRecipe,
    space: Space,
    state: State,
    models: Path = Path("models"),
    featurizer: Featurizer | None = None,
) -> Context:
    """What the recipe's method may look at."""
    left = recipe.budget.evaluations - len(state.records)
    return Context(
        problem=recipe,
        space=space,
        state=state,
        q=min(recipe.q, left),
        left=left,
        seed=recipe.seed,
        start=recipe.start,
        model=recipe.model,
        folder=models,
        featurizer=featurizer or Featurizer(),
    )


def as_proposals(state: State, number: int, space: Space, found: Suggestion, began: float) -> Asked:
    """What a method suggested as proposals, with their latent points, in the space whose weights made them."""
    space = found.space or space
    smiles = [candidate.molecule.smiles for candidate in found.candidates]
    z = space.encode(smiles) if smiles else ()
    before = len(state.records)
    proposals = tuple(
        Proposal(before + k, number, one.molecule.smiles, row, one.parent, one.move)
        for k, (one, row) in enumerate(zip(found.candidates, z, strict=True), start=1)
    )
    if found.predictions:
        proposals = tuple(
            replace(proposal, mean=tuple(one.mean), sd=tuple(one.sd), acquisition=one.acquisition)
            for proposal, one in zip(proposals, found.predictions, strict=True)
        )
    seconds = time.monotonic() - began
    made = Round(number, found.decoded, found.valid, found.new, seconds, space.fingerprint)
    return Asked(proposals, made, found.pins)
