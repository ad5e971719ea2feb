"""What a surrogate reads of a molecule besides its latent point: fragments, and a chemist's numbers."""

import itertools
from collections import Counter
from collections.abc import Sequence
from typing import Final

import numpy as np
import numpy.typing as npt
from rdkit.Chem import rdFingerprintGenerator, rdMolDescriptors

from molvae.chem.molecule import Molecule

Counts = npt.NDArray[np.uint8]
Descriptors = npt.NDArray[np.float64]

REMEMBERED: Final = 2**15
"""Molecules whose features are kept: a search asks for the best again and again. Counts of one are 2 kB."""
BITS: Final = 2048
ELEMENTS: Final = ("C", "H", "N", "O", "F", "P", "S", "Cl", "Br", "I")
PROPERTIES: Final = (
    "amw",
    "CrippenClogP",
    "CrippenMR",
    "tpsa",
    "NumHBD",
    "NumHBA",
    "NumRotatableBonds",
    "NumAmideBonds",
    "FractionCSP3",
    "NumAromaticRings",
    "NumAromaticHeterocycles",
    "NumAliphaticRings",
    "NumSaturatedRings",
    "NumSpiroAtoms",
    "NumBridgeheadAtoms",
)
"""As RDKit's `rdMolDescriptors.Properties` calls them."""

_remembered: dict[str, tuple[Counts, Descriptors]] = {}
_morgan = rdFingerprintGenerator.GetMorganGenerator(radius=3, fpSize=BITS)
_properties = rdMolDescriptors.Properties(list(PROPERTIES))


def features(molecules: Sequence[Molecule]) -> tuple[Counts, Descriptors]:
    """Fragments and descriptors of each molecule.

    Returns:
        How often each environment of up to three bonds occurs, hashed, at most 255: (n, 2048). Then how many atoms of
        each of `ELEMENTS` there are, and `PROPERTIES`: (n, 25).
    """
    found = []
    for molecule in molecules:
        row = _remembered.pop(molecule.smiles, None)
        found.append(_features(molecule) if row is None else row)
        _remembered[molecule.smiles] = found[-1]
    for smiles in list(itertools.islice(_remembered, max(0, len(_remembered) - REMEMBERED))):
        del _remembered[smiles]
    counts = np.empty((len(found), BITS), dtype=np.uint8)
    descriptors = np.empty((len(found), len(ELEMENTS) + len(PROPERTIES)))
    for k, row in enumerate(found):
        counts[k], descriptors[k] = row
    return counts, descriptors


def _features(molecule: Molecule) -> tuple[Counts, Descriptors]:
    mol = molecule.mol
    counts = np.minimum(_morgan.GetCountFingerprintAsNumPy(mol), 255).astype(np.uint8)
    atoms = Counter(atom.GetSymbol() for atom in mol.GetAtoms())
    atoms["H"] += sum(atom.GetTotalNumHs() for atom in mol.GetAtoms())
    return counts, np.array([*(atoms[element] for element in ELEMENTS), *_properties.ComputeProperties(mol)])
