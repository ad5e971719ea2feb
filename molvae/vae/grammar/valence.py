"""The atoms that SMILES can name, how many bonds each takes, and what it costs to complete one."""

from dataclasses import dataclass, replace
from functools import cache, cached_property, reduce
from operator import or_
from typing import Final

SUMS: Final = 12
"""Sums of bond orders that are told apart, 0 to 11."""
NEVER: Final = 10_000
"""Characters of what cannot be had."""
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
"""Most neighbours, hydrogens included, of an aromatic atom."""
_AROMATIC_RING: Final = 5
"""Characters that follow the first atom of an aromatic ring at least, as in ``c1ccc1``."""


@dataclass(frozen=True)
class Kind:
    """An atom as it is written, without its neighbours.

    Attributes:
        symbol: lower case when aromatic.
        charge: formal charge.
        hydrogens: written in brackets; None for an atom without brackets, which takes as many as it lacks.
        doubled: of an aromatic atom, whether it has a double bond that leaves the ring, as in ``c(=O)``.
    """

    symbol: str
    charge: int = 0
    hydrogens: int | None = None
    doubled: bool = False

    @property
    def aromatic(self) -> bool:
        """Whether it is written in lower case."""
        return self.symbol[0].islower()

    @property
    def after_multiple(self) -> "Kind | None":
        """What it is once it has a multiple bond that is written; None where it cannot have one."""
        if not self.aromatic or self.doubled:
            return self
        plain = self.hydrogens is None and self.symbol in ("c", "s", "p")
        oxide = (self.symbol, self.charge, self.hydrogens) == ("n", 1, 0)
        return replace(self, doubled=True) if plain or oxide else None

    @cached_property
    def final(self) -> tuple[int, ...]:
        """For each sum of bond orders, how the atom may be left: 0, UNMATCHED, MATCHED or both added.

        The bonds between aromatic atoms count one each; MATCHED stands for an atom that has the double one among them.
        """
        valences = _VALENCES[self.symbol.capitalize()][self.charge]
        bare = self.hydrogens is None
        if not self.aromatic:
            sums = range(valences[-1] + 1) if bare else [v - (self.hydrogens or 0) for v in valences]
            return tuple(UNMATCHED * (total in sums) for total in range(SUMS))
        if self.doubled:
            whole = {"c": 4, "n": 4, "s": 4, "p": 5}[self.symbol]
            return tuple(UNMATCHED * (total == whole) for total in range(SUMS))
        lacking = valences[0] - (self.hydrogens or 0)
        out = []
        for total in range(SUMS):
            within = 2 <= total <= _AROMATIC_BONDS - (self.hydrogens or 0)
            matched = total == lacking - 1 or (bare and self.symbol == "c")
            out.append(within * (MATCHED * matched + UNMATCHED * (total == lacking)))
        return tuple(out)

    @property
    def reach(self) -> tuple[int, ...]:
        """As `final`, of this sum or any higher one."""
        return tuple(a | b for a, b in zip(self.final, self.onward, strict=True))

    @cached_property
    def onward(self) -> tuple[int, ...]:
        """As `final`, after at least one more bond."""
        more = self.after_multiple
        doubled = more.final if more is not None and more != self else ()
        ends = [(0, *self.final[k + 1 :], *(doubled[k + 2 :] if k <= self.capacity else ())) for k in range(SUMS)]
        return tuple(reduce(or_, lefts) for lefts in ends)

    @property
    def capacity(self) -> int:
        """Most bonds an aromatic atom may have; of others, more than enough."""
        return max(k for k, left in enumerate(self.final) if left) if self.aromatic else 2 * SUMS

    def accepts(self, order: int) -> "Kind | None":
        """What it becomes by one bond of this order, if it can have one."""
        kind = self if order < 2 else self.after_multiple
        return kind if kind is not None and kind.reach[order] else None


def organic(characters: str) -> dict[str, Kind]:
    """The atoms that are written as one character, without brackets."""
    return {s: Kind(s) for s in (*_ORGANIC, *_AROMATIC) if len(s) == 1 and s in characters}


def bracketed(characters: str) -> dict[str, Kind]:
    """What can be written between ``[`` and ``]`` with these characters, isotopes aside, in canonical form."""
    found = {}
    for symbol in (*_VALENCES, *_AROMATIC):
        for charge, valences in _VALENCES[symbol.capitalize()].items():
            for hydrogens in range(valences[-1] + 1):
                kind = Kind(symbol, charge, hydrogens)
                if (symbol == "H" and hydrogens) or not any(kind.final):
                    continue
                stereo = not kind.aromatic and hydrogens < 2 and valences[-1] - hydrogens >= 3
                for mark in ("", "@", "@@")[: 3 if stereo else 1]:
                    text = f"{symbol}{mark}{_count('H', hydrogens)}{_count('+' if charge > 0 else '-', abs(charge))}"
                    if set(text) <= set(characters):
                        found[text] = kind
    return found


def _count(sign: str, n: int) -> str:
    return "" if n == 0 else sign if n == 1 else f"{sign}{n}"


@dataclass(frozen=True)
class Costs:
    """Fewest characters that complete an atom, by neighbours that are carbons.

    Args:
        characters: of the vocabulary.
    """

    characters: str

    @cached_property
    def _bonds(self) -> tuple[tuple[int, int], ...]:
        """Orders, and the characters of such a bond and a carbon at its end."""
        signs = ((1, ""), (2, "="), (3, "#"))
        return tuple((order, 1 + len(sign)) for order, sign in signs if set(sign) <= set(self.characters))

    def fill(self, kind: Kind, total: int, left: int = UNMATCHED | MATCHED) -> int:
        """From a sum of bond orders to one at which the atom may be ``left``."""
        return 0 if kind.final[total] & left else self.more(kind, total, left)

    def more(self, kind: Kind, total: int, left: int = UNMATCHED | MATCHED) -> int:
        """As `fill`, with at least one more bond."""
        return _more(kind, total, left, self._bonds, "(" in self.characters and ")" in self.characters)


@cache
def _more(kind: Kind, total: int, left: int, bonds: tuple[tuple[int, int], ...], branches: bool) -> int:
    best = NEVER
    for order, cost in bonds:
        after = kind if order == 1 else kind.after_multiple
        if after is None or total + order >= SUMS:
            continue
        if after.final[total + order] & left:
            best = min(best, cost)
        elif branches and after.reach[total + order]:
            best = min(best, cost + 2 + _more(after, total + order, left, bonds, branches))
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
"""What may come where an atom is due: which bond leads there, and which atoms may stand at its end.

The last five follow an aromatic atom without a bond sign, so the bond to an aromatic atom is aromatic.
"""


def price(kind: Kind, context: str, free: bool, full: bool, costs: Costs) -> int:
    """Fewest characters after this atom that complete it, where it may stand; else NEVER.

    Args:
        kind: the atom.
        context: one of CONTEXTS.
        free: whether one more bond than the one that leads here must be possible.
        full: whether no number is left for another ring, so that no aromatic ring may begin.
        costs: of completing an atom.
    """
    if context == "nothing" or not _stands(kind, context):
        return NEVER
    order = {"start": 0, "double": 2, "triple": 3}.get(context, 1)
    after = kind.accepts(order)
    if after is None or not (after.onward if free else after.reach)[order]:
        return NEVER
    in_ring = kind.aromatic and context in ("aromatic", "any", "matchable", "matchable or no aromatic")
    if kind.aromatic and after.capacity - order + in_ring < 2:  # an aromatic atom has two aromatic bonds
        return NEVER
    if not kind.aromatic:
        return costs.fill(after, order)
    return 0 if in_ring else NEVER if full else _AROMATIC_RING


def _stands(kind: Kind, context: str) -> bool:
    if kind.aromatic and context == "triple":
        return False
    if not kind.aromatic:
        return context not in ("single to aromatic", "aromatic", "matchable")
    if context.startswith("matchable"):
        return bool(kind.reach[1] & MATCHED)
    return context != "no aromatic"
