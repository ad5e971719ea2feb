"""The SMILES grammar: which characters may come next, a character at a time, for a whole batch at once.

The strings are those that RDKit writes, that is, of a depth-first walk through the molecule: a ring that opens in a
branch closes in it, digits follow their atom at once, a branch is not empty and is followed by something, a ring ends
with a single or aromatic bond, and a bond sign stands only where it is needed. Every molecule of the elements in
`valence.py` without unpaired electrons has such a string. What the grammar cannot know, such as which rings are
aromatic, is left to RDKit.
"""

from dataclasses import dataclass
from functools import cached_property
from typing import Any, Final

import numpy as np
import torch
from torch import Tensor

from molvae.data.vocab import Vocab
from molvae.vae.grammar import automaton
from molvae.vae.grammar.automaton import MAX_NESTING, NO_DEPTH
from molvae.vae.grammar.tables import TransitionTables, transition_tables

PLACE: Final = np.dtype(
    [
        *((name, "i2") for name in ("atom", "depth", "branch_depth", "open_aromatic_depth")),
        *((name, "i2") for name in ("reserved", "reserved_depth", "part", "slot")),
        ("completion_cost", "i4"),
    ],
)
"""The current atom of a string or of a branch.

``atom``: its state, see `tables.ATOM`. ``depth``: the number of atoms between the first one and it. ``branch_depth``:
the depth of the atom at which its branch began, −1 outside of branches. ``open_aromatic_depth``: the depth of the first
atom of the branch whose aromatic bond is in no ring yet. ``reserved``: the number of open rings that waiting atoms need
for themselves, as they lack an aromatic bond; ``reserved_depth``: the depth of the first of these atoms. ``part``: that
of the matching; ``slot``: that of the atom, while it waits. ``completion_cost``: the fewest characters that complete
the waiting atoms and end their branches. See `automaton` for parts and slots.
"""
TEXT: Final = np.dtype(
    [
        *((name, "i2") for name in ("length", "level", "open_rings", "node", "last", "bond")),
        *((name, "i2") for name in ("atom_position", "second_letter", "ring_tens")),
        ("closing_cost", "i4"),
        ("free_slots", "i1", MAX_NESTING + 1),
        ("sets", "i8", MAX_NESTING + 1),
        ("places", PLACE, MAX_NESTING + 1),
    ],
    align=True,
)
"""The state of a string.

``length``: the characters written. ``places``: the current atom, at ``level``, and before it the atoms that wait for
the end of a branch. ``open_rings``: how many are open; ``closing_cost``: the most characters that close them. ``node``:
that of the bracket, 0 outside, see `tables.TransitionTables`. ``last``: what was written last, signs and digits aside.
``bond``: the sign that waits for its atom. ``atom_position``: the length before the current atom. ``second_letter``:
the sign that makes another atom of the one just written. ``ring_tens``: −1 after %, then the first digit. ``sets``,
``free_slots``: the configurations and free slots of each part.
"""
RING: Final = np.dtype([(name, "i2") for name in ("depth", "aromatic", "part", "slot", "neighbour")])
"""A ring number.

``depth``: that of the ring's first atom, −1 while the ring is not open. ``aromatic``: whether that atom is aromatic.
``part``, ``slot``: those of the ring bond, −1 and 0 where it has no slot. ``neighbour``: the ``atom_position`` of the
atom that another ring binds to the first atom.
"""


@dataclass(frozen=True)
class State:
    """The state of a batch of strings: TEXT, ``(batch,)``, and RING, ``(batch, ring numbers)``."""

    texts: np.ndarray[Any, Any]
    rings: np.ndarray[Any, Any]

    def select(self, rows: Tensor) -> "State":
        """The strings of these rows, which may repeat."""
        chosen = rows.cpu().numpy()
        return State(self.texts.take(chosen), self.rings.take(chosen, 0))


@dataclass(frozen=True)
class Grammar:
    """SMILES of a vocabulary, of ``longest`` characters at most.

    The grammar counts the room that open branches, rings and valences need within ``longest``, rather too high than too
    low, so it may refuse a string whose rings close in its last few characters when that is about as long as
    ``longest``. Where several aromatic rings are open together there may be no way on: then `allowed` has none.

    Example:
        >>> grammar = Grammar(vae.vocab, vae.longest)
        >>> state = grammar.advance(grammar.start(1), torch.tensor(vae.vocab.encode("C")))
        >>> grammar.allowed(state)[0, vae.vocab.encode(")")]
        tensor([False])
    """

    vocab: Vocab
    longest: int

    @cached_property
    def _tables(self) -> TransitionTables:
        return transition_tables(self.vocab)

    def start(self, batch: int) -> State:
        """The state of ``batch`` empty strings.

        Raises:
            DataError: the vocabulary has no carbon.
        """
        state = State(np.zeros(batch, TEXT), np.zeros((batch, 1 + self._tables.highest_ring), RING))
        first = state.texts["places"][:, 0]
        first["depth"] = first["branch_depth"] = state.rings["depth"] = -1
        first["open_aromatic_depth"] = first["reserved_depth"] = NO_DEPTH
        return state

    def allowed(self, state: State) -> Tensor:
        """Which characters may come next, ``(batch, vocabulary)`` bool; END where the string is complete."""
        may = np.empty((len(state.texts), len(self.vocab)), np.bool_)
        automaton.allowed(self._tables, state.texts, state.rings, self.longest, may)
        return torch.from_numpy(may)

    def advance(self, state: State, chosen: Tensor) -> State:
        """The state after one more character each.

        Args:
            state: it is changed, and of no use afterwards.
            chosen: ids of allowed characters, ``(batch,)``. What follows END has no meaning.
        """
        automaton.advance(self._tables, state.texts, state.rings, np.ascontiguousarray(chosen.cpu().numpy()))
        return state
