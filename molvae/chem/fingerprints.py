"""Morgan fingerprints, and how near one set of molecules is to another."""

import functools
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from rdkit import DataStructs
from rdkit.Chem import rdFingerprintGenerator

from molvae.chem.molecule import Molecule
from molvae.errors import DataError


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
