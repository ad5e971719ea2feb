import pytest

from molvae.chem.filters import structural_alerts
from molvae.chem.molecule import Molecule


@pytest.mark.parametrize(
    ("smiles", "alerts"),
    [
        ("Oc1ccc(N=Nc2ccccc2)cc1", ("BRENK: diazo_group", "PAINS: azo_A(324)")),
        (
            "O=C1NC(=S)SC1=Cc1ccccc1",
            ("BRENK: Michael_acceptor_1", "BRENK: Thiocarbonyl_group", "PAINS: ene_rhod_A(235)"),
        ),
        ("CC(=O)Oc1ccccc1C(=O)O", ("BRENK: phenol_ester",)),
        ("Cn1c(=O)c2c(ncn2C)n(C)c1=O", ()),
        ("C", ()),
    ],
)
def test_known_alerts(smiles, alerts):
    assert structural_alerts(Molecule.parse(smiles)) == alerts


def test_every_entry_of_the_catalog_has_a_family(nci):
    molecules = [Molecule.parse(smiles) for smiles in nci[:100]]
    found = {alert.partition(": ")[0] for molecule in molecules for alert in structural_alerts(molecule)}
    assert found == {"PAINS", "BRENK"}
