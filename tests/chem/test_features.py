import numpy as np
import pytest
from rdkit import Chem
from rdkit.Chem import Crippen, Descriptors, rdFingerprintGenerator, rdMolDescriptors

from molvae.bo.additive import COUNTS, DESCRIPTORS
from molvae.chem import features
from molvae.chem.features import ELEMENTS, PROPERTIES
from molvae.chem.molecule import Molecule


def counts_of(molecules):
    return features.features(molecules)[0]


@pytest.fixture(autouse=True)
def nothing_remembered(monkeypatch):
    monkeypatch.setattr(features, "_remembered", {})


@pytest.fixture
def made(monkeypatch):
    """SMILES of the molecules whose features were made, in order."""
    found, make = [], features._features
    monkeypatch.setattr(features, "_features", lambda molecule: found.append(molecule.smiles) or make(molecule))
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
    _, found = features.features(
        [known["aspirin"], known["caffeine"], Molecule.parse("FC(Cl)(Br)I.[NH4+].[O-]P(=O)=S")]
    )
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
    _, found = features.features(molecules)
    expected = [[function(Chem.MolFromSmiles(one.smiles)) for function in functions.values()] for one in molecules]
    np.testing.assert_allclose(found[:, len(ELEMENTS) :], expected, rtol=1e-12)


def test_no_molecules_no_rows():
    assert [rows.shape for rows in features.features([])] == [(0, COUNTS), (0, DESCRIPTORS)]


def test_a_place_holds_255_at_most():
    assert counts_of([Molecule.parse("C" * 400)]).max() == 255


def test_they_are_made_once(made, known):
    molecules = list(known.values())
    first = counts_of([*molecules, molecules[0]])
    assert made == [molecule.smiles for molecule in molecules]
    again = counts_of(molecules[::-1])
    assert len(made) == len(molecules)
    assert (again[::-1] == first[:-1]).all()


def test_what_a_caller_does_to_them_is_not_remembered(aspirin):
    first = counts_of([aspirin])
    expected = first.copy()
    first += 1
    assert (counts_of([aspirin]) == expected).all()


def test_those_asked_for_last_are_remembered(made, monkeypatch):
    monkeypatch.setattr(features, "REMEMBERED", 3)
    a, b, c, d = (Molecule.parse(text) for text in ("C", "CC", "CCC", "CCCC"))
    counts_of([a, b, c])
    counts_of([a, d])  # b has waited longest
    assert list(features._remembered) == ["CCC", "C", "CCCC"]
    made.clear()
    counts_of([a, c, d])
    assert made == []
    found = counts_of([b, a, c, d])
    assert made == ["CC"]
    assert len(features._remembered) == 3
    assert (found == np.concatenate([counts_of([one]) for one in (b, a, c, d)])).all()
