"""Bayesian optimisation, one callable beside the baselines: a surrogate's belief, searched and chosen from."""

from collections.abc import Sequence
from typing import Annotated, Literal

import numpy as np
from pydantic import Field

from molvae.bo.acquisitions import ACQUISITIONS, UCB, Acquisition, Candidates
from molvae.bo.pareto import best_first
from molvae.bo.surrogates import SURROGATES, AdditiveGP, Surrogate
from molvae.campaign.propose.initial import sampled
from molvae.campaign.propose.inner_loop import Score, Search, Vector
from molvae.campaign.propose.method import Candidate, Context, Prediction, Suggestion
from molvae.campaign.propose.restarts import Restarts
from molvae.campaign.propose.retrain import Retraining
from molvae.campaign.record.merit import merits, utilities
from molvae.campaign.record.state import RESTART
from molvae.campaign.space import CachedSpace
from molvae.chem.molecule import Molecule
from molvae.config import Component


class Bayes(Component):
    """Bayesian optimisation.

    A round begins with the records since the last restart. The surrogate is fitted to them, the search breeds
    candidates towards high values of acquisition functions, and the acquisition chooses the batch among them.

    What the surrogate is unsure of counts for little where a molecule is out of the model's distribution: where the
    model does not write it back from its own latent point. Such a molecule is proposed for what is expected of it,
    hardly for what it might turn out to be.

    Attributes:
        ood_sd_factor: share of the predicted standard deviation that counts for such a molecule; 1 makes no
            difference, which saves time.
        search: how candidates are made.
        surrogate: what is believed of a molecule.
        acquisition: which candidates are worth an evaluation.
        restarts: when a search that has gone stale begins again.
        retrain: whether the model is fine-tuned on what was found.
    """

    kind: Literal["bayes"] = "bayes"
    ood_sd_factor: float = Field(default=0.1, ge=0, le=1)
    search: Search = Search()
    surrogate: Annotated[Surrogate, SURROGATES] = AdditiveGP()
    acquisition: Annotated[Acquisition, ACQUISITIONS] = UCB()
    restarts: Restarts = Restarts()
    retrain: Retraining = Retraining()

    def __call__(self, context: Context) -> Suggestion:
        """The next candidates: of a search that begins again where the present one is stale, else of this one."""
        episode = context.state.episode
        if self.restarts.due(episode, merits(episode, context.problem), context.left):
            again = self.begun_again(context)
            if again.candidates:
                return again
        return self.next(context)

    def begun_again(self, context: Context) -> Suggestion:
        """New molecules of the initial design, then of the model's prior, as many as the start set; perhaps none."""
        state, space, seed = context.state, context.space, int(context.rng().integers(2**31))
        started = sum(record.proposal.round == 0 for record in state.records)
        n = min(started, context.left)
        smiles = context.start(space, n, seed, state.proposed)[:n]
        if len(smiles) < n:
            smiles += sampled(space, n - len(smiles), seed, state.proposed.union(smiles))
        candidates = tuple(Candidate(Molecule.trusted(text), None, RESTART) for text in smiles)
        return Suggestion(candidates, len(smiles), len(smiles), len(smiles))

    def next(self, context: Context) -> Suggestion:
        """The candidates that the acquisition chooses of all that a search finds."""
        from molvae.campaign.propose.belief import CachedPosterior  # it loads torch, which reading a recipe should not

        space, pins = self.retrain(context)
        rng = context.rng()
        fit_seed, search_seed, choice_seed = rng.integers(2**31, size=3).tolist()
        episode = context.state.episode
        order = best_first(merits(episode, context.problem), rng)
        # once the model was retrained, the points in the records may be of other weights
        points = {} if self.retrain.every else {one.proposal.smiles: one.proposal.z for one in episode.observed}
        space = CachedSpace(space, points)
        best = [episode.observed[k].proposal.smiles for k in order]
        Y = utilities(episode, context.problem)[order]
        belief = CachedPosterior(self.surrogate, context, space, best, Y, fit_seed, self.ood_sd_factor)

        def acquire(generation: int) -> Score:
            scalarization = self.acquisition.scalarize(belief.seen, np.random.default_rng([search_seed, generation]))

            def score(molecules: Sequence[Molecule]) -> Vector:
                mean, sd, factor = belief(molecules)
                return np.asarray(scalarization(mean, sd * factor[:, None]).numpy(), dtype=np.float64)

            return score

        found = self.search(space, best, context.state.proposed, acquire, search_seed)
        counts = found.decoded, found.valid, len(found.candidates)
        if not found.candidates:
            return Suggestion((), *counts, space=space, pins=pins)
        mean, sd, factor = belief([candidate.molecule for candidate in found.candidates])
        candidates = Candidates(belief.features([one.molecule for one in found.candidates]), mean, sd, factor)
        choice = self.acquisition(belief.model, belief.seen, candidates, context.q, choice_seed)
        chosen = tuple(found.candidates[row] for row in choice.rows)
        moments = zip(mean[[*choice.rows]].tolist(), sd[[*choice.rows]].tolist(), choice.values, strict=True)
        predictions = [Prediction(tuple(m), tuple(s), value) for m, s, value in moments]
        return Suggestion(chosen, *counts, predictions, space, pins)
