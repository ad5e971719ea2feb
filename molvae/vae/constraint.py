"""What may be written: a constraint says which characters may come next in each string of a batch.

The SMILES grammar is one; others force a beginning, or hold several at a time. `decoding` asks them.
"""

from dataclasses import dataclass
from typing import Annotated, Any, Literal, Protocol

import torch
from pydantic import Field
from torch import Tensor

from molvae.config import Component
from molvae.data.vocab import END, RESERVED, Vocab
from molvae.errors import UsageError
from molvae.registry import Registry


class ConstraintState(Protocol):
    """The state of a batch of strings that are being written."""

    def select(self, rows: Tensor) -> "ConstraintState":
        """The strings of these rows, ``(n,)`` int64, which may repeat; each goes on by itself."""


class Constraint(Protocol):
    """Which characters may come next. The rows of a batch are independent of each other.

    A string ends by END, or where nothing may come next: it has as many characters as it may, or there is no way on.
    Whoever writes only what is allowed comes to an end.
    """

    def start(self, batch: int) -> ConstraintState:
        """The state of ``batch`` empty strings."""

    def allowed(self, state: Any) -> Tensor:
        """Which characters may come next, ``(batch, vocabulary)`` bool on the CPU.

        Args:
            state: that of `start`, `advance` or `select`.
        """

    def advance(self, state: Any, chosen: Tensor) -> ConstraintState:
        """The state after one more character each.

        Args:
            state: it may be changed, and is of no use afterwards.
            chosen: ids of allowed characters, ``(batch,)``; END in strings that have ended.
        """


class ConstraintSettings(Protocol):
    """What a recipe says of a constraint."""

    def __call__(self, vocab: Vocab, longest: int) -> Constraint:
        """The constraint on strings of a vocabulary that have ``longest`` characters at most.

        Raises:
            MolvaeError: it cannot be had with this vocabulary or length.
        """


class SmilesGrammar(Component):
    """The SMILES grammar: strings as RDKit writes them, of atoms whose valences can be had."""

    kind: Literal["smiles"] = "smiles"

    def __call__(self, vocab: Vocab, longest: int) -> Constraint:
        """The grammar; it needs a carbon in the vocabulary."""
        from molvae.vae.grammar.mask import Grammar  # it loads numba

        return Grammar(vocab, longest)


class Prefix(Component):
    """A beginning that each string has; anything may follow it.

    Attributes:
        text: the beginning.
    """

    kind: Literal["prefix"] = "prefix"
    text: str

    def __call__(self, vocab: Vocab, longest: int) -> Constraint:
        """The forced beginning.

        Raises:
            UnknownCharacter: the vocabulary lacks one of its characters.
            UsageError: it is longer than strings may be.
        """
        if len(self.text) > longest:
            raise UsageError(
                f"the prefix {self.text!r} has {len(self.text)} characters, and strings have at most {longest}; "
                "shorten it"
            )
        following = torch.zeros(longest + 1, len(vocab), dtype=torch.bool)
        following[len(self.text) : longest, END] = following[len(self.text) : longest, RESERVED:] = True
        following[torch.arange(len(self.text)), torch.tensor(vocab.encode(self.text), dtype=torch.long)] = True
        return ForcedBeginning(following)


class Product(Component):
    """Several constraints at a time: what all of them allow. Together they may leave no way on where each has one.

    Attributes:
        of: the constraints.
    """

    kind: Literal["product"] = "product"
    of: tuple["Chosen", ...] = Field(min_length=1)

    def __call__(self, vocab: Vocab, longest: int) -> Constraint:
        """All of them; raises what they raise."""
        return AllOf(tuple(constraint(vocab, longest) for constraint in self.of))


CONSTRAINTS = Registry("constraint", ConstraintSettings, (SmilesGrammar, Prefix, Product))
Chosen = Annotated[ConstraintSettings, CONSTRAINTS]
"""A constraint that a recipe chooses."""
Product.model_rebuild()


@dataclass(frozen=True, eq=False)
class Lengths:
    """The number of characters of each string, ``(batch,)`` int64; the most that it may have once it has ended."""

    characters: Tensor

    def select(self, rows: Tensor) -> "Lengths":
        """The strings of these rows."""
        return Lengths(self.characters[rows.cpu()])


@dataclass(frozen=True, eq=False)
class ForcedBeginning:
    """What may come next depends on the number of characters alone.

    Attributes:
        following: what may come after so many characters, ``(longest + 1, vocabulary)`` bool.
    """

    following: Tensor

    def start(self, batch: int) -> Lengths:
        """Empty strings."""
        return Lengths(torch.zeros(batch, dtype=torch.long))

    def allowed(self, state: Lengths) -> Tensor:
        """What may come next."""
        return self.following[state.characters]

    def advance(self, state: Lengths, chosen: Tensor) -> Lengths:
        """One more character each."""
        longest = len(self.following) - 1
        return Lengths(torch.where(chosen.cpu() == END, longest, state.characters + 1).clamp(max=longest))


@dataclass(frozen=True, eq=False)
class States:
    """The states of several constraints on the same strings."""

    parts: tuple[ConstraintState, ...]

    def select(self, rows: Tensor) -> "States":
        """The strings of these rows."""
        return States(tuple(part.select(rows) for part in self.parts))


@dataclass(frozen=True)
class AllOf:
    """What several constraints allow, all of them."""

    constraints: tuple[Constraint, ...]

    def start(self, batch: int) -> States:
        """Empty strings."""
        return States(tuple(constraint.start(batch) for constraint in self.constraints))

    def allowed(self, state: States) -> Tensor:
        """What may come next."""
        pairs = zip(self.constraints, state.parts, strict=True)
        return torch.stack([constraint.allowed(part) for constraint, part in pairs]).all(0)

    def advance(self, state: States, chosen: Tensor) -> States:
        """One more character each."""
        pairs = zip(self.constraints, state.parts, strict=True)
        return States(tuple(constraint.advance(part, chosen) for constraint, part in pairs))
