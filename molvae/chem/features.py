"""What a surrogate reads of a molecule besides its latent point: fragments, and a chemist's numbers."""

import itertools
import threading
from collections import Counter
from collections.abc import Sequence
from typing import Final

import numpy as np
import numpy.typing as npt
from rdkit.Chem import rdFingerprintGenerator, rdMolDescriptors

from molvae.chem.molecule import Molecule

Counts = npt.NDArray[np.uint8]
Descriptors = npt.NDArray[np.float64]

CACHE_SIZE: Final = 2**15
"""Molecules whose features a `Featurizer` keeps. Counts of one are 2 kB."""
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

_morgan = rdFingerprintGenerator.GetMorganGenerator(radius=3, fpSize=BITS)


class Featurizer:
    """Fragments and descriptors of molecules, each made once: a search asks for the best again and again.

    Several threads may call one at the same time.

    Args:
        size: molecules whose features are kept; those asked for last.
    """

    def __init__(self, size: int = CACHE_SIZE) -> None:
        self._size, self._descriptors = size, rdMolDescriptors.Properties(list(PROPERTIES))
        self._rows: dict[str, tuple[Counts, Descriptors]] = {}  # the one that was asked for last comes last
        self._lock = threading.Lock()

    @property
    def blocks(self) -> tuple[tuple[str, int], ...]:
        """Name and width of what a call returns."""
        return ("counts", BITS), ("descriptors", len(ELEMENTS) + len(self._descriptors.GetPropertyNames()))

    def __call__(self, molecules: Sequence[Molecule]) -> tuple[Counts, Descriptors]:
        """Fragments and descriptors of each molecule.

        Returns:
            How often each environment of up to three bonds occurs, hashed, at most 255: (n, 2048). Then how many atoms
            of each of `ELEMENTS` there are, and `PROPERTIES`: (n, 25).
        """
        asked = {one.smiles: one for one in molecules}
        with self._lock:
            found = {smiles: self._rows[smiles] for smiles in asked if smiles in self._rows}
        # outside the lock, so that threads do not wait for each other; two may make the same row
        found.update((smiles, self._make(one)) for smiles, one in asked.items() if smiles not in found)
        self._keep({smiles: found[smiles] for smiles in asked})
        (_, bits), (_, width) = self.blocks
        counts = np.empty((len(molecules), bits), dtype=np.uint8)
        descriptors = np.empty((len(molecules), width))
        for k, one in enumerate(molecules):
            counts[k], descriptors[k] = found[one.smiles]
        return counts, descriptors

    def _keep(self, found: dict[str, tuple[Counts, Descriptors]]) -> None:
        """In their order; of too many the first go."""
        with self._lock:
            for smiles, row in found.items():
                self._rows.pop(smiles, None)
                self._rows[smiles] = row
            for smiles in list(itertools.islice(self._rows, max(0, len(self._rows) - self._size))):
                del self._rows[smiles]

    def _make(self, molecule: Molecule) -> tuple[Counts, Descriptors]:
        mol = molecule.mol
        counts = np.minimum(_morgan.GetCountFingerprintAsNumPy(mol), 255).astype(np.uint8)
        atoms = Counter(atom.GetSymbol() for atom in mol.GetAtoms())
        atoms["H"] += sum(atom.GetTotalNumHs() for atom in mol.GetAtoms())
        properties = self._descriptors.ComputeProperties(mol)
        return counts, np.array([*(atoms[element] for element in ELEMENTS), *properties])
