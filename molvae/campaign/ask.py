"""Which molecules next: a pure function of records, recipe and model; chance comes from seed and round."""

import time
from collections.abc import Sequence

import numpy as np
import torch

from molvae.campaign.progress import given_reference, history, ranked, utilities
from molvae.campaign.recipe import CampaignRecipe
from molvae.campaign.search import Candidate, Parent
from molvae.campaign.space import Space
from molvae.campaign.state import Proposal, State
from molvae.campaign.store import Round

Asked = tuple[tuple[Proposal, ...], Round]

ENOUGH = 4
"""The search goes on until there are this many candidates for each molecule that is to be proposed."""


def start_set(recipe: CampaignRecipe, space: Space) -> Asked:
    """Round 0: the recipe's start molecules, not more than the budget."""
    began = time.monotonic()
    seed = int(_draws(recipe, 0).integers(2**31))
    limit = recipe.budget.evaluations
    smiles = recipe.start(space, limit, seed)[:limit]
    z = space.encode(smiles)
    proposals = tuple(
        Proposal(call, 0, text, row, move=recipe.start.kind)
        for call, (text, row) in enumerate(zip(smiles, z, strict=True), start=1)
    )
    n = len(proposals)
    return proposals, Round(0, None, None, n, n, n, time.monotonic() - began)


def next_round(recipe: CampaignRecipe, space: Space, state: State) -> Asked:
    """The next round's proposals: at most ``q``, at most what is left of the budget, none if none are found.

    Args:
        state: with no pending proposals and at least one observation.
    """
    began = time.monotonic()
    number = state.round + 1
    rng = _draws(recipe, number)
    search_seed, fit_seed, sobol_seed = rng.integers(2**31, size=3).tolist()
    region = recipe.region(history(state, recipe))
    parents = [Parent(r.proposal.smiles, r.proposal.z) for r in ranked(state, recipe, rng)]
    q = min(recipe.q, recipe.budget.evaluations - len(state.records))
    found = recipe.search(space, region, parents, state.known, ENOUGH * q, search_seed)
    chosen = _choose(recipe, state, found.candidates, q, (fit_seed, sobol_seed)) if found.candidates else ()
    counts = found.decoded, found.valid, len(found.candidates)
    made = Round(number, region.length, region.restarts, *counts, time.monotonic() - began)
    return chosen, made


def _choose(
    recipe: CampaignRecipe, state: State, candidates: Sequence[Candidate], q: int, seeds: tuple[int, int]
) -> tuple[Proposal, ...]:
    X = torch.tensor(np.stack([record.proposal.z for record in state.observed]), dtype=torch.float64)
    Y = torch.from_numpy(utilities(state, recipe))
    Z = torch.tensor(np.stack([candidate.z for candidate in candidates]), dtype=torch.float64)
    given = given_reference(recipe)
    reference = None if given is None else torch.from_numpy(given)
    model = recipe.surrogate(X, Y, seeds[0])
    choice = recipe.acquisition(model, Y, Z, q, reference, seeds[1])
    first = len(state.records) + 1
    rows = zip(choice.indices, choice.mean, choice.sd, choice.acquisition, strict=True)
    return tuple(
        Proposal(
            call=first + k,
            round=state.round + 1,
            smiles=candidates[index].smiles,
            z=candidates[index].z,
            parent=candidates[index].parent,
            move=candidates[index].move,
            mean=mean,
            sd=sd,
            acquisition=value,
        )
        for k, (index, mean, sd, value) in enumerate(rows)
    )


def _draws(recipe: CampaignRecipe, number: int) -> np.random.Generator:
    return np.random.default_rng([recipe.seed, number])
