"""A space without a model, for tests: a look-up among some hundred molecules.

A molecule's latent point holds six of its descriptors, standardised over the pool. A point decodes to the nearest
molecule of the pool, or to an invalid text where it lies far from all of them. So neighbours look alike, the map is
exact both ways, and objectives made of those descriptors are smooth in the latent space.
"""

import itertools
from collections.abc import Sequence

import numpy as np
from rdkit import Chem
from rdkit.Chem import Crippen, Descriptors, rdMolDescriptors

CORES = ("c1ccc({a})cc1{b}", "c1ccc({a})nc1{b}", "C1CCN({a})CC1{b}", "c1cc({a})oc1{b}", "C1CC({a})CN1{b}")
PARTS = ("C", "CC", "CCC", "C(C)C", "CO", "CCO", "CN", "C(=O)O", "C(N)=O", "C#N", "CF", "CCl")
FAR = 3.0
INVALID = "C1CC("


def pool() -> list[str]:
    texts = (core.format(a=a, b=b) for core in CORES for a, b in itertools.product(PARTS, repeat=2))
    return sorted({Chem.MolToSmiles(Chem.MolFromSmiles(text)) for text in texts})


def descriptors(smiles: str) -> list[float]:
    mol = Chem.MolFromSmiles(smiles)
    return [
        Crippen.MolLogP(mol),
        Descriptors.MolWt(mol),
        rdMolDescriptors.CalcTPSA(mol),
        rdMolDescriptors.CalcNumRotatableBonds(mol),
        rdMolDescriptors.CalcFractionCSP3(mol),
        rdMolDescriptors.CalcNumHBD(mol),
    ]


class ToySpace:
    latent = 6
    training_index = None

    def __init__(self, fingerprint: str = "toy") -> None:
        self.fingerprint = fingerprint
        self.smiles = pool()
        table = np.array([descriptors(smiles) for smiles in self.smiles])
        self.mean, self.spread = table.mean(0), table.std(0)
        self.points = ((table - self.mean) / self.spread).astype(np.float32)
        self.rows = {smiles: k for k, smiles in enumerate(self.smiles)}

    def can_encode(self, smiles: str) -> bool:
        return smiles in self.rows

    def encode(self, smiles: Sequence[str]) -> np.ndarray:
        return self.points[[self.rows[text] for text in smiles]]

    def decode(self, z: np.ndarray) -> list[str]:
        squares = ((z[:, None] - self.points[None]) ** 2).sum(-1)
        near = squares.min(1) < FAR**2
        return [self.smiles[k] if ok else INVALID for k, ok in zip(squares.argmin(1), near, strict=True)]

    def sample(self, n: int, seed: int) -> list[str]:
        return self.decode(np.random.default_rng(seed).standard_normal((n, self.latent)).astype(np.float32))


class OpenSpace(ToySpace):
    """It encodes any molecule of common atoms; its decoder still writes those of the pool alone."""

    def can_encode(self, smiles: str) -> bool:
        return set(smiles) <= set("CNOFSclnos123456789()[]@H+-=#/\\")

    def encode(self, smiles: Sequence[str]) -> np.ndarray:
        table = np.array([descriptors(text) for text in smiles]).reshape(len(smiles), self.latent)
        return ((table - self.mean) / self.spread).astype(np.float32)
