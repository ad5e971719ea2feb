"""Latent moves around good molecules → decoded, valid, unseen candidates."""

from collections.abc import Sequence, Set
from dataclasses import dataclass

import numpy as np
from pydantic import Field

from molvae.bo.regions import Region
from molvae.campaign.space import Points, Space
from molvae.chem.molecule import parse_or_none
from molvae.config import Component

SMALLEST_NOISE = 0.1
"""Noise is drawn between this share of the region's length and the whole length, log-uniformly."""


@dataclass(frozen=True)
class Parent:
    """A molecule that moves begin at, and its latent point (latent,)."""

    smiles: str
    z: Points


@dataclass(frozen=True)
class Candidate:
    """A valid molecule that was never proposed; ``z`` (latent,) is its own encoding, not what was decoded."""

    smiles: str
    z: Points
    parent: str
    move: str


@dataclass(frozen=True)
class Found:
    """What a search gave, and how many points it decoded, of which how many texts were valid."""

    candidates: tuple[Candidate, ...]
    decoded: int
    valid: int


class LatentSearch(Component):
    """Noise around the best molecules and interpolation between them, no farther than the region allows.

    Noise goes to all dimensions or, for half of the points, to a random subset of them. Parents are drawn
    with weight 1 / rank. Texts that are invalid are dropped, never relabelled; so are known molecules, and
    those whose canonical SMILES the model cannot encode.

    Attributes:
        points: latent points that are decoded in one attempt.
        parents: the best molecules that moves begin at; doubled with each restart of the region.
        interpolation: share of the points that lie between two parents.
        attempts: how often to try until enough are found, each time with a region half as long again.
    """

    points: int = Field(default=500, ge=1)
    parents: int = Field(default=20, ge=1)
    interpolation: float = Field(default=0.25, ge=0, le=1)
    attempts: int = Field(default=5, ge=1)

    def __call__(
        self, space: Space, region: Region, parents: Sequence[Parent], known: Set[str], enough: int, seed: int
    ) -> Found:
        """Candidates, at least ``enough`` of them if the attempts suffice, perhaps none.

        Args:
            parents: best first; all that are worth moving from.
            known: SMILES that may not be proposed again.
            seed: the result is a pure function of the arguments.
        """
        rng = np.random.default_rng(seed)
        parents = parents[: self.parents * 2**region.restarts]
        found: dict[str, tuple[str, str]] = {}
        valid = attempt = 0
        while attempt < self.attempts and len(found) < enough:
            moves, points = self._moves(parents, region.length * 1.5**attempt, rng)
            for text, move in zip(space.decode(points), moves, strict=True):
                molecule = parse_or_none(text)
                valid += molecule is not None
                if molecule is not None and molecule.smiles not in known and space.knows(molecule.smiles):
                    found.setdefault(molecule.smiles, move)
            attempt += 1
        z = space.encode(list(found)) if found else ()
        candidates = tuple(Candidate(smiles, row, *found[smiles]) for smiles, row in zip(found, z, strict=True))
        return Found(candidates, attempt * self.points, valid)

    def _moves(
        self, parents: Sequence[Parent], length: float, rng: np.random.Generator
    ) -> tuple[list[tuple[str, str]], Points]:
        """Parent and name of each move, and where it leads, (points, latent)."""
        weights = 1 / np.arange(1, len(parents) + 1)
        first, second = rng.choice(len(parents), size=(2, self.points), p=weights / weights.sum())
        z = np.stack([parent.z for parent in parents])
        n, latent = self.points, z.shape[1]
        scale = length * SMALLEST_NOISE ** rng.random((n, 1))
        some = rng.random((n, latent)) < rng.random((n, 1))
        everywhere = rng.random((n, 1)) < 0.5
        noise = scale * rng.standard_normal((n, latent)) * (some | everywhere)
        between = (rng.random(n) < self.interpolation) & (first != second)
        step = rng.random((n, 1)) * (z[second] - z[first])
        reach = np.sqrt(latent) * length  # a step between parents, too, stays in the region
        step *= np.minimum(1, reach / np.maximum(np.linalg.norm(step, axis=1, keepdims=True), 1e-12))
        points = z[first] + np.where(between[:, None], step + SMALLEST_NOISE * noise, noise)
        names = np.where(between, "interpolation", "noise")
        moves = [(parents[k].smiles, str(name)) for k, name in zip(first, names, strict=True)]
        return moves, points.astype(np.float32)
