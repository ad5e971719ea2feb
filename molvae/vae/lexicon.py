"""The vocabulary as the grammar reads it: its atoms, brackets and signs as tables."""

from dataclasses import dataclass, replace
from itertools import product
from typing import Final, Self

import torch
from torch import Tensor

from molvae.errors import DataError
from molvae.vae import matching
from molvae.vae.atoms import CONTEXTS, NEVER, Costs, Kind, bracketed, organic, price
from molvae.vae.bonding import CHOICES, FIELD, NONE, PER_KIND, Bonding, bonding
from molvae.vae.vocab import END, RESERVED, Vocab

SIGNS: Final = ("", "end", "(", ")", "-", "=", "#", "/", ".", "l", "r", "%", *"0123456789")
"""What has a meaning outside of brackets and is no atom; the first stands for the rest."""
DIGIT: Final = SIGNS.index("0")
PATHS: Final = len(CONTEXTS) * 4
"""Contexts in which an atom is due, with and without a bond that must stay free, with and without a ring number."""


@dataclass(frozen=True)
class Lexicon:
    """Tables of a vocabulary, on one device.

    Attributes:
        bonding: what its atoms may do next.
        following: node after a character, flat over (node, character); 0 where there is none. Node 0 is outside of
            brackets.
        atom: the atom that is complete at a node, −1 elsewhere.
        cost: fewest characters after each character that complete the atom, ``(node · PATHS, vocabulary)``.
        sign: row of SIGNS of each character.
        bond, order: which bond each of SIGNS is; the order of a bond.
        tail: of an atom, 1 for a carbon that may become chlorine, 2 for a boron that may become bromine.
        halogen: the number that is added to these to make them so.
        keep, with_bit: see `matching.tables`.
        ends: `Bonding.ends` as sets of configurations.
        shifts: where the fields of `Bonding.choices` begin, ``(fields, 1)``.
        digits: ring numbers that are kept, from 0; ``numbers``: how many of them can be written.
    """

    bonding: Bonding
    following: Tensor
    atom: Tensor
    cost: Tensor
    sign: Tensor
    bond: Tensor
    order: Tensor
    tail: Tensor
    halogen: Tensor
    keep: Tensor
    with_bit: Tensor
    ends: Tensor
    shifts: Tensor
    digits: int
    numbers: int
    characters: int

    @classmethod
    def of(cls, vocab: Vocab, device: torch.device) -> Self:
        """The tables of a vocabulary.

        Raises:
            DataError: it has no carbon, with which the grammar completes what is open.
        """
        if "C" not in vocab.characters:
            raise DataError(
                f"the grammar needs C in the vocabulary, which has {vocab.characters!r}; decode with grammar=False"
            )
        tree, costs = _Tree(vocab.characters), Costs(vocab.characters)
        kinds = _closed([*tree.kinds, Kind("Cl"), Kind("Br"), Kind("H", 1, 0)])
        number = {kind: k for k, kind in enumerate(kinds)}
        following, cost = tree.tables(vocab, costs)
        least = 1 + cost.view(-1, len(CONTEXTS), 4, len(vocab))[0, :, 2].amin(-1)
        bonds = bonding(kinds, costs, dict(zip(CONTEXTS, least.tolist(), strict=True)))
        signs = ["", "", *("/" if c == "\\" else c for c in vocab.characters)]
        sign = torch.tensor([SIGNS.index(c) if c in SIGNS else 0 for c in signs])
        sign[END] = SIGNS.index("end")
        tail = torch.zeros(len(bonds.more), dtype=torch.long)
        stubs = [(Kind("C"), Kind("Cl")), (Kind("B"), Kind("Br"))]
        halogen = [0, *(PER_KIND * (number[full] - number.get(stub, 0)) for stub, full in stubs)]
        for k, (stub, _) in enumerate(stubs):
            if stub in number:
                tail[number[stub] * PER_KIND : (number[stub] + 1) * PER_KIND] = k + 1
        digits = [int(c) for c in vocab.characters if c.isdigit()]
        with_bit, keep = matching.tables(torch.device("cpu"))
        tables = cls(
            bonding=bonds,
            following=following.flatten(),
            atom=torch.tensor([-1 if kind is None else number[kind] * PER_KIND for kind in tree.kind_at]),
            cost=cost,
            sign=sign,
            bond=torch.tensor([max(0, "-=#/".find(s) + 1) if s else NONE for s in SIGNS]),
            order=torch.tensor([1, 1, 2, 3, 1]),
            tail=tail,
            halogen=torch.tensor(halogen),
            keep=keep,
            with_bit=with_bit,
            ends=keep[bonds.ends],
            shifts=FIELD * torch.arange(len(CHOICES))[:, None],
            digits=100 if "%" in vocab.characters else max(digits, default=0) + 1,
            numbers=100 if "%" in vocab.characters else len(digits),
            characters=len(vocab),
        )
        return tables.to(device)

    def to(self, device: torch.device) -> Self:
        """The same tables on a device."""
        moved = {name: part.to(device) for name, part in vars(self).items() if isinstance(part, Tensor)}
        bonds = {name: part.to(device) for name, part in vars(self.bonding).items() if isinstance(part, Tensor)}
        return replace(self, bonding=replace(self.bonding, **bonds), **moved)  # type: ignore[arg-type]


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

    def tables(self, vocab: Vocab, costs: Costs) -> tuple[Tensor, Tensor]:
        """Of each node, the next node by character, and what each character costs, see `Lexicon`."""
        following = torch.zeros(len(self.children), len(vocab), dtype=torch.long)
        cost = torch.full((len(self.children), PATHS, len(vocab)), NEVER, dtype=torch.int32)
        paths = [self._costs(c, free, full, costs) for c, free, full in product(CONTEXTS, (False, True), (False, True))]
        after = torch.tensor(paths, dtype=torch.int32)
        for node, children in enumerate(self.children):
            for character, child in children.items():
                k = vocab.characters.index(character) + RESERVED
                following[node, k], cost[node, :, k] = child, after[:, child]
        return following, cost.flatten(0, 1)

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
