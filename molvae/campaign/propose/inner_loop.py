"""Inner optimisation of the acquisition: offspring of good molecules, by latent moves and graph operators."""

from collections.abc import Callable, Iterable, Sequence, Set
from dataclasses import dataclass
from typing import Final, NamedTuple, Protocol

import numpy as np
import numpy.typing as npt
from pydantic import Field, model_validator

from molvae.campaign.propose.method import Candidate
from molvae.campaign.space import Space
from molvae.chem.graph_moves import cross, mutate
from molvae.chem.molecule import Molecule, parse_or_none
from molvae.config import Component

MOVES: Final = ("noise", "interpolation", "crossing", "mutation")
LATENT: Final = MOVES[:2]
"""Those that decode a point."""
MIN_NOISE_SHARE: Final = 0.2
"""The noise of a child has between this share of ``length`` and the whole as its standard deviation, log-uniformly."""


@dataclass(frozen=True)
class Found:
    """What a search gave, and how many texts it wrote, of which how many were valid."""

    candidates: tuple[Candidate, ...]
    decoded: int
    valid: int


class Offspring(NamedTuple):
    """A text that may be a molecule, the molecule that it came from, and by which move."""

    text: str
    parent: str | None
    move: str


def keep_new(
    offspring: Iterable[Offspring], space: Space, proposed: Set[str], found: dict[str, Candidate]
) -> tuple[int, int]:
    """Add those that are valid, were never proposed, and that the model can encode to ``found``, by SMILES.

    Returns:
        How many texts there were, and how many of them were valid.
    """
    written = valid = 0
    for text, parent, move in offspring:
        molecule = parse_or_none(text)
        written, valid = written + 1, valid + (molecule is not None)
        if molecule is None or molecule.smiles in proposed or molecule.smiles in found:
            continue
        if space.can_encode(molecule.smiles):
            found[molecule.smiles] = Candidate(molecule, parent, move)
    return written, valid


Vector = npt.NDArray[np.float64]
Score = Callable[[Sequence[Molecule]], Vector]


class Acquire(Protocol):
    """Draws an acquisition function for each generation."""

    def __call__(self, generation: int) -> Score:
        """The acquisition function of this generation: values of molecules, the more the better."""


class Search(Component):
    """An evolutionary search for molecules with high values of the acquisition function.

    A child is a parent's latent point with noise, a point between two parents, a crossing of two molecular graphs, or
    a mutation of one. Parents are sampled with weight 1 / rank. Texts that are invalid are dropped, never relabelled;
    so are molecules that were proposed before, and those whose canonical SMILES the model cannot encode.

    Attributes:
        generations: how often children become parents.
        children: offspring in each generation.
        parents: molecules that children may come from: the best observed to begin with.
        length: largest standard deviation of latent noise, in those of the prior.
        noise, interpolation, crossing, mutation: how often each move is made, as parts of their sum.
    """

    generations: int = Field(default=4, ge=1)
    children: int = Field(default=300, ge=1)
    parents: int = Field(default=100, ge=1)
    length: float = Field(default=1.5, gt=0)
    noise: float = Field(default=0.3, ge=0)
    interpolation: float = Field(default=0.2, ge=0)
    crossing: float = Field(default=0.25, ge=0)
    mutation: float = Field(default=0.25, ge=0)

    @model_validator(mode="after")
    def _moving(self) -> "Search":
        if not sum(self.moves) > 0:
            raise ValueError("one of noise, interpolation, crossing and mutation has to be above 0")
        return self

    @property
    def moves(self) -> tuple[float, ...]:
        """How often each of `MOVES` is made."""
        return self.noise, self.interpolation, self.crossing, self.mutation

    def __call__(self, space: Space, parents: Sequence[str], proposed: Set[str], acquire: Acquire, seed: int) -> Found:
        """All new molecules of all generations, perhaps none.

        Args:
            parents: observed molecules, best first.
            proposed: SMILES that may not be proposed again.
            acquire: draws an acquisition function for each generation.
            seed: the result is a pure function of the arguments.
        """
        rng = np.random.default_rng(seed)
        observed = [Molecule.trusted(smiles) for smiles in parents[: self.parents]]
        chosen = observed
        found: dict[str, Candidate] = {}
        written = valid = 0
        for generation in range(self.generations):
            counts = keep_new(self._children(space, chosen, rng), space, proposed, found)
            written, valid = written + counts[0], valid + counts[1]
            pool = [*observed, *(candidate.molecule for candidate in found.values())]
            best = np.argsort(-acquire(generation)(pool), kind="stable")[: self.parents]
            chosen = [pool[k] for k in best]
        return Found(tuple(found.values()), written, valid)

    def _children(self, space: Space, parents: Sequence[Molecule], rng: np.random.Generator) -> list[Offspring]:
        """Fewer than ``children``, since not every edit is possible."""
        weights = 1 / np.arange(1, len(parents) + 1)
        first, second = rng.choice(len(parents), size=(2, self.children), p=weights / weights.sum())
        shares = np.array(self.moves)
        move = rng.choice(MOVES, size=self.children, p=shares / shares.sum())
        decoded = np.isin(move, LATENT)
        latent = np.flatnonzero(decoded)
        z = space.encode([parent.smiles for parent in parents])
        start, toward = z[first[latent]], z[second[latent]]
        step = rng.random((len(latent), 1)) * (move[latent] == "interpolation")[:, None]
        scale = self.length * MIN_NOISE_SHARE ** rng.random((len(latent), 1))
        points = start + step * (toward - start) + scale * rng.standard_normal(start.shape)
        texts = space.decode(points.astype(np.float32)) if len(latent) else []
        made = [Offspring(text, parents[first[k]].smiles, str(move[k])) for k, text in zip(latent, texts, strict=True)]
        for k in np.flatnonzero(~decoded):
            one, other = parents[first[k]], parents[second[k]]
            edited = cross(one.mol, other.mol, rng) if move[k] == "crossing" else mutate(one.mol, rng)
            if edited is not None:
                made.append(Offspring(edited, one.smiles, str(move[k])))
        return made
