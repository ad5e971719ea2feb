import numpy as np
import pytest
from rdkit import Chem, DataStructs
from rdkit.Chem import rdFingerprintGenerator

from molvae.chem import fingerprints
from molvae.chem.fingerprints import counts, morgan, nearest_similarity
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


class TestCounts:
    @pytest.fixture(autouse=True)
    def nothing_remembered(self, monkeypatch):
        monkeypatch.setattr(fingerprints, "_remembered", {})

    @pytest.fixture
    def made(self, monkeypatch):
        """SMILES of the molecules whose fingerprints were made, in order."""
        found, make = [], fingerprints._counts
        monkeypatch.setattr(fingerprints, "_counts", lambda molecule: found.append(molecule.smiles) or make(molecule))
        return found

    def test_agree_with_rdkit_place_by_place(self, known):
        molecules = [*known.values(), Molecule.parse("CCCCCCCCCCCC")]
        generator = rdFingerprintGenerator.GetMorganGenerator(radius=3, fpSize=2048)
        found = counts(molecules)
        assert (found.shape, found.dtype) == ((len(molecules), 2048), np.uint8)
        for row, molecule in zip(found, molecules, strict=True):
            expected = generator.GetCountFingerprint(Chem.MolFromSmiles(molecule.smiles)).GetNonzeroElements()
            assert {int(place): int(row[place]) for place in row.nonzero()[0]} == expected
        assert found.max() > 1

    def test_no_molecules_no_rows(self):
        assert counts([]).shape == (0, 2048)

    def test_a_place_holds_255_at_most(self):
        assert counts([Molecule.parse("C" * 400)]).max() == 255

    def test_they_are_made_once(self, made, known):
        molecules = list(known.values())
        first = counts([*molecules, molecules[0]])
        assert made == [molecule.smiles for molecule in molecules]
        again = counts(molecules[::-1])
        assert len(made) == len(molecules)
        assert (again[::-1] == first[:-1]).all()

    def test_what_a_caller_does_to_them_is_not_remembered(self, aspirin):
        first = counts([aspirin])
        expected = first.copy()
        first += 1
        assert (counts([aspirin]) == expected).all()

    def test_those_asked_for_last_are_remembered(self, made, monkeypatch):
        monkeypatch.setattr(fingerprints, "REMEMBERED", 3)
        a, b, c, d = (Molecule.parse(text) for text in ("C", "CC", "CCC", "CCCC"))
        counts([a, b, c])
        counts([a, d])  # b has waited longest
        assert list(fingerprints._remembered) == ["CCC", "C", "CCCC"]
        made.clear()
        counts([a, c, d])
        assert made == []
        found = counts([b, a, c, d])
        assert made == ["CC"]
        assert len(fingerprints._remembered) == 3
        assert (found == np.concatenate([counts([one]) for one in (b, a, c, d)])).all()
