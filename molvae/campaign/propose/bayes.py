"""Which molecules next: a pure function of records, recipe and model; chance comes from seed and round."""

import time
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import torch
from torch import Tensor

from molvae.bo.acquisitions import Candidates
from molvae.bo.discrete_posterior import moments
from molvae.bo.layout import FeatureLayout
from molvae.bo.observations import Observations
from molvae.bo.pareto import best_first
from molvae.bo.surrogates import fit_subset
from molvae.campaign.propose.initial import drawn
from molvae.campaign.propose.inner_loop import Candidate, Found, Score, Vector
from molvae.campaign.recipe import Bayes, CampaignRecipe
from molvae.campaign.record.merit import Matrix, given_reference, merits, utilities
from molvae.campaign.record.state import RESTART, Proposal, State
from molvae.campaign.record.store import Round
from molvae.campaign.space import Remembering, Space
from molvae.chem.features import Featurizer
from molvae.chem.molecule import Molecule, parse_or_none

Asked = tuple[tuple[Proposal, ...], Round]


def start_set(recipe: CampaignRecipe, space: Space) -> Asked:
    """Round 0: the recipe's start molecules, not more than the budget."""
    began = time.monotonic()
    limit = recipe.budget.evaluations
    smiles = recipe.start(space, limit, _start_seed(recipe, 0))[:limit]
    return _begin(State(), space, smiles, recipe.start.kind, began)


def restart(recipe: CampaignRecipe, space: Space, state: State) -> Asked:
    """A round to begin again with: new molecules of the recipe's start, then of the model's prior, perhaps none.

    They are as many as the start set, at most what is left of the budget.

    Args:
        state: as for `next_round`.
    """
    began = time.monotonic()
    seed = _start_seed(recipe, state.round + 1)
    started = sum(record.proposal.round == 0 for record in state.records)
    n = min(started, recipe.budget.evaluations - len(state.records))
    smiles = recipe.start(space, n, seed, state.known)[:n]
    if len(smiles) < n:
        smiles += drawn(space, n - len(smiles), seed, state.known.union(smiles))
    return _begin(state, space, smiles, RESTART, began)


def next_round(recipe: CampaignRecipe, space: Space, state: State, featurizer: Featurizer | None = None) -> Asked:
    """The next round's proposals: at most ``q``, at most what is left of the budget, none if none are found.

    Args:
        state: with no pending proposals and at least one observation.
        featurizer: one that may have made features in earlier rounds, which saves time.
    """
    began = time.monotonic()
    q = min(recipe.q, recipe.budget.evaluations - len(state.records))
    rng = _draws(recipe, state.round + 1)
    if isinstance(recipe.method, Bayes):
        found, chosen = _optimised(recipe, space, state, q, rng, featurizer or Featurizer())
    else:
        found = recipe.method(space, state, merits(state, recipe), q, int(rng.integers(2**31)))
        chosen = _proposals(space, state, found.candidates)
    numbers = found.decoded, found.valid, len(found.candidates)
    return chosen, Round(state.round + 1, *numbers, time.monotonic() - began, space.fingerprint)


def _begin(state: State, space: Space, smiles: Sequence[str], move: str, began: float) -> Asked:
    number, before = state.round + 1 if state.records else 0, len(state.records)
    z = space.encode(smiles) if smiles else ()
    proposals = tuple(
        Proposal(call, number, text, row, move=move)
        for call, (text, row) in enumerate(zip(smiles, z, strict=True), start=before + 1)
    )
    n = len(proposals)
    return proposals, Round(number, n, n, n, time.monotonic() - began, space.fingerprint)


def _optimised(
    recipe: CampaignRecipe, space: Space, state: State, q: int, rng: np.random.Generator, featurizer: Featurizer
) -> tuple[Found, tuple[Proposal, ...]]:
    """All that a search found by the surrogate's judgement, and what the acquisition chooses of it."""
    life = state.life
    fit_seed, search_seed, choice_seed = rng.integers(2**31, size=3).tolist()
    order = best_first(merits(life, recipe), rng)
    # with lessons, the points in the records may be of other weights
    points = {} if recipe.learning.every else {one.proposal.smiles: one.proposal.z for one in life.observed}
    space = Remembering(space, points)
    best = [life.observed[k].proposal.smiles for k in order]
    belief = _Belief(recipe, space, best, utilities(life, recipe)[order], fit_seed, featurizer)

    def judge(generation: int) -> Score:
        scalarization = recipe.acquisition.scalarize(belief.seen, np.random.default_rng([search_seed, generation]))

        def score(molecules: Sequence[Molecule]) -> Vector:
            mean, sd, shares = belief(molecules)
            return scalarization(mean, sd * shares[:, None]).numpy()

        return score

    found = recipe.search(space, best, state.known, judge, search_seed)
    if not found.candidates:
        return found, ()
    molecules = [candidate.molecule for candidate in found.candidates]
    mean, sd, shares = belief(molecules)
    candidates = Candidates(belief.features(molecules), mean, sd, shares)
    choice = recipe.acquisition(belief.model, belief.seen, candidates, q, choice_seed)
    rows = list(choice.rows)
    predictions = zip(mean[rows].tolist(), sd[rows].tolist(), choice.values, strict=True)
    return found, _proposals(space, state, [found.candidates[row] for row in rows], list(predictions))


def _proposals(
    space: Space,
    state: State,
    candidates: Sequence[Candidate],
    predictions: Sequence[tuple[list[float], list[float], float]] = (),
) -> tuple[Proposal, ...]:
    """The next calls; ``predictions`` are mean and sd of each utility, and the acquisition value."""
    z = space.encode([candidate.molecule.smiles for candidate in candidates]) if candidates else ()
    plain = tuple(
        Proposal(len(state.records) + 1 + k, state.round + 1, one.molecule.smiles, row, one.parent, one.move)
        for k, (one, row) in enumerate(zip(candidates, z, strict=True))
    )
    if not predictions:
        return plain
    return tuple(
        replace(proposal, mean=tuple(mean), sd=tuple(sd), acquisition=value)
        for proposal, (mean, sd, value) in zip(plain, predictions, strict=True)
    )


class _Belief:
    """What the surrogate believes of molecules, each asked once."""

    def __init__(
        self,
        recipe: CampaignRecipe,
        space: Space,
        observed: Sequence[str],
        Y: Matrix,
        seed: int,
        featurizer: Featurizer,
    ) -> None:
        self._space, self._featurizer = space, featurizer
        self.layout = FeatureLayout((*featurizer.blocks, ("latent", space.latent)))
        kept = fit_subset(len(observed), recipe.surrogate.most, seed)
        X = self.features([Molecule.known(observed[k]) for k in kept.tolist()])
        given = given_reference(recipe)
        reference = None if given is None else torch.from_numpy(given)
        self.seen = Observations(X, torch.from_numpy(Y)[kept], reference, tuple(recipe.constraints))
        self.model = recipe.surrogate(X, self.seen.Y, self.layout, seed)
        self._strangers = recipe.method.strangers if isinstance(recipe.method, Bayes) else 1.0
        self._known: dict[str, tuple[Tensor, Tensor, Tensor]] = {}

    def features(self, molecules: Sequence[Molecule]) -> Tensor:
        """Rows of the layout, (n, width) float64."""
        points = self._space.encode([molecule.smiles for molecule in molecules])
        return torch.cat([*map(torch.from_numpy, (*self._featurizer(molecules), points))], 1)

    def __call__(self, molecules: Sequence[Molecule]) -> tuple[Tensor, Tensor, Tensor]:
        """Mean and sd of each utility, (n, objectives) each, and the share of each sd that counts, (n,)."""
        fresh = list({one.smiles: one for one in molecules if one.smiles not in self._known}.values())
        if fresh:
            found = *moments(self.model, self.features(fresh)), self._shares(fresh)
            self._known.update(zip((one.smiles for one in fresh), zip(*found, strict=True), strict=True))
        mean, sd, shares = (
            torch.stack(part) for part in zip(*(self._known[one.smiles] for one in molecules), strict=True)
        )
        return mean, sd, shares

    def _shares(self, molecules: Sequence[Molecule]) -> Tensor:
        """1 for molecules that the model writes back from their latent points, less for strangers, (n,)."""
        shares = torch.ones(len(molecules), dtype=torch.float64)
        if self._strangers < 1:
            texts = self._space.decode(self._space.encode([one.smiles for one in molecules]))
            for k, (one, text) in enumerate(zip(molecules, texts, strict=True)):
                if text != one.smiles and parse_or_none(text) != one:
                    shares[k] = self._strangers
        return shares


def _start_seed(recipe: CampaignRecipe, number: int) -> int:
    return int(_draws(recipe, number).integers(2**31))


def _draws(recipe: CampaignRecipe, number: int) -> np.random.Generator:
    return np.random.default_rng([recipe.seed, number])
