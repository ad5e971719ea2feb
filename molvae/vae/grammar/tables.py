"""The transition tables of a vocabulary: what the compiled automaton knows of its atoms, brackets and signs."""

from itertools import product
from typing import Any, Final, NamedTuple

import numpy as np

from molvae.data.vocab import RESERVED, Vocab
from molvae.errors import DataError
from molvae.vae.grammar.automaton import AROMATIC_COUNTS, SIGNS, STATES_PER_TYPE
from molvae.vae.grammar.valence import (
    BOND_SUMS,
    CONTEXTS,
    IMPOSSIBLE,
    MATCHED,
    UNMATCHED,
    AtomType,
    CompletionCosts,
    bracket_atoms,
    completion_cost,
    organic_atoms,
)

Array = np.ndarray[Any, Any]

ATOM: Final = np.dtype(
    [
        ("ways", "i1", (3, 2)),
        *((name, "i1") for name in ("aromatic", "needs_aromatic", "matchable", "second_letter")),
        *((name, "i2") for name in ("multiple", "two_letters", "completion_onward", "completion")),
    ]
)
"""What is known of an atom state, that is, of a type, a sum of bond orders and a number of aromatic bonds.

``ways``: those to leave the atom, see `valence`, with the bonds that it has, with these or more, and with more; each
without and with an open ring that is spare for a further aromatic bond. ``needs_aromatic``: whether it is an aromatic
atom with fewer than two aromatic bonds. ``matchable``: whether its double bond can be an aromatic one. ``multiple``:
the state with the same bonds of the type that it has after a multiple bond; 0 where it can have none. ``completion``,
``completion_onward``: the fewest characters that complete it, and that do so by at least one more bond.
``two_letters``: the state that the sign ``second_letter`` (the l of Cl, the r of Br) makes of it.
"""


class TransitionTables(NamedTuple):
    """The tables of a vocabulary.

    A *node* is a place in the spelling of atoms: node 0 is outside of brackets, others are inside or behind an atom.

    Attributes:
        atoms: ATOM of each atom state.
        next_node: the node after a character, ``(node, character)``; 0 where there is none.
        atom_at: the first state of the atom type that is complete at a node, else 0.
        cost: the fewest characters after a character that complete the atom, ``(node, path, character)``; a path is one
            of CONTEXTS, without and with a bond that must stay free, with and without a free ring number.
        bond_cost: the fewest characters of an atom after each bond sign, those that complete it included.
        sign: which of SIGNS each character is.
        ring_numbers: how many rings can be open at a time.
        highest_ring: the highest number that a ring can have.
    """

    atoms: Array
    next_node: Array
    atom_at: Array
    cost: Array
    bond_cost: Array
    sign: Array
    ring_numbers: int
    highest_ring: int


def transition_tables(vocab: Vocab) -> TransitionTables:
    """The tables of a vocabulary.

    Raises:
        DataError: it has no carbon, with which the grammar completes what is open.
    """
    if "C" not in vocab.characters:
        raise DataError(
            f"the grammar needs C in the vocabulary, which has {vocab.characters!r}; decode with grammar=False"
        )
    spellings, costs = _Spellings(vocab.characters), CompletionCosts(vocab.characters)
    types = _with_successors([*spellings.types, AtomType("Cl"), AtomType("Br")])
    next_node, cost = spellings.tables(vocab, costs)
    # path 2 of each context's four: a further bond stays free, and so does a ring number
    bond_cost = 1 + cost[0].reshape(len(CONTEXTS), 4, -1)[:, 2].min(1)
    digits = [int(c) for c in vocab.characters if c in "0123456789"]
    signs = ["end", "", *("/" if c == "\\" else c for c in vocab.characters)]
    return TransitionTables(
        atoms=_atoms(types, costs),
        next_node=next_node,
        atom_at=np.array([0 if a is None else (1 + types.index(a)) * STATES_PER_TYPE for a in spellings.type_at]),
        cost=cost,
        bond_cost=bond_cost[[CONTEXTS.index(to) for to in ("any", "single to aromatic", "double", "triple", "single")]],
        sign=np.array([SIGNS.index(sign) if sign in SIGNS else 0 for sign in signs]),
        ring_numbers=100 if "%" in vocab.characters else len(digits),
        highest_ring=99 if "%" in vocab.characters else max([0, *digits]),
    )


def _atoms(types: list[AtomType], costs: CompletionCosts) -> Array:
    """ATOM of every atom state; all is 0 in those that bonds cannot make, as in the first, which stands for no atom."""
    table = np.zeros((1 + len(types), STATES_PER_TYPE // AROMATIC_COUNTS, AROMATIC_COUNTS), ATOM)
    first = {atom_type: STATES_PER_TYPE * k for k, atom_type in enumerate(types, 1)}
    halogens = {AtomType("C"): ("l", AtomType("Cl")), AtomType("B"): ("r", AtomType("Br"))}
    for k, atom_type in enumerate(types, 1):
        sign, halogen = halogens.get(atom_type, ("", atom_type))
        multiple = atom_type.with_multiple_bond
        table[k, :2]["second_letter"] = SIGNS.index(sign)  # a halogen has one bond
        table[k]["aromatic"] = atom_type.aromatic
        for total, aromatic in product(range(BOND_SUMS), range(AROMATIC_COUNTS)):
            atom, bonds = table[k, total, aromatic], AROMATIC_COUNTS * total + aromatic
            atom["multiple"] = first[multiple] + bonds if multiple else 0
            atom["two_letters"] = first[halogen] + bonds
            atom["completion"] = costs.completion(atom_type, total)
            atom["completion_onward"] = costs.completion_onward(atom_type, total)
            atom["needs_aromatic"] = atom_type.aromatic and aromatic < 2
            atom["matchable"] = atom_type.eventual[total] & MATCHED != 0
            ways = [_ways(atom_type, total, aromatic, spare) for spare in (False, True)]
            atom["ways"] = list(zip(*ways, strict=True))
    return table.reshape(-1)


def _ways(atom_type: AtomType, total: int, aromatic: int, spare: bool) -> tuple[int, int, int]:
    """The ways to leave an atom: with the bonds that it has, with these or more, and with more.

    Args:
        atom_type: its type.
        total: the sum of its bond orders.
        aromatic: the number of its aromatic bonds; an aromatic atom needs two.
        spare: whether a ring is open that a further aromatic bond can be part of.
    """
    enough, another = not atom_type.aromatic or aromatic > 1, atom_type.aromatic and spare
    # an atom whose double bond can be a later aromatic bond may be left unmatched now
    later = UNMATCHED if another and atom_type.onward[total] & MATCHED else 0
    can_have_two = enough or (another and atom_type.max_bonds - total + aromatic > 1)
    onward = atom_type.onward[total] | later
    eventual = atom_type.eventual[total] | later if enough else onward
    return atom_type.final[total] * enough, eventual * can_have_two, onward * can_have_two


def _with_successors(types: list[AtomType]) -> list[AtomType]:
    """These types, each once, and those that they become by multiple bonds."""
    successors = [atom_type.with_multiple_bond for atom_type in types]
    return list(dict.fromkeys([*types, *(atom_type for atom_type in successors if atom_type is not None)]))


class _Spellings:
    """All atoms as paths of characters through a tree: of one character outside of brackets, else from ``[`` to ``]``.

    Attributes:
        children: for each node, the next node by character; node 0 is outside of brackets.
        type_at: the atom type that is complete at a node.
    """

    def __init__(self, characters: str) -> None:
        self.children: list[dict[str, int]] = [{}]
        self.type_at: list[AtomType | None] = [None]
        for symbol, atom_type in organic_atoms(characters).items():
            self._add_path(symbol, atom_type)
        if {"[", "]"} <= set(characters):
            for text, atom_type in bracket_atoms(characters).items():
                self._add_path(f"[{text}]", atom_type)
            self._add_isotopes([c for c in characters if c in "0123456789"])

    @property
    def types(self) -> list[AtomType]:
        """Each atom type that can be written, once."""
        return list(dict.fromkeys(atom_type for atom_type in self.type_at if atom_type is not None))

    def tables(self, vocab: Vocab, costs: CompletionCosts) -> tuple[Array, Array]:
        """For each node, the next node by character, and the cost after each character, see `TransitionTables`."""
        paths = list(product(CONTEXTS, (False, True), (False, True)))
        next_node = np.zeros((len(self.children), len(vocab)), np.int16)
        cost = np.full((len(self.children), len(paths), len(vocab)), IMPOSSIBLE, np.int16)
        after = np.array([self._costs(*path, costs) for path in paths])
        for node, children in enumerate(self.children):
            for character, child in children.items():
                k = vocab.characters.index(character) + RESERVED
                next_node[node, k], cost[node, :, k] = child, after[:, child]
        return next_node, cost

    def _costs(self, context: str, free: bool, full: bool, costs: CompletionCosts) -> list[int]:
        """For each node, the fewest characters that complete the atom where it may stand, else IMPOSSIBLE."""
        known: dict[int, int] = {}

        def cost(node: int) -> int:
            if node not in known:
                atom_type = self.type_at[node]
                below = [1 + cost(child) for child in self.children[node].values()]
                known[node] = (
                    min([IMPOSSIBLE, *below])
                    if atom_type is None
                    else completion_cost(atom_type, context, free, full, costs)
                )
            return known[node]

        return [cost(node) for node in range(len(self.children))]

    def _add_path(self, text: str, atom_type: AtomType) -> None:
        node = 0
        for character in text:
            if character not in self.children[node]:
                self.children[node][character] = self._add_node({})
            node = self.children[node][character]
        self.type_at[node] = atom_type

    def _add_node(self, children: dict[str, int]) -> int:
        self.children.append(children)
        self.type_at.append(None)
        return len(self.children) - 1

    def _add_isotopes(self, digits: list[str]) -> None:
        """One to three digits after ``[``, the first no zero, lead to nodes from which the same symbols follow."""
        node = self.children[0].get("[")
        if node is None:
            return
        symbols = dict(self.children[node])
        for place in range(3):
            child = self._add_node(dict(symbols))
            for digit in digits:
                if place or digit != "0":
                    self.children[node][digit] = child
            node = child
