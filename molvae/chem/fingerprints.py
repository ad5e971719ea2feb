"""Morgan fingerprints, and how near one set of molecules is to another."""

import functools
import itertools
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
from rdkit import DataStructs
from rdkit.Chem import rdFingerprintGenerator

from molvae.chem.molecule import Molecule
from molvae.errors import DataError

Counts = npt.NDArray[np.uint8]

REMEMBERED = 2**15
"""Count fingerprints that are kept, of 2 kB each."""
_remembered: dict[str, Counts] = {}


@functools.cache
def morgan(radius: int = 2, bits: int = 2048, counts: bool = False) -> Callable[[Any], Any]:
    """The function from an RDKit molecule to its hashed Morgan fingerprint, made once.

    Args:
        radius: bonds around each atom; 2 is what the literature calls ECFP4.
        bits: places that the environments are hashed into.
        counts: how often each environment occurs rather than whether it does.
    """
    generator = rdFingerprintGenerator.GetMorganGenerator(radius=radius, fpSize=bits)
    function: Callable[[Any], Any] = generator.GetCountFingerprint if counts else generator.GetFingerprint
    return function


def counts(molecules: Sequence[Molecule]) -> Counts:
    """How often each environment of up to three bonds occurs in each molecule, hashed: (n, 2048), at most 255.

    Those of the molecules asked for last are remembered: a search asks for the best again and again.
    """
    rows = np.empty((len(molecules), 2048), dtype=np.uint8)
    for k, molecule in enumerate(molecules):
        row = _remembered.pop(molecule.smiles, None)
        _remembered[molecule.smiles] = rows[k] = _counts(molecule) if row is None else row
    for smiles in list(itertools.islice(_remembered, max(0, len(_remembered) - REMEMBERED))):
        del _remembered[smiles]
    return rows


@functools.cache
def _by_counts() -> Any:
    return rdFingerprintGenerator.GetMorganGenerator(radius=3, fpSize=2048)


def _counts(molecule: Molecule) -> Counts:
    found: Counts = np.minimum(_by_counts().GetCountFingerprintAsNumPy(molecule.mol), 255).astype(np.uint8)
    return found


def nearest_similarity(queries: Sequence[Molecule], references: Sequence[Molecule]) -> np.ndarray:
    """Highest Tanimoto similarity of each query to any reference (Morgan, radius 2, 2048 bits).

    Returns:
        (n,) float64 in [0, 1], for n queries; 1 where the query has the fingerprint of a reference.

    Raises:
        DataError: there are queries but no reference.
    """
    if not queries:
        return np.zeros(0)
    if not references:
        raise DataError("the nearest reference was asked for, but there are no reference molecules; give at least one")
    fingerprint = morgan()
    known = [fingerprint(reference.mol) for reference in references]
    return np.array([max(DataStructs.BulkTanimotoSimilarity(fingerprint(query.mol), known)) for query in queries])
