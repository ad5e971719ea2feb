"""Restarts: a search that has gone stale begins again from fresh start molecules."""

from typing import Final

import numpy as np
import numpy.typing as npt
from pydantic import Field

from molvae.bo.pareto import hypervolume, reference_below
from molvae.campaign.record.state import State
from molvae.config import Component

TOP: Final = 10
"""Molecules whose mean tells how far a search for one objective has come."""

Matrix = npt.NDArray[np.float64]


class Restarts(Component):
    """When the search begins again.

    A search ends in one basin, and others may be deeper. So where it is stale, a round of start molecules is drawn
    anew, as many as the start set and none that is known, and from there on parents and surrogate come from the records
    since, as in TuRBO [D. Eriksson et al., NeurIPS 2019]. Nothing else is forgotten: tables have everything, and no
    molecule is proposed twice. Start molecules that were given, or a file that is used up, are made up for by draws
    from the model's prior.

    It is stale when its last ``patience`` calls brought at most the share ``gain`` of all that was gained since its
    start molecules, by the mean of its ten best, or with several objectives by the hypervolume above its start
    molecules. There has to be budget for as many calls again as the shortest episode has, which is start molecules and
    ``patience``; so a campaign of less than two of these never begins again. `Budget.plateau` counts its rounds
    through all of this.

    Attributes:
        patience: calls; 0 for no restarts.
        gain: a share, which depends neither on the unit of an objective nor on where its zero is.
    """

    patience: int = Field(default=300, ge=0)
    gain: float = Field(default=0.02, ge=0, lt=1)

    def due(self, episode: State, Y: Matrix, left: int) -> bool:
        """Whether the search should begin again, as far as the present restart episode tells.

        Args:
            episode: see `State.episode`; with no pending proposals and at least one start molecule observed.
            Y: merits of its observed molecules, (n, improved).
            left: calls that the budget has left.
        """
        first = episode.records[0].proposal
        shortest = sum(record.proposal.round == first.round for record in episode.records) + self.patience
        if not self.patience or len(episode.records) < shortest or left < shortest:
            return False
        started = sum(record.proposal.round == first.round for record in episode.observed)
        before = first.call + len(episode.records) - self.patience
        then = sum(record.proposal.call < before for record in episode.observed)
        at_start, earlier, now = (_reached(Y[:n], started) for n in (started, then, len(Y)))
        return now - earlier <= self.gain * (now - at_start)


def _reached(Y: Matrix, started: int) -> float:
    """How far a search has come with these merits, of which the first ``started`` are its start molecules'."""
    if Y.shape[1] == 1:
        return float(np.sort(Y[:, 0])[::-1][: min(TOP, started)].mean())
    return hypervolume(Y, reference_below(Y[:started]))
