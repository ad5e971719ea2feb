import copy
import multiprocessing
import pickle
import subprocess
import sys
import threading

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rdkit import Chem, RDLogger

from molvae.chem import molecule as module
from molvae.chem.molecule import Molecule, parse_or_none
from molvae.errors import InvalidSmiles

REAL = [
    "CC(=O)Oc1ccccc1C(=O)O",
    "Cn1c(=O)c2c(ncn2C)n(C)c1=O",
    "C[C@H](N)C(=O)O",
    "F/C=C/F",
    "CC1(C)S[C@@H]2[C@H](NC(=O)Cc3ccccc3)C(=O)N2[C@H]1C(=O)O",
    "Cc1ccc(/C=C2\\SC(N3CC[NH2+]CC3)=NC2=O)cc1",
    "C1CC2CCC1CC2",
    "[Na+].CC(=O)[O-]",
    "[13CH4]",
    "O=S(=O)(N)c1cc(N/N=C/c2ccc(Br)cc2)c(Cl)cc1",
    "c1ccc2c(c1)[nH]c1ccccc12",
    "CN1CCN(Cc2ccc(C(=O)Nc3ccc(C)c(Nc4nccc(-c5cccnc5)n4)c3)cc2)CC1",
]


def test_canonical_equal_hashable_ordered_printable():
    a, b = Molecule.parse("C(C)O"), Molecule.parse("  OCC\n")
    assert a == b
    assert len({a, b}) == 1
    assert a.smiles == str(a) == "CCO"
    assert repr(a) == "Molecule('CCO')"
    assert sorted([Molecule.parse("CO"), Molecule.parse("CC")])[0].smiles == "CC"
    assert a != "CCO"


def test_made_only_by_parse_and_never_changed():
    with pytest.raises(TypeError, match=r"Molecule\.parse"):
        Molecule()
    with pytest.raises(TypeError):
        Molecule("CCO")  # type: ignore[call-arg]
    with pytest.raises(AttributeError):
        Molecule.parse("CCO").smiles = "C"  # type: ignore[misc]


def test_a_known_one_is_read_when_it_is_first_needed(monkeypatch):
    parsed = Molecule.parse("OC(=O)c1ccccc1")
    read, parse = [], Chem.MolFromSmiles
    monkeypatch.setattr(Chem, "MolFromSmiles", lambda text: read.append(text) or parse(text))
    known = Molecule.trusted(parsed.smiles)
    assert known == parsed
    assert hash(known) == hash(parsed)
    assert pickle.loads(pickle.dumps(known)) == parsed
    assert read == []
    assert known.mol is known.mol
    assert read == [parsed.smiles]
    assert known.inchikey == parsed.inchikey


def test_names_and_scaffolds():
    ibuprofen = Molecule.parse("CC(C)Cc1ccc(cc1)C(C)C(=O)O")
    assert ibuprofen.inchikey == "HEFNNWSXXWATRW-UHFFFAOYSA-N"
    assert ibuprofen.scaffold == "c1ccccc1"
    assert Molecule.parse("CCO").scaffold == ""
    assert Molecule.parse("C[C@H]1CC[C@@H](c2ccccc2)C1").scaffold == "c1ccc(C2CCCC2)cc1"
    assert ibuprofen.mol.GetNumAtoms() == 15
    assert ibuprofen.mol is ibuprofen.mol


@pytest.mark.parametrize(
    ("text", "largest"),
    [
        ("CCO", "CCO"),
        ("[Na+].CC(=O)[O-]", "CC(=O)[O-]"),
        ("Cl.CCN(CC)CC.O", "CCN(CC)CC"),
        ("CCN.CCO", "CCN"),
        ("CCO.CCN", "CCN"),
        ("CC.CC", "CC"),
        ("[Na+].[Br-]", "[Br-]"),
    ],
)
def test_largest_fragment(text, largest):
    assert Molecule.parse(text).largest_fragment() == Molecule.parse(largest)


@pytest.mark.parametrize(
    ("text", "position", "reason"),
    [
        ("CC(", 2, "syntax error"),
        ("CC)C", 2, "extra close parentheses"),
        ("CC(C", 2, "extra open parentheses"),
        ("CXC", 1, "syntax error"),
        ("CC[Xx]C", 3, "syntax error"),
        ("C1CCC%12C", 1, "unclosed ring"),
        ("C1CC1C%12C", 6, "unclosed ring"),
        ("[13CH3]C2C", 8, "unclosed ring"),
        ("C1C1", 0, "ring closure 1 duplicates bond"),
        ("ClC(C)(C)(C)C", 2, "Explicit valence for atom # 1 C, 5"),
        ("CCc1cccc1", 2, "kekulize"),
        ("CCcc", 2, "non-ring atom 2 marked aromatic"),
        ("CC C", 2, "' ' does not belong"),
        ("CC\tname", 2, "does not belong"),
        ("CCé", 2, "'é' does not belong"),
        ("C\x00C", 1, "does not belong"),
        ("CC*", 2, "wildcard"),
        ("CC~C", 2, "bond of any kind"),
        ("[#0]C", None, "wildcard"),
        ("CC>>CC", 2, "syntax error"),
        ("", None, "empty"),
        ("  \n", None, "empty"),
        ("C" * 1001, None, "1001 characters is too long"),
        ("C" * 10_000, None, "10000 characters is too long"),
    ],
)
def test_invalid_smiles_say_why_and_where(text, position, reason):
    with pytest.raises(InvalidSmiles) as caught:
        Molecule.parse(text)
    assert caught.value.position == position
    assert reason in caught.value.reason
    assert len(str(caught.value)) < 300
    assert parse_or_none(text) is None


def test_the_caret_stands_under_the_character():
    with pytest.raises(InvalidSmiles) as caught:
        Molecule.parse("CC[Xx]C")
    _, shown, caret = str(caught.value).splitlines()
    assert shown[caret.index("^")] == "X"


def test_a_thousand_characters_are_read():
    assert Molecule.parse("C" * 1000).mol.GetNumAtoms() == 1000


@given(st.sampled_from(REAL), st.integers(0, 2**31 - 1))
def test_parse_is_idempotent_and_blind_to_atom_order(smiles, seed):
    molecule = Molecule.parse(smiles)
    assert Molecule.parse(molecule.smiles) == molecule
    [shuffled] = Chem.MolToRandomSmilesVect(molecule.mol, 1, randomSeed=seed)
    assert Molecule.parse(shuffled) == molecule
    assert [a.GetSymbol() for a in Molecule.parse(shuffled).mol.GetAtoms()] == [
        a.GetSymbol() for a in molecule.mol.GetAtoms()
    ]


@given(st.text(alphabet="CNOcn()12=#[]@H+-/\\.FlBr%*~ é", max_size=25))
def test_any_text_is_a_molecule_or_an_error_with_a_place_inside_it(text):
    molecule = parse_or_none(text)
    if molecule is not None:
        assert Molecule.parse(text) == Molecule.parse(molecule.smiles) == molecule
        return
    with pytest.raises(InvalidSmiles) as caught:
        Molecule.parse(text)
    assert caught.value.position is None or 0 <= caught.value.position < len(caught.value.text)


def test_real_smiles_of_the_nci_set(nci):
    found = [parse_or_none(text) for text in nci[:1500]]
    valid = [molecule for molecule in found if molecule is not None]
    assert len(valid) > 1490
    assert [parse_or_none(m.smiles) for m in valid] == valid
    assert all(len(m.inchikey) == 27 for m in valid)


def test_a_circle_of_canonical_smiles_ends_in_one_molecule(monkeypatch):
    circle = {"OCC": "CCN", "CCN": "CCO", "CCO": "CCN"}
    monkeypatch.setattr(module, "_read", lambda text: (circle[text], Chem.MolFromSmiles(text)))
    assert {Molecule.parse(text).smiles for text in circle} == {"CCN"}


def test_a_canonical_smiles_that_cannot_be_read_back_is_refused(monkeypatch):
    real = module._read
    monkeypatch.setattr(module, "_read", lambda text: None if text == "CCO" else real(text))
    with pytest.raises(InvalidSmiles, match="cannot read its own canonical SMILES CCO back"):
        Molecule.parse("OCC")


def test_pickles_as_its_string():
    molecule = Molecule.parse("C[C@H](N)C(=O)O")
    assert len(pickle.dumps(molecule)) < 100
    assert pickle.loads(pickle.dumps(molecule)) == copy.deepcopy(molecule) == molecule
    assert pickle.loads(pickle.dumps(molecule)).inchikey == molecule.inchikey
    error = pickle.loads(pickle.dumps(InvalidSmiles("CC(", "syntax error", 2)))
    assert (error.text, error.position) == ("CC(", 2)


def test_rdkit_is_silent_before_and_after_an_error():
    code = (
        "from rdkit import Chem; from molvae.chem.molecule import parse_or_none, Molecule\n"
        "parse_or_none('CC('); Chem.MolFromSmiles('CX')\n"
        "try: Molecule.parse('CC(')\n"
        "except Exception: pass\n"
        "Chem.MolFromSmiles('CX'); Chem.MolFromSmiles('c1cccc1')"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout + done.stderr == ""


def test_errors_of_many_threads_do_not_mix():
    usual = sys.getswitchinterval()
    sys.setswitchinterval(1e-5)  # threads then take turns while one of them listens to RDKit's log
    texts = {"CC(": 2, "CXC": 1, "CCCC)": 4, "C1CC": 1}
    wrong = []

    def explain(text):
        for _ in range(500):
            with pytest.raises(InvalidSmiles) as caught:
                Molecule.parse(text)
            if caught.value.position != texts[text]:
                wrong.append(str(caught.value))

    threads = [threading.Thread(target=explain, args=(text,)) for text in texts]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    sys.setswitchinterval(usual)
    assert wrong == []
    RDLogger.DisableLog("rdApp.*")


def test_crosses_to_another_process():
    molecules = [Molecule.parse(text) for text in REAL]
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        assert pool.map(copy.copy, molecules) == molecules
