"""What a method is: a campaign's records → the candidates of its next round."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import NamedTuple, Protocol

import numpy as np
import numpy.typing as npt

from molvae.campaign.propose.initial import Initial
from molvae.campaign.record.merit import Problem, merits
from molvae.campaign.record.state import State
from molvae.campaign.space import Space
from molvae.chem.features import Featurizer
from molvae.chem.molecule import Molecule

Matrix = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Candidate:
    """A valid molecule that was never proposed, the molecule that it came from, and by which move."""

    molecule: Molecule
    parent: str | None
    move: str


class Prediction(NamedTuple):
    """What was expected of a candidate when it was chosen: mean and sd of each utility, the acquisition value."""

    mean: tuple[float, ...]
    sd: tuple[float, ...]
    acquisition: float


@dataclass(frozen=True)
class Context:
    """What a method may look at. A round is a pure function of it.

    Attributes:
        problem: objectives and the reference point of several.
        space: the recipe's model.
        state: with no pending proposals and at least one observation.
        q: candidates wanted, at most what is left of the budget.
        left: calls that the budget has left.
        seed: of the whole campaign; see `rng`.
        start: the campaign's initial design, for a method that begins again.
        model: name or folder of the recipe's model.
        folder: where models may be kept that a method makes on the way.
        featurizer: makes what surrogates read; one that has made features in earlier rounds saves time.
    """

    problem: Problem
    space: Space
    state: State
    q: int
    left: int
    seed: int
    start: Initial
    model: str
    folder: Path
    featurizer: Featurizer

    @property
    def round(self) -> int:
        """Number of the round that is asked for."""
        return self.state.round + 1

    def rng(self) -> np.random.Generator:
        """A generator at its beginning: its draws depend on the campaign's seed and the round alone."""
        return draws(self.seed, self.round)

    @cached_property
    def merits(self) -> Matrix:
        """Feasibility-ranked objective values of the observed molecules, ``(n, improved)``; bigger is better."""
        return merits(self.state, self.problem)


@dataclass(frozen=True)
class Suggestion:
    """What a method proposes, and how it was found.

    Attributes:
        candidates: at most ``q``, none where nothing new was found.
        decoded, valid, new: texts that were written, how many of them were molecules, and how many of these new.
        predictions: one for each candidate, or none at all.
        space: by whose weights, where these are not those of the context's model.
        pins: names and fingerprints of models that were made on the way: when the run goes on they have to be the same.
    """

    candidates: tuple[Candidate, ...]
    decoded: int
    valid: int
    new: int
    predictions: Sequence[Prediction] = ()
    space: Space | None = None
    pins: tuple[tuple[str, str], ...] = ()


class Method(Protocol):
    """Chooses which molecules are evaluated next. It keeps nothing from round to round."""

    def __call__(self, context: Context) -> Suggestion:
        """The candidates of the next round; a pure function of the context."""


def draws(seed: int, number: int) -> np.random.Generator:
    """A generator for a round, at its beginning."""
    return np.random.default_rng([seed, number])
