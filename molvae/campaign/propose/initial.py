"""The first molecules of a campaign: given, from a file, from the training set, or made by the model."""

import logging
from collections.abc import Iterable, Set
from pathlib import Path
from typing import Final, Literal, Protocol

import numpy as np
from pydantic import Field

from molvae.campaign.space import Space
from molvae.chem.molecule import Molecule, parse_or_none
from molvae.config import Component
from molvae.data.tables import Row, read_rows
from molvae.errors import CampaignError, DataError, InvalidSmiles, UnknownCharacter
from molvae.registry import Registry

log = logging.getLogger("molvae")

ATTEMPTS: Final = 20
"""How often twice the molecules wanted are drawn from a model's prior, before there are enough."""


class Given(Component):
    """Start from these molecules; one that cannot be used is an error."""

    kind: Literal["given"] = "given"
    smiles: tuple[str, ...] = Field(min_length=1, description="the molecules")

    def __call__(self, space: Space, limit: int, seed: int, proposed: Set[str] = frozenset()) -> list[str]:
        """Canonical SMILES, each once, without those proposed before.

        Raises:
            InvalidSmiles, UnknownCharacter: one is not a molecule, or the model cannot encode it.
        """
        found = [Molecule.parse(text).smiles for text in self.smiles]
        for smiles in found:
            if not space.can_encode(smiles):
                raise UnknownCharacter(smiles, "the model cannot encode this start molecule")
        return [smiles for smiles in dict.fromkeys(found) if smiles not in proposed]


class FromFile(Component):
    """Start from the first ``n`` usable molecules of a table (.smi, .csv, .tsv, .parquet), or from all."""

    kind: Literal["file"] = "file"
    path: str = Field(description="the table")
    column: str | None = Field(default=None, description="of SMILES; by default SMILES in any case")
    n: int | None = Field(default=None, ge=1, description="molecules; by default all")

    def __call__(self, space: Space, limit: int, seed: int, proposed: Set[str] = frozenset()) -> list[str]:
        """Canonical SMILES, each once, each new; rows that cannot be used are skipped with a warning.

        Raises:
            DataError: the file cannot be read, or no row can be used.
        """
        return _usable(read_rows(self.path, self.column), space, min(limit, self.n or limit), self.path, proposed)


class FromTraining(Component):
    """Start from ``n`` molecules drawn from the training part of a prepared corpus, or from a table."""

    kind: Literal["training"] = "training"
    path: str = Field(description="a folder made by `molvae data prepare`, or a table")
    n: int = Field(default=60, ge=1, description="molecules")

    def __call__(self, space: Space, limit: int, seed: int, proposed: Set[str] = frozenset()) -> list[str]:
        """Canonical SMILES, each once, without those proposed before, in an order that the seed draws.

        Raises:
            DataError: the file cannot be read, or no row can be used.
        """
        path = Path(self.path)
        rows = list(read_rows(path / "train.smi" if path.is_dir() else path))
        drawn = (rows[k] for k in np.random.default_rng(seed).permutation(len(rows)))
        return _usable(drawn, space, min(limit, self.n), self.path, proposed)


class FromPrior(Component):
    """Start from ``n`` molecules that the model makes by itself."""

    kind: Literal["prior"] = "prior"
    n: int = Field(default=60, ge=1, description="molecules")

    def __call__(self, space: Space, limit: int, seed: int, proposed: Set[str] = frozenset()) -> list[str]:
        """Canonical SMILES, each once, without those proposed before.

        Raises:
            CampaignError: the model's samples are hardly ever valid and different.
        """
        wanted = min(limit, self.n)
        found = sampled(space, wanted, seed, proposed)
        if len(found) < wanted and not proposed:
            raise CampaignError(
                f"of {2 * ATTEMPTS * wanted} samples of the model's prior only {len(found)} are different valid "
                f"molecules, and start.n is {wanted}; train the model longer, or start from a file"
            )
        return found


class Initial(Protocol):
    """An initial design: which molecules a campaign, or a search that begins again, evaluates first."""

    def __call__(self, space: Space, limit: int, seed: int, proposed: Set[str]) -> list[str]:
        """Canonical SMILES that the space can encode, at most ``limit``, each once, none proposed before."""


INITIALS = Registry("initial design", Initial, (Given, FromFile, FromTraining, FromPrior))


def sampled(space: Space, n: int, seed: int, proposed: Set[str]) -> list[str]:
    """Different molecules that the model makes by itself, none proposed before: ``n``, fewer where these are rare."""
    found: dict[str, None] = {}
    for attempt in range(ATTEMPTS):
        for text in space.sample(2 * n, seed=seed + attempt):
            molecule = parse_or_none(text)
            if molecule is not None and molecule.smiles not in proposed and space.can_encode(molecule.smiles):
                found[molecule.smiles] = None
        if len(found) >= n:
            break
    return list(found)[:n]


def _usable(rows: Iterable[Row], space: Space, n: int, path: str, proposed: Set[str]) -> list[str]:
    """The first ``n`` different molecules of a file's rows that the model can encode, none proposed before."""
    found: dict[str, None] = {}
    skipped = 0
    for line, text, fault in rows:
        if len(found) == n:
            break
        try:
            if fault:
                raise DataError(fault)
            smiles = Molecule.parse(text).smiles
        except (DataError, InvalidSmiles) as error:
            log.warning("%s, line %d is skipped: %s", path, line, error)
            skipped += 1
            continue
        if not space.can_encode(smiles):
            log.warning("%s, line %d is skipped: the model cannot encode %s", path, line, smiles)
            skipped += 1
            continue
        if smiles not in proposed:
            found[smiles] = None
    if not found and not proposed:
        raise DataError(f"{path} has no molecule to start from: none of its {skipped} rows can be used")
    return list(found)
