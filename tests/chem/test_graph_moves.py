"""Edits of molecular graphs: what they make is a molecule, what they leave alone stays, what they reach."""

from functools import cache
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rdkit import Chem

from molvae.chem.graph_moves import cross, mutate
from molvae.chem.molecule import parse_or_none

REAL = [
    "CC(=O)Oc1ccccc1C(=O)O",
    "Cn1c(=O)c2c(ncn2C)n(C)c1=O",
    "CC1(C)S[C@@H]2[C@H](NC(=O)Cc3ccccc3)C(=O)N2[C@H]1C(=O)O",
    "Cc1ccc(/C=C2\\SC(N3CC[NH2+]CC3)=NC2=O)cc1",
    "NS(=O)(=O)c1cc(N/N=C/c2ccc(Br)cc2)c(Cl)cc1",
    "c1ccc2c(c1)[nH]c1ccccc12",
    "CN1CCN(Cc2ccc(C(=O)Nc3ccc(C)c(Nc4nccc(-c5cccnc5)n4)c3)cc2)CC1",
    "CC(C)NC(=O)N1CCCCC[C@@H]1C1CC[NH+](Cc2ccc(C#N)cc2F)CC1",
    "N#Cc1ccnc(N2CCC3(CC2)c2ccccc2[C@@H]([NH+]2CCCCC2)[C@@H]3O)c1",
    "O=C([O-])c1ccc([N+](=O)[O-])c(-c2ccc[n+]([O-])c2)c1",
    "C[C@@H]1C[C@@H]2CCC(=O)O[C@H]2CCCCCCCC(=O)O1",
    "CC(C)Cc1ccc(C(C)C(=O)O)cc1",
]
MOLS = [Chem.MolFromSmiles(smiles) for smiles in REAL]
IN_SMALL_RING = "r3,r4,r5,r6,r7,r8"
LINEAR = [Chem.MolFromSmarts(smarts.replace("R", IN_SMALL_RING)) for smarts in ("[R]=@[R]=@[R]", "[R]#@[R]")]

real = st.sampled_from(MOLS)
seeds = st.integers(0, 2**32 - 1)


def check(text: str, *parents: Chem.Mol) -> None:
    """The text is a canonical molecule of one fragment, and not a parent."""
    molecule = parse_or_none(text)
    assert molecule is not None
    assert "." not in molecule.smiles
    assert molecule.smiles not in {Chem.MolToSmiles(parent) for parent in parents}


def rings(mol: Chem.Mol) -> list[int]:
    return [len(ring) for ring in mol.GetRingInfo().AtomRings()]


@cache
def mutants(smiles: str, draws: int = 300) -> frozenset[str]:
    mol, rng = Chem.MolFromSmiles(smiles), np.random.default_rng(0)
    return frozenset(text for _ in range(draws) if (text := mutate(mol, rng)) is not None)


@cache
def children(first: str, second: str, draws: int = 300) -> frozenset[str]:
    parents, rng = [Chem.MolFromSmiles(smiles) for smiles in (first, second)], np.random.default_rng(0)
    return frozenset(text for _ in range(draws) if (text := cross(*parents, rng)) is not None)


@settings(max_examples=60)
@given(real, seeds)
def test_a_mutant_is_another_molecule(mol, seed):
    before = mol.ToBinary(Chem.PropertyPickleOptions.AllProps)
    text = mutate(mol, np.random.default_rng(seed))
    assert mol.ToBinary(Chem.PropertyPickleOptions.AllProps) == before
    assert text == mutate(mol, np.random.default_rng(seed))
    if text is not None:
        check(text, mol)


@settings(max_examples=60)
@given(real, real, seeds)
def test_a_child_is_another_molecule(first, second, seed):
    before = [mol.ToBinary(Chem.PropertyPickleOptions.AllProps) for mol in (first, second)]
    text = cross(first, second, np.random.default_rng(seed))
    assert [mol.ToBinary(Chem.PropertyPickleOptions.AllProps) for mol in (first, second)] == before
    assert text == cross(first, second, np.random.default_rng(seed))
    if text is not None:
        check(text, first, second)


def test_a_shared_molecule_is_left_without_a_mark():
    """Also where the product must be told from its parent, which needs the parent's SMILES."""
    toluene, rng = Chem.MolFromSmiles("Cc1ccccc1"), np.random.default_rng(0)
    before = set(toluene.GetPropNames(True, True))
    for _ in range(300):
        mutate(toluene, rng)
        cross(toluene, toluene, rng)
    assert set(toluene.GetPropNames(True, True)) == before


def test_most_draws_give_a_molecule():
    rng = np.random.default_rng(0)
    mutated = [mutate(mol, rng) for mol in MOLS for _ in range(20)]
    crossed = [cross(one, other, rng) for one in MOLS for other in MOLS]
    assert sum(text is not None for text in mutated) > 0.7 * len(mutated)
    assert sum(text is not None for text in crossed) > 0.6 * len(crossed)


def test_any_molecule_is_taken(nci):
    mols = [mol for text in nci[::40] if (mol := Chem.MolFromSmiles(text)) is not None]
    rng = np.random.default_rng(0)
    for mol, other in pairwise(mols):
        for text, parents in ((mutate(mol, rng), (mol,)), (cross(mol, other, rng), (mol, other))):
            if text is not None:
                check(text, *parents)


@pytest.mark.parametrize(
    "smiles", ["", "[He]", "[Na+]", "[H][H]", "[Na+].[Cl-]", "F[S](F)(F)(F)(F)F", "[2H]C", "[CH3]"]
)
def test_little_to_edit_is_no_error(smiles):
    for text in mutants(smiles, 50):
        check(text, Chem.MolFromSmiles(smiles))
    for text in children(smiles, smiles, 20):
        check(text)


@pytest.mark.parametrize(
    ("smiles", "mutant"),
    [
        ("c1ccccc1", "c1ccncc1"),
        ("c1ccncc1", "c1ccccc1"),
        ("Cc1ccccc1", "c1ccccc1"),
        ("c1ccccc1", "Clc1ccccc1"),
        ("Cc1ccccc1", "N#Cc1ccccc1"),
        ("c1ccccc1", "c1ccc(-c2ccccc2)cc1"),
        ("c1ccccc1", "c1ccsc1"),
        ("c1cc[nH]c1", "c1ccccc1"),
        ("c1cc[nH]c1", "Cn1cccc1"),
        ("CCCC", "CCCCC"),
        ("CCCC", "CCCCO"),
        ("CCCC", "CCC=C"),
        ("CCCC", "CCCC#N"),
        ("CCCC", "CCC"),
        ("CCC", "CCC=O"),
        ("CCCC", "CCOCC"),
        ("CCCC", "CCOC"),
        ("CCCCCC", "C1CCCCC1"),
        ("C1CCCCC1", "CCCCCC"),
        ("CC=O", "CCO"),
        ("CCO", "CC=O"),
        ("N[C@@H](C)F", "CC(C)F"),
        ("C1CC[NH2+]CC1", "C1CCNCC1"),
        ("CCCCCC(C)(C)C", "CCCCCC(F)(F)F"),
    ],
)
def test_a_mutation_reaches(smiles, mutant):
    mol, target, rng = Chem.MolFromSmiles(smiles), parse_or_none(mutant).smiles, np.random.default_rng(0)
    assert any(mutate(mol, rng) == target for _ in range(5000))


def test_a_crossing_of_chains_exchanges_their_ends():
    hydrocarbons = {"CC", "CCC", "CCCC", "CCCCC"}
    fluorides = {"CF", "CCF", "CCCCF"}
    alcohols = {"CO", "CCCO", "CCCCO", "OF", "OCF", "OCCF", "OCCCF"}
    assert children("CCO", "CCCF") == hydrocarbons | fluorides | alcohols
    assert {"c1ccc(-c2ccccc2)cc1", "CCl"} <= children("Cc1ccccc1", "Clc1ccccc1")


def test_a_crossing_of_rings_exchanges_their_halves():
    assert children("C1CCCCC1", "C1CCOCC1") >= {"C1CCOC1", "C1CCCOCC1", "C1COC1", "C1CCC1"}
    assert "c1cncnc1" in children("c1ccncc1", "c1ccncc1")
    assert children("C1CCCCC1", "CCO") == frozenset()


@pytest.mark.parametrize("smiles", ["C1CCCCCCC1", "C1CCC2CCCCC2C1", "C1CCCCCCCCCCC1", "OC1CCCCCCCCCC1", *REAL[-3:]])
def test_no_large_ring_is_new(smiles):
    old = [size for size in rings(Chem.MolFromSmiles(smiles)) if size > 8]
    found = [sorted(size for size in rings(Chem.MolFromSmiles(text)) if size > 8) for text in mutants(smiles)]
    assert found
    assert all(sizes in ([], old) for sizes in found)


def test_no_large_ring_is_new_in_a_child():
    assert all(max(rings(Chem.MolFromSmiles(text))) <= 8 for text in children("C1CCCCCC1", "C1CCCCCCC1"))
    sizes = {max(rings(Chem.MolFromSmiles(text))) for text in children("C1CCCCCCCCCCC1", "C1CCCCCCCCCCC1")}
    assert sizes <= {3, 4, 5, 6, 7, 8, 12}


@pytest.mark.parametrize("smiles", ["C1=CCCCC1", "C1=CCCC=C1", "C1=CCCCCCC1", "c1ccccc1", "C1CCNN=NC1"])
def test_no_small_ring_holds_a_linear_atom(smiles):
    for text in mutants(smiles):
        mol = Chem.MolFromSmiles(text)
        Chem.Kekulize(mol, clearAromaticFlags=True)
        assert not any(mol.HasSubstructMatch(pattern) for pattern in LINEAR), text


def test_charge_separated_groups_are_moved_as_a_whole():
    nitro = Chem.MolFromSmarts("[#6,#7,#8,#16;+0][N+](=O)[O-]")
    for text in mutants("O=[N+]([O-])c1ccccc1"):
        mol = Chem.MolFromSmiles(text)
        assert mol.HasSubstructMatch(nitro) == ("+" in text), text
        assert Chem.GetFormalCharge(mol) == 0


@pytest.mark.parametrize(
    ("smiles", "kept"),
    [
        ("N[C@@H](C)F", "N[C@@H](Cl)F"),
        ("N[C@@H](C)F", "N[C@@](O)(C)F"),
        ("N[C@@H](C)F", "N[C@@H](CC)F"),
        ("N[C@@H](CC)F", "N[C@@H](C)F"),
        ("N[C@@](O)(C)F", "N[C@@H](C)F"),
        ("N[C@@H](C)F", "CO[C@@H](C)F"),
    ],
)
def test_a_stereocentre_keeps_its_hand(smiles, kept):
    """A new neighbour takes the place of the old one, also of hydrogen."""
    found = mutants(smiles, 1000)
    assert parse_or_none(kept).smiles in found
    assert parse_or_none(kept.replace("@@", "@")).smiles not in found


def test_a_stereocentre_keeps_its_hand_in_a_child():
    found = children("N[C@@H](C)F", "CCO")
    assert parse_or_none("N[C@@H](CC)F").smiles in found
    assert parse_or_none("OC[C@@H](C)F").smiles in found
    assert parse_or_none("N[C@H](CC)F").smiles not in found
    assert parse_or_none("OC[C@H](C)F").smiles not in found


def test_a_double_bond_keeps_its_side():
    trans, cis = (Chem.MolFromSmarts(smarts) for smarts in ("F/[CH]=[CH]/C", "F/[CH]=[CH]\\C"))
    mols = [Chem.MolFromSmiles(text) for text in mutants("F/C=C/CCCCO")]
    assert sum(mol.HasSubstructMatch(trans, useChirality=True) for mol in mols) > len(mols) / 2
    assert not any(mol.HasSubstructMatch(cis, useChirality=True) for mol in mols)


def test_a_salt_gives_a_child_of_one_part():
    salt = "[Na+].CCC(=O)[O-]"
    assert mutants(salt) == frozenset()
    assert "O=C([O-])O" in children(salt, "CCCO")
    assert not any("." in text for text in children(salt, "CCCO"))
