"""Which molecules a model was trained on, without shipping them: a sorted table of 64-bit hashes."""

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt


@dataclass(frozen=True, eq=False)
class KnownMolecules:
    """Tells whether a canonical SMILES was in the training set.

    With n hashes of 64 bits a new molecule is taken for a known one with probability n / 2⁶⁴: for 220,000 molecules
    1.2e-14. 8 bytes a molecule.
    """

    hashes: npt.NDArray[np.int64]

    @classmethod
    def of(cls, smiles: Iterable[str]) -> "KnownMolecules":
        """From canonical SMILES."""
        return cls(np.unique(_hashes(smiles)))

    def __or__(self, other: "KnownMolecules") -> "KnownMolecules":
        """The molecules of both."""
        return KnownMolecules(np.union1d(self.hashes, other.hashes))

    def __len__(self) -> int:
        return len(self.hashes)

    def contains(self, smiles: Sequence[str]) -> npt.NDArray[np.bool_]:
        """``(len(smiles),)``: True where the canonical SMILES was seen in training."""
        found: npt.NDArray[np.bool_] = np.isin(_hashes(smiles), self.hashes)
        return found


def _hashes(smiles: Iterable[str]) -> npt.NDArray[np.int64]:
    digests = b"".join(hashlib.blake2b(text.encode(), digest_size=8).digest() for text in smiles)
    return np.frombuffer(digests, dtype="<i8").astype(np.int64)
