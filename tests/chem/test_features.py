import sys
from concurrent.futures import ThreadPoolExecutor
from functools import partial

import numpy as np
import pytest
from rdkit import Chem
from rdkit.Chem import Crippen, Descriptors, rdFingerprintGenerator, rdMolDescriptors

from molvae.chem import features
from molvae.chem.features import ELEMENTS, PROPERTIES, Featurizer
from molvae.chem.molecule import Molecule


def counts_of(molecules):
    return Featurizer()(molecules)[0]


@pytest.fixture
def made(monkeypatch):
    """SMILES of the molecules whose features were made, in order."""
    found, make = [], Featurizer._make
    monkeypatch.setattr(Featurizer, "_make", lambda self, one: found.append(one.smiles) or make(self, one))
    return found


def test_counts_agree_with_rdkit_place_by_place(known):
    molecules = [*known.values(), Molecule.parse("CCCCCCCCCCCC")]
    generator = rdFingerprintGenerator.GetMorganGenerator(radius=3, fpSize=2048)
    found = counts_of(molecules)
    assert (found.shape, found.dtype) == ((len(molecules), 2048), np.uint8)
    for row, molecule in zip(found, molecules, strict=True):
        expected = generator.GetCountFingerprint(Chem.MolFromSmiles(molecule.smiles)).GetNonzeroElements()
        assert {int(place): int(row[place]) for place in row.nonzero()[0]} == expected
    assert found.max() > 1


def test_composition_is_that_of_the_formula(known):
    _, found = Featurizer()([known["aspirin"], known["caffeine"], Molecule.parse("FC(Cl)(Br)I.[NH4+].[O-]P(=O)=S")])
    assert [dict(zip(ELEMENTS, row[: len(ELEMENTS)].tolist(), strict=True)) for row in found] == [
        dict.fromkeys(ELEMENTS, 0) | formula
        for formula in (
            {"C": 9, "H": 8, "O": 4},
            {"C": 8, "H": 10, "N": 4, "O": 2},
            {"C": 1, "H": 4, "N": 1, "O": 2, "F": 1, "P": 1, "S": 1, "Cl": 1, "Br": 1, "I": 1},
        )
    ]


def test_properties_are_rdkits(known):
    molecules = [*known.values(), Molecule.parse("O=C(NC1CC2CCC1C2)C1(CCCC1)c1cccnc1")]
    functions = {
        "amw": Descriptors.MolWt,
        "CrippenClogP": Crippen.MolLogP,
        "CrippenMR": Crippen.MolMR,
        "tpsa": rdMolDescriptors.CalcTPSA,
        "NumHBD": rdMolDescriptors.CalcNumHBD,
        "NumHBA": rdMolDescriptors.CalcNumHBA,
        "NumRotatableBonds": rdMolDescriptors.CalcNumRotatableBonds,
        "NumAmideBonds": rdMolDescriptors.CalcNumAmideBonds,
        "FractionCSP3": rdMolDescriptors.CalcFractionCSP3,
        "NumAromaticRings": rdMolDescriptors.CalcNumAromaticRings,
        "NumAromaticHeterocycles": rdMolDescriptors.CalcNumAromaticHeterocycles,
        "NumAliphaticRings": rdMolDescriptors.CalcNumAliphaticRings,
        "NumSaturatedRings": rdMolDescriptors.CalcNumSaturatedRings,
        "NumSpiroAtoms": rdMolDescriptors.CalcNumSpiroAtoms,
        "NumBridgeheadAtoms": rdMolDescriptors.CalcNumBridgeheadAtoms,
    }
    assert tuple(functions) == PROPERTIES
    _, found = Featurizer()(molecules)
    expected = [[function(Chem.MolFromSmiles(one.smiles)) for function in functions.values()] for one in molecules]
    np.testing.assert_allclose(found[:, len(ELEMENTS) :], expected, rtol=1e-12)


def test_no_molecules_no_rows():
    assert [rows.shape for rows in Featurizer()([])] == [(0, 2048), (0, 25)]


def test_blocks_are_what_a_call_returns(aspirin, monkeypatch):
    monkeypatch.setattr(features, "PROPERTIES", (*PROPERTIES, "NumHeavyAtoms"))
    featurizer = Featurizer()
    assert featurizer.blocks == (("counts", 2048), ("descriptors", 26))
    counts, descriptors = featurizer([aspirin])
    assert (counts.shape, descriptors.shape) == ((1, 2048), (1, 26))
    assert descriptors[0, -1] == 13


def test_a_place_holds_255_at_most():
    assert counts_of([Molecule.parse("C" * 400)]).max() == 255


def test_they_are_made_once(made, known):
    molecules, featurizer = list(known.values()), Featurizer()
    first, _ = featurizer([*molecules, molecules[0]])
    assert made == [molecule.smiles for molecule in molecules]
    again, _ = featurizer(molecules[::-1])
    assert len(made) == len(molecules)
    assert (again[::-1] == first[:-1]).all()


def test_what_a_caller_does_to_them_is_not_kept(aspirin):
    featurizer = Featurizer()
    first, _ = featurizer([aspirin])
    expected = first.copy()
    first += 1
    assert (featurizer([aspirin])[0] == expected).all()


def test_those_asked_for_last_are_kept(made):
    featurizer = Featurizer(size=3)
    a, b, c, d = (Molecule.parse(text) for text in ("C", "CC", "CCC", "CCCC"))
    featurizer([a, b, c])
    featurizer([a, d])  # b has waited longest
    made.clear()
    featurizer([a, c, d])
    assert made == []
    found, _ = featurizer([b, a, c, d])
    assert made == ["CC"]
    assert (found == np.concatenate([counts_of([one]) for one in (b, a, c, d)])).all()
    made.clear()
    featurizer([a, c, d])  # of four three were kept
    assert made == []
    featurizer([b])
    assert made == ["CC"]


def test_four_threads_may_share_one(request):
    """Which drops rows all the time, while the threads interrupt each other as often as they can."""
    request.addfinalizer(partial(sys.setswitchinterval, sys.getswitchinterval()))
    sys.setswitchinterval(1e-6)
    molecules = [Molecule.known("C" * n) for n in range(1, 21)]
    featurizer, expected = Featurizer(size=3), Featurizer()(molecules)

    def ask(seed):
        rng = np.random.default_rng(seed)
        for _ in range(150):
            rows = rng.choice(20, size=rng.integers(1, 10))
            counts, descriptors = featurizer([molecules[k] for k in rows])
            assert (counts == expected[0][rows]).all()
            assert (descriptors == expected[1][rows]).all()

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(ask, range(4)))
