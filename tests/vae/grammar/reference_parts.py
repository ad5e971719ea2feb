"""The parts of `reference.py`: atoms, rings, spelling, and the matching of aromatic double bonds as sets of sets."""

from dataclasses import dataclass
from functools import cache, cached_property
from typing import Any, Final, NamedTuple, Self

from molvae.vae.grammar.valence import (
    BOND_SUMS,
    MATCHED,
    UNMATCHED,
    AtomType,
    CompletionCosts,
    bracket_atoms,
    completion_cost,
    organic_atoms,
)

MAX_NAMES: Final = 5
"""A matching tells apart so many waiting atoms and open rings, at most."""
FINAL, EVENTUAL, ONWARD = "with these bonds", "with these bonds or more", "with more bonds"

# The ways to leave an atom: True where it may be matched, that is, have its aromatic double bond; False where it may
# lack one so far.
Ways = frozenset[bool]
NO_WAY: Final[Ways] = frozenset()


class Bonds(NamedTuple):
    """An atom without its place: its type, the sum of its bond orders, and how many of the bonds are aromatic."""

    type: AtomType
    total: int = 0
    aromatic: int = 0

    def after(self, order: int, aromatic: bool = False) -> Self | None:
        """The same atom with another bond; None where it cannot have one of this order."""
        after = self.type if order == 1 else self.type.with_multiple_bond
        fits = after is not None and self.total + order < BOND_SUMS
        return Bonds(after, self.total + order, self.aromatic + aromatic) if fits else None

    @property
    def needs_aromatic(self) -> bool:
        """An aromatic atom has at least two aromatic bonds."""
        return self.type.aromatic and self.aromatic < 2


def ways(bonds: Bonds | None, when: str, spare: int) -> Ways:
    """The ways to leave an atom.

    Args:
        bonds: its own; None for an atom that cannot be.
        when: one of FINAL, EVENTUAL and ONWARD.
        spare: the number of open rings that further aromatic bonds of it can be part of.
    """
    if bonds is None:
        return NO_WAY
    atom_type, total = bonds.type, bonds.total
    final, onward = as_ways(atom_type.final[total]), as_ways(atom_type.onward[total])
    if when == FINAL:
        return NO_WAY if bonds.needs_aromatic else final
    another = atom_type.aromatic and spare > 0
    if another and True in onward:
        onward |= {False}  # a later aromatic bond can be its double bond
    if bonds.needs_aromatic and not (another and atom_type.max_bonds - total > 1 - bonds.aromatic):
        return NO_WAY  # it cannot get the aromatic bonds that it lacks
    return onward if when == ONWARD or bonds.needs_aromatic else final | onward


def as_ways(bits: int) -> Ways:
    """The ways that `valence` writes as a number."""
    return frozenset(matched for matched, bit in ((False, UNMATCHED), (True, MATCHED)) if bits & bit)


HERE: Final = "here"
Configurations = set[frozenset[Any]]
NONE: Final = frozenset[Any]()


class Matching:
    """What the matching of aromatic double bonds can be so far.

    Attributes:
        possible: the configurations. Each is the set of those that have their double bond: HERE for the current atom,
            an `Atom` that waits for the end of a branch, and a `Ring` whose bond *is* the double bond of its two ends.
        names: the waiting atoms and open rings that may be in it.
    """

    def __init__(self, possible: Configurations) -> None:
        self.possible = possible
        self.names: set[Any] = set()

    @property
    def full(self) -> bool:
        """Whether it has no name for a further atom or ring."""
        return len(self.names) == MAX_NAMES


def leave(possible: Configurations, how: Ways) -> Configurations:
    """The configurations in which the current atom may be left like this."""
    return {one for one in possible if (HERE in one) in how}


def forget(possible: Configurations) -> Configurations:
    """The configurations without the current atom."""
    return {one - {HERE} for one in possible}


def may_match(possible: Configurations, *names: Any) -> Configurations:
    """The current atom gets its double bond, or not; if it does, so do those that are named."""
    return possible | {one | {HERE, *names} for one in possible if HERE not in one}


def follow_aromatic(possible: Configurations, how: Ways, *waiting: Any) -> Configurations:
    """An aromatic bond leads from the current atom, left like this, to the next, which becomes HERE."""
    found = set()
    for one in possible:
        if HERE in one and True in how:
            found.add(one - {HERE} | {*waiting})  # it has its double bond already
        if HERE not in one and True in how:
            found.add(one | {HERE, *waiting})  # this is the double bond, of both
        if HERE not in one and False in how:
            found.add(one)  # it has none, or none yet
    return found


def split(possible: Configurations, name: Any) -> tuple[Configurations, Configurations]:
    """The configurations without a name, and those with it, which is taken away."""
    return {one for one in possible if name not in one}, {one - {name} for one in possible if name in one}


def end_aromatic(single: Configurations, double: Configurations) -> Configurations:
    """An aromatic ring bond ends at the current atom; where it is double, the atom had none, and has it now."""
    return single | {one | {HERE} for one in double if HERE not in one}


def after_ring(possible: Configurations, ring: Any, bond: str, matched: bool, unmatched: bool) -> Configurations:
    """The configurations of the first atom's matching after a ring ended at an atom of another one.

    Args:
        possible: those before.
        ring: the one that ended.
        bond: the sign of its bond.
        matched: whether the bond can be the double bond of both its ends.
        unmatched: whether the atom at which it ended can have had none.
    """
    single, double = split(possible, ring)
    if bond == "=":
        return double
    return single | (double if matched and unmatched else set())


@dataclass(eq=False)
class Atom:
    """An atom of the string.

    Attributes:
        bonds: its type and its bonds so far.
        parent: the atom that it was written after, None for the first.
        matching: the one that it is part of.
        ringless: whether it is bound to its parent by an aromatic bond that is in no ring yet.
        named: whether its matching has a name for it while it waits for the end of a branch.
        ring_neighbours: atoms that are bound to it by rings which began at it.
    """

    bonds: Bonds
    parent: Self | None
    matching: Matching
    ringless: bool = False
    named: bool = False
    ring_neighbours: tuple[Any, ...] = ()

    @property
    def aromatic(self) -> bool:
        return self.bonds.type.aromatic

    @cached_property
    def path(self) -> tuple[Any, ...]:
        """The atoms from this one back to the first."""
        return (self, *(self.parent.path if self.parent else ()))


@dataclass(eq=False)
class Ring:
    """An open ring: its first atom, and the matching that has a name for its bond, if one has."""

    first: Atom
    matching: Matching | None


def between_ends(atom: Atom, ring: Ring) -> list[Atom]:
    """The atoms of a ring from this one back to its first, which is left out."""
    return [one for one in atom.path if one not in ring.first.path]


@cache
def spellings(characters: str) -> dict[str, AtomType]:
    """The atoms that these characters can write, isotopes aside."""
    brackets = bracket_atoms(characters) if {"[", "]"} <= set(characters) else {}
    return {**organic_atoms(characters), **{f"[{text}]": atom_type for text, atom_type in brackets.items()}}


@cache
def spelling_costs(characters: str, context: str, goes_on: bool, full: bool) -> dict[str, int]:
    """For each beginning of an atom, the fewest characters after it that complete the atom, where it may stand.

    Args:
        characters: those that can be written.
        context: where the atom is due.
        goes_on: whether it must be able to have another bond.
        full: whether there is no number for another ring.
    """
    found: dict[str, int] = {}
    for text, atom_type in spellings(characters).items():
        cost = completion_cost(atom_type, context, goes_on, full, CompletionCosts(characters))
        for k in range(1, len(text) + 1):
            found[text[:k]] = min(found.get(text[:k], cost + len(text) - k), cost + len(text) - k)
    return found


def without_isotope(text: str) -> str:
    """What is written of an atom without up to three digits after the bracket; nothing if these make no isotope."""
    digits = text[1 : len(text) - len(text[1:].lstrip("0123456789"))] if text[0] == "[" else ""
    return "" if len(digits) > 3 or digits.startswith("0") else text[:1] + text[1 + len(digits) :]
