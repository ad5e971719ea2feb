"""The types of atoms that SMILES can name, how many bonds each takes, and what it costs to complete one.

The *matching* is that of the aromatic double bonds: an aromatic structure has a Kekulé form exactly if the atoms that
need a double bond can be paired with aromatic neighbours. An atom is MATCHED once it has its partner, else UNMATCHED.
A set of *ways* to leave an atom is 0, UNMATCHED, MATCHED, or both added.
"""

from dataclasses import dataclass, replace
from functools import cache, cached_property, reduce
from operator import or_
from typing import Final

BOND_SUMS: Final = 12
"""Sums of bond orders that are told apart, 0 to 11."""
IMPOSSIBLE: Final = 10_000
"""The cost, in characters, of what cannot be completed: more than any string has."""
UNMATCHED: Final = 1
MATCHED: Final = 2

# Charge → bond orders that a closed-shell atom can have in all, hydrogens included, as RDKit accepts them.
_VALENCES: Final[dict[str, dict[int, tuple[int, ...]]]] = {
    "H": {0: (1,), 1: (0,)},
    "Li": {1: (0,)},
    "B": {0: (3,), -1: (4,)},
    "C": {0: (4,), 1: (3,), -1: (3,)},
    "N": {0: (3,), 1: (4,), -1: (2,)},
    "O": {0: (2,), 1: (3,), -1: (1,), -2: (0,)},
    "F": {0: (1,), -1: (0,)},
    "Na": {1: (0,)},
    "Mg": {2: (0,)},
    "Al": {0: (3,), 3: (0,)},
    "Si": {0: (4,)},
    "P": {0: (3, 5), 1: (4,)},
    "S": {0: (2, 4, 6), 1: (3, 5), -1: (1,), -2: (0,)},
    "Cl": {0: (1,), -1: (0,)},
    "K": {1: (0,)},
    "Ca": {2: (0,)},
    "Zn": {2: (0,)},
    "Ge": {0: (4,)},
    "As": {0: (3, 5), 1: (4,)},
    "Se": {0: (2, 4, 6), 1: (3, 5), -1: (1,)},
    "Br": {0: (1,), -1: (0,)},
    "Sn": {0: (2, 4)},
    "Sb": {0: (3, 5)},
    "Te": {0: (2, 4, 6)},
    "I": {0: (1, 3, 5), -1: (0,)},
}
_ORGANIC: Final = ("B", "C", "N", "O", "P", "S", "F", "Cl", "Br", "I")
_AROMATIC: Final = ("b", "c", "n", "o", "p", "s", "se", "te", "as")
_AROMATIC_BONDS: Final = 3
"""An aromatic atom has at most so many neighbours, hydrogens included."""
_AROMATIC_RING: Final = 5
"""At least so many characters follow the first atom of an aromatic ring, as in ``c1ccc1``."""


@dataclass(frozen=True)
class AtomType:
    """What is written of an atom, without its neighbours, and which sums of bond orders it can have.

    ``final``, ``onward`` and ``eventual`` give, for each sum of bond orders from 0 to BOND_SUMS − 1, the ways in which
    the atom may be left: with that sum, after at least one more bond, or either.

    Attributes:
        symbol: the element's; lower case when aromatic.
        charge: the formal charge.
        hydrogens: how many are written in brackets; None for an atom without brackets, which takes as many as it lacks.
        exocyclic_double: whether an aromatic atom has a double bond that leaves the ring, as in ``c(=O)``.
    """

    symbol: str
    charge: int = 0
    hydrogens: int | None = None
    exocyclic_double: bool = False

    @property
    def aromatic(self) -> bool:
        """Whether it is written in lower case."""
        return self.symbol[0].islower()

    @property
    def with_multiple_bond(self) -> "AtomType | None":
        """Its type once it has a double or triple bond that is written; None where it cannot have one."""
        if not self.aromatic or self.exocyclic_double:
            return self
        plain = self.hydrogens is None and self.symbol in ("c", "s", "p")
        oxide = (self.symbol, self.charge, self.hydrogens) == ("n", 1, 0)
        return replace(self, exocyclic_double=True) if plain or oxide else None

    @cached_property
    def final(self) -> tuple[int, ...]:
        """The ways to leave the atom with each sum of bond orders.

        Bonds between aromatic atoms count one each: a MATCHED atom has one order more than its sum says.
        """
        valences = _VALENCES[self.symbol.capitalize()][self.charge]
        organic = self.hydrogens is None
        if not self.aromatic:
            # hydrogens fill up an atom of the organic subset to its valence; in brackets the sum must be one exactly
            sums = range(valences[-1] + 1) if organic else [v - (self.hydrogens or 0) for v in valences]
            return tuple(UNMATCHED * (total in sums) for total in range(BOND_SUMS))
        if self.exocyclic_double:
            whole = {"c": 4, "n": 4, "s": 4, "p": 5}[self.symbol]
            return tuple(UNMATCHED * (total == whole) for total in range(BOND_SUMS))
        lacking = valences[0] - (self.hydrogens or 0)
        out = []
        for total in range(BOND_SUMS):
            within = 2 <= total <= _AROMATIC_BONDS - (self.hydrogens or 0)
            # carbon without brackets takes a hydrogen if it has two neighbours, so it is matched as with three
            matched = total == lacking - 1 or (organic and self.symbol == "c")
            out.append(within * (MATCHED * matched + UNMATCHED * (total == lacking)))
        return tuple(out)

    @cached_property
    def eventual(self) -> tuple[int, ...]:
        """The ways to leave the atom with each sum of bond orders, or with any higher one."""
        return tuple(a | b for a, b in zip(self.final, self.onward, strict=True))

    @cached_property
    def onward(self) -> tuple[int, ...]:
        """The ways to leave the atom after at least one more bond."""
        more = self.with_multiple_bond
        other = more.final if more is not None and more != self else ()
        ends = [(0, *self.final[k + 1 :], *(other[k + 2 :] if k <= self.max_bonds else ())) for k in range(BOND_SUMS)]
        return tuple(reduce(or_, ways) for ways in ends)

    @property
    def max_bonds(self) -> int:
        """The highest sum of bond orders that an aromatic atom may have; of other atoms, more than any has."""
        return max(k for k, ways in enumerate(self.final) if ways) if self.aromatic else 2 * BOND_SUMS

    def after_bond(self, order: int) -> "AtomType | None":
        """Its type once it has a bond of this order and no other; None where it cannot have that bond."""
        atom = self if order < 2 else self.with_multiple_bond
        return atom if atom is not None and atom.eventual[order] else None


def organic_atoms(characters: str) -> dict[str, AtomType]:
    """The atoms that are written as one of these characters, without brackets, by that character."""
    return {s: AtomType(s) for s in (*_ORGANIC, *_AROMATIC) if len(s) == 1 and s in characters}


def bracket_atoms(characters: str) -> dict[str, AtomType]:
    """The atoms that these characters can write between ``[`` and ``]``, isotopes aside, by what RDKit writes there."""
    found = {}
    for symbol in (*_VALENCES, *_AROMATIC):
        for charge, valences in _VALENCES[symbol.capitalize()].items():
            for hydrogens in range(valences[-1] + 1):
                atom = AtomType(symbol, charge, hydrogens)
                if (symbol == "H" and hydrogens) or not any(atom.final):
                    continue
                stereo = not atom.aromatic and hydrogens < 2 and valences[-1] - hydrogens >= 3
                for mark in ("", "@", "@@")[: 3 if stereo else 1]:
                    text = f"{symbol}{mark}{_count('H', hydrogens)}{_count('+' if charge > 0 else '-', abs(charge))}"
                    if set(text) <= set(characters):
                        found[text] = atom
    return found


def _count(sign: str, n: int) -> str:
    return "" if n == 0 else sign if n == 1 else f"{sign}{n}"


@dataclass(frozen=True)
class CompletionCosts:
    """The fewest characters that complete an atom, if carbons are written as its further neighbours.

    Args:
        characters: those of the vocabulary.
    """

    characters: str

    @cached_property
    def _bonds(self) -> tuple[tuple[int, int], ...]:
        """Orders, and the characters of such a bond and a carbon at its end."""
        signs = ((1, ""), (2, "="), (3, "#"))
        return tuple((order, 1 + len(sign)) for order, sign in signs if set(sign) <= set(self.characters))

    def completion(self, atom: AtomType, total: int) -> int:
        """The cost from a sum of bond orders to one with which the atom may be left."""
        return 0 if atom.final[total] else self.completion_onward(atom, total)

    def completion_onward(self, atom: AtomType, total: int) -> int:
        """The same cost if at least one more bond must follow."""
        return _onward(atom, total, self._bonds, "(" in self.characters and ")" in self.characters)


@cache
def _onward(atom: AtomType, total: int, bonds: tuple[tuple[int, int], ...], branches: bool) -> int:
    best = IMPOSSIBLE
    for order, cost in bonds:
        after = atom if order == 1 else atom.with_multiple_bond
        if after is None or total + order >= BOND_SUMS:
            continue
        if after.final[total + order]:
            best = min(best, cost)
        elif branches and after.eventual[total + order]:  # this neighbour is a branch, in parentheses
            best = min(best, cost + 2 + _onward(after, total + order, bonds, branches))
    return best


CONTEXTS: Final = (
    "nothing",
    "start",
    "single",
    "single to aromatic",
    "double",
    "triple",
    "no aromatic",
    "aromatic",
    "any",
    "matchable",
    "matchable or no aromatic",
)
"""Where an atom is due: which bond leads to it, and which atoms may stand at the end of that bond.

The last five follow an aromatic atom without a bond sign, so the bond to an aromatic atom is aromatic.
"""
AROMATIC_CONTEXTS: Final = ("aromatic", "any", "matchable", "matchable or no aromatic")
"""Contexts in which the bond to an aromatic atom is aromatic."""


def completion_cost(atom: AtomType, context: str, free: bool, full: bool, costs: CompletionCosts) -> int:
    """The fewest characters after an atom that complete it, where it may stand; else IMPOSSIBLE.

    Args:
        atom: its type.
        context: one of CONTEXTS.
        free: whether one more bond than the one that leads to it must be possible.
        full: whether no number is left for another ring, so that no aromatic ring may begin.
        costs: those of completing an atom by carbons.
    """
    if context == "nothing" or not _may_stand(atom, context):
        return IMPOSSIBLE
    order = {"start": 0, "double": 2, "triple": 3}.get(context, 1)
    after = atom.after_bond(order)
    if after is None or not (after.onward if free else after.eventual)[order]:
        return IMPOSSIBLE
    in_ring = atom.aromatic and context in AROMATIC_CONTEXTS
    if atom.aromatic and after.max_bonds - order + in_ring < 2:  # an aromatic atom has two aromatic bonds
        return IMPOSSIBLE
    if not atom.aromatic:
        return costs.completion(after, order)
    # an open ring, whose cost is counted already, completes the atom; otherwise it must begin a ring
    return 0 if in_ring else IMPOSSIBLE if full else _AROMATIC_RING


def _may_stand(atom: AtomType, context: str) -> bool:
    """Whether a context takes such an atom at all."""
    if atom.aromatic and context == "triple":
        return False
    if not atom.aromatic:
        return context not in ("single to aromatic", "aromatic", "matchable")
    if context.startswith("matchable"):
        return bool(atom.eventual[1] & MATCHED)
    return context != "no aromatic"
