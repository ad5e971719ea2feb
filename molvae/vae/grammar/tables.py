"""The vocabulary as the grammar reads it: its atoms, brackets and signs as tables."""

from itertools import product
from typing import Any, Final, NamedTuple

import numpy as np

from molvae.data.vocab import RESERVED, Vocab
from molvae.errors import DataError
from molvae.vae.grammar.automaton import PER_KIND, SIGNS, TIES
from molvae.vae.grammar.valence import CONTEXTS, MATCHED, NEVER, SUMS, UNMATCHED, Costs, Kind, bracketed, organic, price

Array = np.ndarray[Any, Any]

ATOM: Final = np.dtype(
    [
        ("left", "i1", (3, 2)),
        *((name, "i1") for name in ("aromatic", "lonely", "matchable", "tail")),
        *((name, "i2") for name in ("multiple", "full", "more", "fill")),
    ]
)
"""What is known of an atom, see `writing.PER_KIND`.

``left``: how it may be left: now; in the end; in the end, with another bond; without and with a ring that is spare for
a further aromatic bond. ``multiple``: the atom of the kind that it becomes by a multiple bond. ``fill``, ``more``:
fewest characters that complete it, and by at least one more bond. ``lonely``: it lacks an aromatic bond; ``matchable``:
it can have a double bond of the matching. ``full``: the atom that the sign ``tail``, l or r, makes of it.
"""


class Lexicon(NamedTuple):
    """Tables of a vocabulary.

    Attributes:
        atoms: ATOM of each.
        following: node after a character, ``(node, character)``; 0 where there is none. Node 0 is outside of brackets.
        complete: the atom that is complete at a node, else 0.
        cost: fewest characters after a character that complete the atom, ``(node, path, character)``; a path is one
            of CONTEXTS, without and with a bond that must stay free, with and without a ring number.
        least: fewest characters of an atom after each bond sign, what completes it included.
        sign: which of SIGNS each character is.
        numbers: of rings that can be written.
    """

    atoms: Array
    following: Array
    complete: Array
    cost: Array
    least: Array
    sign: Array
    numbers: int


def rings(vocab: Vocab) -> int:
    """Ring numbers that are kept, from 0."""
    return 100 if "%" in vocab.characters else 1 + max([0, *(int(c) for c in vocab.characters if c.isdigit())])


def lexicon(vocab: Vocab) -> Lexicon:
    """The tables of a vocabulary.

    Raises:
        DataError: it has no carbon, with which the grammar completes what is open.
    """
    if "C" not in vocab.characters:
        raise DataError(
            f"the grammar needs C in the vocabulary, which has {vocab.characters!r}; decode with grammar=False"
        )
    tree, costs = _Tree(vocab.characters), Costs(vocab.characters)
    kinds = _closed([*tree.kinds, Kind("Cl"), Kind("Br")])
    following, cost = tree.tables(vocab, costs)
    least = 1 + cost[0].reshape(len(CONTEXTS), 4, -1)[:, 2].min(1)
    signs = ["end", "", *("/" if c == "\\" else c for c in vocab.characters)]
    return Lexicon(
        atoms=_atoms(kinds, costs),
        following=following,
        complete=np.array([0 if kind is None else (1 + kinds.index(kind)) * PER_KIND for kind in tree.kind_at]),
        cost=cost,
        least=least[[CONTEXTS.index(to) for to in ("any", "single to aromatic", "double", "triple", "single")]],
        sign=np.array([SIGNS.index(sign) if sign in SIGNS else 0 for sign in signs]),
        numbers=100 if "%" in vocab.characters else sum(c.isdigit() for c in vocab.characters),
    )


def _atoms(kinds: list[Kind], costs: Costs) -> Array:
    """ATOM of every atom; of those that no bonds can make, as of the first one, which stands for none, all is 0."""
    table = np.zeros((1 + len(kinds), PER_KIND // TIES, TIES), ATOM)
    first = {kind: PER_KIND * k for k, kind in enumerate(kinds, 1)}
    halogens = {Kind("C"): ("l", Kind("Cl")), Kind("B"): ("r", Kind("Br"))}
    for k, kind in enumerate(kinds, 1):
        sign, full = halogens.get(kind, ("", kind))
        more = kind.after_multiple
        table[k, :2]["tail"] = SIGNS.index(sign)  # a halogen has one bond
        table[k]["aromatic"] = kind.aromatic
        for used, ties in product(range(SUMS), range(TIES)):
            atom, bonds = table[k, used, ties], TIES * used + ties
            atom["multiple"] = first[more] + bonds if more else 0
            atom["full"] = first[full] + bonds
            atom["fill"], atom["more"] = costs.fill(kind, used), costs.more(kind, used)
            atom["lonely"] = kind.aromatic and ties < 2
            atom["matchable"] = kind.reach[used] & MATCHED != 0
            atom["left"] = list(zip(*(_left(kind, used, ties, spare) for spare in (False, True)), strict=True))
    return table.reshape(-1)


def _left(kind: Kind, used: int, ties: int, spare: bool) -> tuple[int, int, int]:
    """How an atom may be left: now; in the end; in the end, with another bond."""
    tied, more = not kind.aromatic or ties > 1, kind.aromatic and spare
    unmatched = UNMATCHED if more and kind.onward[used] & MATCHED else 0
    enough = tied or (more and kind.capacity - used + ties > 1)
    on = kind.onward[used] | unmatched
    last = kind.reach[used] | unmatched if tied else on
    return kind.final[used] * tied, last * enough, on * enough


def _closed(kinds: list[Kind]) -> list[Kind]:
    """These kinds, each once, and what they become by multiple bonds."""
    after = [kind.after_multiple for kind in kinds]
    return list(dict.fromkeys([*kinds, *(kind for kind in after if kind is not None)]))


class _Tree:
    """All atoms as paths of characters: of one character outside of brackets, else from ``[`` to ``]``.

    Attributes:
        children: of each node, the next node by character; node 0 is outside of brackets.
        kind_at: the atom that is complete at a node.
    """

    def __init__(self, characters: str) -> None:
        self.children: list[dict[str, int]] = [{}]
        self.kind_at: list[Kind | None] = [None]
        for symbol, kind in organic(characters).items():
            self._path(symbol, kind)
        if {"[", "]"} <= set(characters):
            for text, kind in bracketed(characters).items():
                self._path(f"[{text}]", kind)
            self._isotopes([c for c in characters if c in "0123456789"])

    @property
    def kinds(self) -> list[Kind]:
        """Each atom that can be written, once."""
        return list(dict.fromkeys(kind for kind in self.kind_at if kind is not None))

    def tables(self, vocab: Vocab, costs: Costs) -> tuple[Array, Array]:
        """Of each node, the next node by character, and what each character costs, see `Lexicon`."""
        paths = list(product(CONTEXTS, (False, True), (False, True)))
        following = np.zeros((len(self.children), len(vocab)), np.int16)
        cost = np.full((len(self.children), len(paths), len(vocab)), NEVER, np.int16)
        after = np.array([self._costs(*path, costs) for path in paths])
        for node, children in enumerate(self.children):
            for character, child in children.items():
                k = vocab.characters.index(character) + RESERVED
                following[node, k], cost[node, :, k] = child, after[:, child]
        return following, cost

    def _costs(self, context: str, free: bool, full: bool, costs: Costs) -> list[int]:
        """Of each node, the fewest characters after it that complete the atom where it may stand, else NEVER."""
        known: dict[int, int] = {}

        def cost(node: int) -> int:
            if node not in known:
                kind = self.kind_at[node]
                below = [1 + cost(child) for child in self.children[node].values()]
                known[node] = min([NEVER, *below]) if kind is None else price(kind, context, free, full, costs)
            return known[node]

        return [cost(node) for node in range(len(self.children))]

    def _path(self, text: str, kind: Kind) -> None:
        node = 0
        for character in text:
            if character not in self.children[node]:
                self.children[node][character] = self._node({})
            node = self.children[node][character]
        self.kind_at[node] = kind

    def _node(self, children: dict[str, int]) -> int:
        self.children.append(children)
        self.kind_at.append(None)
        return len(self.children) - 1

    def _isotopes(self, digits: list[str]) -> None:
        """One to three digits after ``[``, the first no zero; then the symbols."""
        node = self.children[0].get("[")
        symbols = dict(self.children[node]) if node is not None else {}
        for place in range(3):
            child = self._node(dict(symbols))
            for digit in digits if node is not None else []:
                if place or digit != "0":
                    self.children[node][digit] = child  # type: ignore[index]
            node = child if node is not None else None
