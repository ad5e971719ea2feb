"""Random edits of molecular graphs: a mutation of one molecule, a crossing of two.

The operators of a genetic algorithm on molecular graphs [J. H. Jensen, Chem. Sci. 10, 3567 (2019)], with a few
moves of medicinal chemistry. An edit is made on a Kekulé form, where each bond has a whole order, and RDKit says
afterwards whether the result is a molecule and what of it is aromatic. Places are found by SMARTS. Where a bond at
a stereocentre is replaced by another, the new neighbour takes the old one's place.
"""

from collections import Counter
from collections.abc import Callable, Sequence
from typing import Final, NamedTuple, TypeVar

import numpy as np
from rdkit import Chem
from rdkit.Chem.rdMolDescriptors import CalcMolFormula

LARGEST_RING: Final = 8
"""Atoms of the largest ring that an edit may make; larger ones only stay where a parent has them."""
LARGEST_GROUP: Final = 8
"""Heavy atoms of the largest group that a mutation exchanges for another one."""

_T = TypeVar("_T")
_Move = Callable[[Chem.RWMol, Chem.Mol, np.random.Generator], bool]

_SINGLE: Final = Chem.BondType.SINGLE
_ORDERS: Final = {1: _SINGLE, 2: Chem.BondType.DOUBLE, 3: Chem.BondType.TRIPLE}

# An atom of a charge-separated group (nitro, N-oxide, azide), which is only ever moved as a whole.
_SPLIT: Final = "$([$([!+0]~[!+0]),$([#7,#8]=[!+0]~[!+0])])"
# Sulfur with more than two bonds, which would take a hydrogen for a single bond that it loses.
_SULFONYL: Final = "$([#16;v4,v6])"
_STRAINED: Final = Chem.MolFromSmarts("[#6,#7;^1;r3,r4,r5,r6,r7,r8]")
_OPEN: Final = {n: Chem.MolFromSmarts(smarts) for n, smarts in enumerate(("[!H0]", "[+0;!H0;!H1]", "[#6;H3,H4]"), 1)}
_SINGLE_BOND: Final = Chem.MolFromSmarts(f"[!{_SPLIT}]-[!{_SPLIT}]")
_CHAIN_BOND: Final = Chem.MolFromSmarts("[!$([!+0]-[!+0])]-!@*")
_RING_BOND: Final = Chem.MolFromSmarts(f"[!{_SPLIT};!{_SULFONYL}]@[!{_SPLIT};!{_SULFONYL}]")
_END: Final = Chem.MolFromSmarts(f"[D1;!{_SPLIT};!$(*-[{_SULFONYL}])]~[!{_SPLIT}]")
_MIDDLE: Final = Chem.MolFromSmarts(f"[!{_SPLIT}]~[D2;!a;!{_SPLIT}]~[!{_SPLIT}]")
_ELEMENT: Final = Chem.MolFromSmarts(f"[#6,#7,#8,#9,#15,#16,#17,#35,#53;!{_SPLIT};!$(*=[{_SULFONYL}])]")
_STIFFER: Final = Chem.MolFromSmarts("[#6,#7;+0;!H0]-,=[#6,#7,#8,#16;+0;!H0]")
_SOFTER: Final = Chem.MolFromSmarts(f"[#6,#7,#8,#16;!{_SPLIT}]=,#,:[#6,#7;!{_SPLIT}]")
_AROMATIC_PAIR: Final = Chem.MolFromSmarts("[cH;R1;r6]:[cH;R1;r6]")
_AROMATIC_HETERO: Final = Chem.MolFromSmarts("c:[nH,o,s;D2;r5;R1;+0]:c")


def _parsed(*groups: str) -> tuple[Chem.Mol, ...]:
    """Kekulé forms of groups, each written from the atom that it is joined by."""
    mols = tuple(Chem.MolFromSmiles(group) for group in groups)
    for mol in mols:
        Chem.Kekulize(mol, clearAromaticFlags=True)
    return mols


# A molecule listed more than once is drawn more often.
_APPENDED: Final = {
    1: _parsed("C", "C", "C", "C", "N", "N", "O", "O", "F", "P", "S", "Cl", "Br", "I"),
    2: _parsed("C", "C", "N", "O", "O", "S"),
    3: _parsed("C", "N", "N"),
}
_GROUPS: Final = (
    *_parsed("C", "C", "O", "N", "F", "Cl", "Br", "C#N", "OC", "C(F)(F)F", "C(N)=O", "NC", "N(C)C", "SC", "CO", "CN"),
    *_parsed("CC", "C(C)C", "C(C)(C)C", "C1CC1", "C=C", "C#C", "C(C)=O", "C(=O)O", "C(=O)OC", "NC(C)=O", "OC(F)F"),
    *_parsed("S(C)(=O)=O", "S(N)(=O)=O", "c1ccccc1", "c1ccccc1", "c1ccncc1", "c1ccco1", "c1cccs1", "[nH]1ccnc1"),
    *_parsed("N1CCOCC1", "N1CCCCC1", "N1CCCC1", "N1CCNCC1", "C1CCCCC1"),
)
_INSERTED: Final = _parsed("C", "C", "C", "N", "N", "O", "O", "S", "C=O", "C=O", "S(=O)=O")
_ELEMENTS: Final = (6, 6, 6, 7, 7, 7, 8, 8, 9, 15, 16, 17, 35, 53)
_VALENCE: Final = {6: 4, 7: 3, 8: 2, 9: 1, 15: 3, 16: 2, 17: 1, 35: 1, 53: 1}
_RING_SIZES: Final = (3, 4, 5, 5, 5, 5, 6, 6, 6, 6, 6, 7)


def mutate(mol: Chem.Mol, rng: np.random.Generator) -> str | None:
    """A molecule that differs from the given one by one random change.

    The change is one of: an atom or group added, an atom inserted, deleted or made another element, a bond order
    changed, a ring closed or opened, a small group exchanged for another, an aromatic ring of six made one of
    five or the reverse. Pure: the same molecule and state of `rng` give the same result.

    Returns:
        The SMILES of a valid molecule of one fragment; None where the change that was drawn is not possible
        here, makes no valid molecule, a new ring of more than 8 atoms, or a linear atom in a ring of up to 8.
        Draw again then.
    """
    edited = _kekule(mol)
    return _finished(edited, mol) if _pick(_MOVES, rng)(edited, mol, rng) else None


def cross(first: Chem.Mol, second: Chem.Mol, rng: np.random.Generator) -> str | None:
    """A molecule made of a piece of one parent and a piece of the other.

    Both are cut at an acyclic single bond, or, where both have rings, as often at two single bonds of a ring.
    Pure: the same molecules and state of `rng` give the same result.

    Returns:
        The SMILES of a valid molecule of one fragment; None where the pieces do not fit, and as for `mutate`.
        Draw again then.
    """
    rings = first.GetRingInfo().NumRings() and second.GetRingInfo().NumRings()
    cut = _ring_piece if rings and rng.random() < 0.5 else _chain_piece
    one, other = cut(first, rng), cut(second, rng)
    if one is None or other is None:
        return None
    joined = _joined(one, other, rng)
    return None if joined is None else _finished(joined, first, second)


def _pick(options: Sequence[_T], rng: np.random.Generator) -> _T:
    return options[int(rng.random() * len(options))]


def _place(mol: Chem.Mol, pattern: Chem.Mol, rng: np.random.Generator) -> tuple[int, ...] | None:
    """The atoms of a random match of a pattern, in the order of the pattern; None where there is none."""
    matches = mol.GetSubstructMatches(pattern)
    return tuple(_pick(matches, rng)) if matches else None


def _kekule(mol: Chem.Mol) -> Chem.RWMol:
    edited = Chem.RWMol(mol)
    Chem.KekulizeIfPossible(edited, clearAromaticFlags=True)
    return edited


def _finished(edited: Chem.RWMol, *parents: Chem.Mol) -> str | None:
    """SMILES of the edited molecule; None where it is invalid, strained, in parts, or one of its parents."""
    if Chem.SanitizeMol(edited, catchErrors=True) != Chem.SanitizeFlags.SANITIZE_NONE:
        return None
    large = _large_rings(edited)
    if large and large - sum((_large_rings(parent) for parent in parents), Counter()):
        return None
    if edited.HasSubstructMatch(_STRAINED) or len(Chem.GetMolFrags(edited)) != 1:
        return None
    smiles = str(Chem.MolToSmiles(edited))
    # Writing SMILES leaves a mark on a molecule, hence the copy; the formula tells most molecules apart sooner.
    formula = CalcMolFormula(edited)
    like = [Chem.Mol(parent) for parent in parents if CalcMolFormula(parent) == formula]
    return None if any(Chem.MolToSmiles(parent) == smiles for parent in like) else smiles


def _large_rings(mol: Chem.Mol) -> Counter[int]:
    """How many rings there are of each size above `LARGEST_RING`."""
    return Counter(size for ring in mol.GetRingInfo().AtomRings() if (size := len(ring)) > LARGEST_RING)


def _release(edited: Chem.RWMol, *places: int) -> None:
    """Let atoms whose bonds change take as many hydrogens as their valence asks for."""
    for place in places:
        atom = edited.GetAtomWithIdx(place)
        atom.SetNoImplicit(False)
        atom.SetNumExplicitHs(0)


def _cut(edited: Chem.RWMol, i: int, j: int) -> None:
    """Remove a bond; at a stereocentre the neighbour that comes next, or hydrogen, takes the place of the lost one."""
    for atom, lost in ((edited.GetAtomWithIdx(i), j), (edited.GetAtomWithIdx(j), i)):
        if atom.GetChiralTag() != Chem.ChiralType.CHI_UNSPECIFIED:
            order = [neighbour.GetIdx() for neighbour in atom.GetNeighbors()]
            if (len(order) - 1 - order.index(lost)) % 2:
                atom.InvertChirality()
    edited.RemoveBond(i, j)


def _drop(edited: Chem.RWMol, places: Sequence[int]) -> None:
    edited.BeginBatchEdit()
    for place in places:
        edited.RemoveAtom(place)
    edited.CommitBatchEdit()


def _attach(edited: Chem.RWMol, place: int, group: Chem.Mol, order: int = 1) -> int:
    """Join the first atom of a group to a place; returns the atom's index."""
    start = int(edited.GetNumAtoms())
    edited.InsertMol(group)
    edited.AddBond(place, start, _ORDERS[order])
    _release(edited, start)
    return start


def _append(edited: Chem.RWMol, mol: Chem.Mol, rng: np.random.Generator) -> bool:
    order = _pick((1, 1, 1, 1, 1, 1, 2, 2, 2, 3), rng)
    place = _place(mol, _OPEN[order], rng)
    if place is None:
        return False
    _release(edited, *place)
    _attach(edited, place[0], _pick(_APPENDED[order], rng), order)
    return True


def _decorate(edited: Chem.RWMol, mol: Chem.Mol, rng: np.random.Generator) -> bool:
    place = _place(mol, _OPEN[1], rng)
    if place is None:
        return False
    _release(edited, *place)
    _attach(edited, place[0], _pick(_GROUPS, rng))
    return True


def _replace(edited: Chem.RWMol, mol: Chem.Mol, rng: np.random.Generator) -> bool:
    """Exchange what hangs on an acyclic single bond, the smaller side of it, for another group."""
    bond = _place(mol, _CHAIN_BOND, rng)
    if bond is None:
        return False
    _cut(edited, *bond)
    lost, kept = sorted((part for part in Chem.GetMolFrags(edited) if {*bond} & {*part}), key=len)
    if len(lost) > LARGEST_GROUP:
        return False
    _attach(edited, bond[0] if bond[0] in kept else bond[1], _pick(_GROUPS, rng))
    _drop(edited, lost)
    return True


def _insert(edited: Chem.RWMol, mol: Chem.Mol, rng: np.random.Generator) -> bool:
    bond = _place(mol, _SINGLE_BOND, rng)
    if bond is None:
        return False
    _cut(edited, *bond)
    edited.AddBond(bond[1], _attach(edited, bond[0], _pick(_INSERTED, rng)), _SINGLE)
    return True


def _delete(edited: Chem.RWMol, mol: Chem.Mol, rng: np.random.Generator) -> bool:
    """Delete an atom at an end, or one between two others, which are then joined."""
    place = _place(mol, _END if rng.random() < 0.5 else _MIDDLE, rng)
    if place is None:
        return False
    _release(edited, *place)
    if len(place) == 2:
        lost, kept = place
        _cut(edited, lost, kept)
    else:
        left, lost, right = place
        if edited.GetBondBetweenAtoms(left, right):
            return False
        _cut(edited, left, lost)
        _cut(edited, lost, right)
        edited.AddBond(left, right, _SINGLE)
    edited.RemoveAtom(lost)
    return True


def _change_element(edited: Chem.RWMol, mol: Chem.Mol, rng: np.random.Generator) -> bool:
    place = _place(mol, _ELEMENT, rng)
    if place is None:
        return False
    atom = edited.GetAtomWithIdx(place[0])
    bonds = atom.GetTotalValence() - atom.GetTotalNumHs()
    old = 0 if atom.GetFormalCharge() else atom.GetAtomicNum()
    options = [number for number in _ELEMENTS if number != old and _VALENCE[number] >= bonds]
    if not options:
        return False
    _become(edited, place[0], _pick(options, rng))
    return True


def _become(edited: Chem.RWMol, place: int, element: int) -> None:
    atom = edited.GetAtomWithIdx(place)
    atom.SetAtomicNum(element)
    atom.SetFormalCharge(0)
    atom.SetIsotope(0)
    _release(edited, place)


def _change_order(edited: Chem.RWMol, mol: Chem.Mol, rng: np.random.Generator) -> bool:
    stiffer = rng.random() < 0.5
    place = _place(mol, _STIFFER if stiffer else _SOFTER, rng)
    if place is None:
        return False
    bond = edited.GetBondBetweenAtoms(*place)
    order = int(bond.GetBondTypeAsDouble()) + (1 if stiffer else -1)
    if order not in _ORDERS:
        return False
    bond.SetBondType(_ORDERS[order])
    _release(edited, *place)
    return True


def _close_ring(edited: Chem.RWMol, mol: Chem.Mol, rng: np.random.Generator) -> bool:
    """Join two atoms at the distance that makes a ring of the size drawn, not across an aromatic ring."""
    places = np.array(mol.GetSubstructMatches(_OPEN[1]), dtype=int).ravel()
    distance = Chem.GetDistanceMatrix(edited)[np.ix_(places, places)]
    pairs = np.argwhere(np.triu(distance == _pick(_RING_SIZES, rng) - 1))
    if not len(pairs):
        return False
    i, j = places[_pick(pairs.tolist(), rng)].tolist()
    if mol.GetAtomWithIdx(i).GetIsAromatic() and mol.GetRingInfo().AreAtomsInSameRing(i, j):
        return False
    edited.AddBond(i, j, _SINGLE)
    _release(edited, i, j)
    return True


def _open_ring(edited: Chem.RWMol, mol: Chem.Mol, rng: np.random.Generator) -> bool:
    bond = _place(mol, _RING_BOND, rng)
    if bond is None:
        return False
    _cut(edited, *bond)
    _release(edited, *bond)
    return True


def _contract(edited: Chem.RWMol, mol: Chem.Mol, rng: np.random.Generator) -> bool:
    """Exchange CH=CH of an aromatic ring of six for NH, O or S."""
    bond = _place(mol, _AROMATIC_PAIR, rng)
    if bond is None or edited.GetBondBetweenAtoms(*bond).GetBondType() == _SINGLE:
        return False
    kept, lost = bond
    beyond = next(atom.GetIdx() for atom in edited.GetAtomWithIdx(lost).GetNeighbors() if atom.GetIdx() != kept)
    _become(edited, kept, _pick((7, 7, 8, 16, 16), rng))
    _cut(edited, lost, beyond)
    edited.AddBond(kept, beyond, _SINGLE)
    edited.RemoveAtom(lost)
    return True


def _expand(edited: Chem.RWMol, mol: Chem.Mol, rng: np.random.Generator) -> bool:
    """Exchange NH, O or S of an aromatic ring of five for CH=CH."""
    place = _place(mol, _AROMATIC_HETERO, rng)
    if place is None:
        return False
    _, hetero, right = place
    _become(edited, hetero, 6)
    _cut(edited, hetero, right)
    added = _attach(edited, hetero, _APPENDED[2][0], 2)
    edited.AddBond(added, right, _SINGLE)
    return True


_MOVES: Final[tuple[_Move, ...]] = (
    *(_append, _append, _decorate, _decorate, _insert, _insert, _delete, _delete, _delete),
    *(_replace, _replace, _replace, _change_element, _change_element, _change_element, _change_element),
    *(_change_order, _change_order, _close_ring, _close_ring, _open_ring, _contract, _expand),
)


class _Piece(NamedTuple):
    """A part of a molecule in Kekulé form, and its atoms by which it was joined to the rest, one for each cut bond."""

    mol: Chem.RWMol
    ends: tuple[int, ...]


def _chain_piece(mol: Chem.Mol, rng: np.random.Generator) -> _Piece | None:
    bond = _place(mol, _CHAIN_BOND, rng)
    return None if bond is None else _piece(_kekule(mol), (bond,), rng)


def _ring_piece(mol: Chem.Mol, rng: np.random.Generator) -> _Piece | None:
    edited = _kekule(mol)
    info = mol.GetRingInfo()
    ring = [edited.GetBondWithIdx(k) for k in _pick(info.BondRings(), rng) if info.NumBondRings(k) == 1]
    bonds = [(bond.GetBeginAtomIdx(), bond.GetEndAtomIdx()) for bond in ring if bond.GetBondType() == _SINGLE]
    if len(bonds) < 2:
        return None
    one = bonds.pop(int(rng.random() * len(bonds)))
    return _piece(edited, (one, _pick(bonds, rng)), rng)


def _piece(edited: Chem.RWMol, bonds: Sequence[tuple[int, ...]], rng: np.random.Generator) -> _Piece | None:
    """Either side of the cut bonds; None where they do not cut the molecule in two."""
    for i, j in bonds:
        _cut(edited, i, j)
    start = _pick(bonds[0], rng)
    kept = next(part for part in Chem.GetMolFrags(edited) if start in part)
    ends = tuple(kept.index(place) for bond in bonds for place in bond if place in kept)
    if len(ends) != len(bonds):
        return None
    _drop(edited, sorted({*range(edited.GetNumAtoms())} - {*kept}))
    return _Piece(edited, ends)


def _joined(one: _Piece, other: _Piece, rng: np.random.Generator) -> Chem.RWMol | None:
    """Two pieces in one molecule, their ends joined; None where that asks for two bonds between the same atoms."""
    edited, shift = one.mol, one.mol.GetNumAtoms()
    edited.InsertMol(other.mol)
    ends = one.ends if rng.random() < 0.5 else one.ends[::-1]
    bonds = {(i, j + shift) for i, j in zip(ends, other.ends, strict=True)}
    if len(bonds) < len(ends):
        return None
    for i, j in sorted(bonds):
        edited.AddBond(i, j, _SINGLE)
    return edited
