import sys

import pytest
from rdkit import Chem
from rdkit.Chem import QED, Descriptors

from molvae.errors import DataError
from molvae.vae.evaluation.distribution import FrechetChemNet, has_chemnet, measured


def test_properties_are_rdkits_whatever_the_case_of_their_names():
    smiles = ["CCO", "c1ccccc1C(=O)O"]
    found = measured(smiles, ["qed", "MolWt", "QED"])
    mols = [Chem.MolFromSmiles(text) for text in smiles]
    assert found["qed"].tolist() == found["QED"].tolist() == pytest.approx([QED.qed(mol) for mol in mols])
    assert found["MolWt"].tolist() == pytest.approx([Descriptors.MolWt(mol) for mol in mols])


def test_a_label_that_rdkit_does_not_know_is_left_out():
    assert measured(["CCO"], ["activity", "similarity", "module:function"]) == {}


def test_nothing_has_no_values():
    assert {name: values.shape for name, values in measured([]).items()} == {"logP": (0,), "SAS": (0,), "QED": (0,)}


def test_the_package_of_the_distance_is_optional(monkeypatch):
    monkeypatch.setitem(sys.modules, "fcd", None)  # what import finds of a package that is not there
    assert not has_chemnet()


class TestDistance:
    @pytest.fixture(autouse=True)
    def installed(self):
        pytest.importorskip("fcd")

    def test_it_is_none_to_itself_and_grows(self, molecules):
        chemnet = FrechetChemNet(molecules[:25])
        itself, others = chemnet.distance(molecules[:25]), chemnet.distance(molecules[25:50])
        alkanes = chemnet.distance([f"{'C' * n}O" for n in range(3, 28)])
        assert itself == pytest.approx(0, abs=1e-2)
        assert 0.5 < others < alkanes

    def test_one_molecule_is_refused(self, molecules):
        with pytest.raises(DataError, match="2 molecules or more; there are 1"):
            FrechetChemNet(molecules[:3]).distance(molecules[:1])
