from pathlib import Path

import pytest
from rdkit import RDConfig

from molvae.chem.molecule import Molecule

KNOWN = {
    "aspirin": "CC(=O)Oc1ccccc1C(=O)O",
    "caffeine": "CN1C=NC2=C1C(=O)N(C(=O)N2C)C",
    "ibuprofen": "CC(C)Cc1ccc(cc1)C(C)C(=O)O",
    "paracetamol": "CC(=O)Nc1ccc(O)cc1",
    "cyclooctane": "C1CCCCCCC1",
    "ethanol": "CCO",
}


@pytest.fixture(scope="session")
def known() -> dict[str, Molecule]:
    return {name: Molecule.parse(smiles) for name, smiles in KNOWN.items()}


@pytest.fixture(scope="session")
def aspirin(known: dict[str, Molecule]) -> Molecule:
    return known["aspirin"]


@pytest.fixture(scope="session")
def nci() -> list[str]:
    """Real SMILES as they come, with salts, metals and eight broken ones: the set in RDKit's package."""
    lines = (Path(RDConfig.RDDataDir) / "NCI" / "first_5K.smi").read_text().splitlines()
    return [line.split()[0] for line in lines]
