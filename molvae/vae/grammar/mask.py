"""Which characters may come next: SMILES read a character at a time, a whole batch at once.

The strings are those that RDKit writes, that is, of a depth-first walk through the molecule: a ring that opens in a
branch closes in it, digits follow their atom at once, a branch is not empty and is followed by something, a ring ends
with a single or aromatic bond, and a bond sign stands only where it is needed. Every molecule of the elements in
`atoms.py` without unpaired electrons has such a string. What it cannot know, such as which rings are aromatic, is left
to RDKit.
"""

from dataclasses import dataclass
from functools import cached_property
from typing import Any, Final

import numpy as np
import torch
from torch import Tensor

from molvae.data.vocab import Vocab
from molvae.vae.grammar import automaton as writing
from molvae.vae.grammar.automaton import FAR, LEVELS
from molvae.vae.grammar.tables import Lexicon, lexicon, rings

PLACE: Final = np.dtype(
    [(name, "i2") for name in ("atom", "depth", "floor", "bare", "reserved", "needy", "part", "slot")]
    + [("fill", "i4")],
)
"""The current atom of a string or of a branch.

``atom``, see `lexicon.ATOM`; ``depth``: atoms between the first and it; ``floor``: depth of the atom that the branch
began at, −1 outside of branches; ``bare``: depth of the first atom of this branch whose aromatic bond is in no ring
yet; ``reserved``: rings that waiting atoms need for themselves, ``needy``: depth of the first of these atoms; ``part``:
of the matching; ``fill``: characters that the branches around cost at least; ``slot``: of the atom, while it waits.
"""
TEXT: Final = np.dtype(
    [
        *((name, "i2") for name in ["length", "level", "rings", "node", "after", "bond", "born", "tail", "tens"]),
        ("owed", "i4"),
        ("free", "i1", LEVELS + 1),
        ("sets", "i8", LEVELS + 1),
        ("places", PLACE, LEVELS + 1),
    ],
    align=True,
)
"""Where a string stands.

``places``: the current atom, at ``level``, and before it the atoms that wait for the end of a branch; ``sets``,
``free``: configurations and free slots of each part, see `writing`; ``length``: characters written; ``owed``: what the
open rings cost at most; ``rings``: how many are open; ``node``: of the bracket, 0 outside; ``after``: what was
written last, signs and digits aside; ``bond``: the sign that waits for its atom; ``born``: length before the current
atom; ``tail``: the sign that may make another atom of the one just written; ``tens``: −1 after %, then the first digit.
"""
RING: Final = np.dtype([(name, "i2") for name in ("depth", "aromatic", "part", "slot", "bound")])
"""A ring number: depth of the first atom (−1: not open), whether it is aromatic, its part (−1: not matched), its slot.

``bound``: `born` of the atom that is bound to the first atom by another ring.
"""


@dataclass(frozen=True)
class State:
    """Where the strings of a batch stand: TEXT, ``(batch,)``, and RING, ``(batch, numbers)``."""

    texts: np.ndarray[Any, Any]
    rings: np.ndarray[Any, Any]

    def select(self, rows: Tensor) -> "State":
        """The strings of these rows, which may repeat."""
        chosen = rows.cpu().numpy()
        return State(self.texts.take(chosen), self.rings.take(chosen, 0))


@dataclass(frozen=True)
class Grammar:
    """SMILES of a vocabulary, of ``longest`` characters at most.

    The room that open branches, rings and valences need within ``longest`` is counted, rather too high than too low, so
    a string whose rings close in its last few characters may be refused when it is about as long as ``longest``.
    Aromatic rings that are open together can still leave no way on: then `allowed` has none.

    Example:
        >>> grammar = Grammar(vae.vocab, vae.longest)
        >>> state = grammar.advance(grammar.start(1), torch.tensor(vae.vocab.encode("C")))
        >>> grammar.allowed(state)[0, vae.vocab.encode(")")]
        tensor([False])
    """

    vocab: Vocab
    longest: int

    @cached_property
    def _lexicon(self) -> Lexicon:
        return lexicon(self.vocab)

    def start(self, batch: int) -> State:
        """The state of ``batch`` empty strings.

        Raises:
            DataError: the vocabulary has no carbon.
        """
        state = State(np.zeros(batch, TEXT), np.zeros((batch, rings(self.vocab)), RING))
        first = state.texts["places"][:, 0]
        first["depth"] = first["floor"] = state.rings["depth"] = -1
        first["bare"] = first["needy"] = FAR
        return state

    def allowed(self, state: State) -> Tensor:
        """Which characters may come next, ``(batch, vocabulary)`` bool; END where the string is complete."""
        may = np.empty((len(state.texts), len(self.vocab)), np.bool_)
        writing.allowed(self._lexicon, state.texts, state.rings, self.longest, may)
        return torch.from_numpy(may)

    def advance(self, state: State, chosen: Tensor) -> State:
        """The state after one more character each.

        Args:
            state: is used up.
            chosen: ids of allowed characters, ``(batch,)``. What follows END has no meaning.
        """
        writing.advance(self._lexicon, state.texts, state.rings, np.ascontiguousarray(chosen.cpu().numpy()))
        return state
