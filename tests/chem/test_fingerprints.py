import numpy as np
import pytest
from rdkit import Chem, DataStructs
from rdkit.Chem import rdFingerprintGenerator

from molvae.chem.fingerprints import morgan, nearest_similarity
from molvae.chem.molecule import Molecule
from molvae.errors import DataError


def test_agrees_with_rdkit_pair_by_pair(known):
    molecules = list(known.values())
    queries, references = molecules[:3], molecules[3:]
    generator = rdFingerprintGenerator.GetMorganGenerator(radius=2, fpSize=2048)
    expected = [
        max(
            DataStructs.TanimotoSimilarity(
                generator.GetFingerprint(Chem.MolFromSmiles(a.smiles)),
                generator.GetFingerprint(Chem.MolFromSmiles(b.smiles)),
            )
            for b in references
        )
        for a in queries
    ]
    found = nearest_similarity(queries, references)
    assert found.shape == (3,)
    assert found.dtype == np.float64
    np.testing.assert_allclose(found, expected, rtol=0, atol=0)


def test_aspirin_and_paracetamol(known):
    [value] = nearest_similarity([known["aspirin"]], [known["paracetamol"]])
    assert value == pytest.approx(0.2222, abs=5e-5)


def test_one_for_itself_and_symmetric(known):
    molecules = list(known.values())
    assert nearest_similarity(molecules, molecules).tolist() == [1.0] * len(molecules)
    a, b = molecules[:2]
    assert nearest_similarity([a], [b]) == nearest_similarity([b], [a])


def test_empty_queries_and_empty_references(aspirin):
    assert nearest_similarity([], [aspirin]).shape == (0,)
    assert nearest_similarity([], []).shape == (0,)
    with pytest.raises(DataError, match="no reference molecules; give at least one"):
        nearest_similarity([aspirin], [])


def test_generators_are_made_once():
    assert morgan(2, 2048, False) is morgan(2, 2048, False)
    assert morgan(counts=True)(Molecule.parse("CCCCCC").mol).GetTotalVal() > len(
        set(morgan()(Molecule.parse("CCCCCC").mol).GetOnBits())
    )
