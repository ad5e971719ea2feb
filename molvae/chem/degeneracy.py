"""Signs that a search has gone monotonous: long strings of one element, molecules that are nearly the same."""

from collections.abc import Sequence
from itertools import combinations

import numpy as np
from rdkit import Chem, DataStructs

from molvae.chem.fingerprints import morgan
from molvae.chem.molecule import Molecule


def longest_chain(molecule: Molecule) -> int:
    """Most atoms of one element in a row, none of them in a ring, whatever the bonds between them.

    Example:
        >>> longest_chain(Molecule.parse("CCCCOc1ccccc1"))
        4
    """
    outside = [atom.GetIdx() for atom in molecule.mol.GetAtoms() if not atom.IsInRing()]
    if not outside:
        return 0
    chains = Chem.RWMol(molecule.mol)
    for bond in molecule.mol.GetBonds():
        first, second = bond.GetBeginAtom(), bond.GetEndAtom()
        if first.IsInRing() or second.IsInRing() or first.GetSymbol() != second.GetSymbol():
            chains.RemoveBond(first.GetIdx(), second.GetIdx())
    bonds = Chem.GetDistanceMatrix(chains, force=True)[np.ix_(outside, outside)]  # without rings there is one way
    return 1 + int(bonds[bonds < molecule.mol.GetNumAtoms()].max())


def mean_similarity(molecules: Sequence[Molecule]) -> float | None:
    """Mean Tanimoto similarity over all pairs (Morgan, radius 2, 2048 bits), 0 to 1; None for fewer than two."""
    prints = [morgan()(molecule.mol) for molecule in molecules]
    pairs = [DataStructs.TanimotoSimilarity(one, other) for one, other in combinations(prints, 2)]
    return float(np.mean(pairs)) if pairs else None
