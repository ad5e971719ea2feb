"""A GRU layer without gradients on a CPU that computes in bfloat16: whole strings are read and written in C (`gru.c`).

The product of a step and its gates are one pass there: 32 strings at a time, whose states and a block of the weights
lie in the nearest caches, while (rows, 3·hidden) never leaves them. A string that ends makes way for another. What
becomes of a row does not depend on the others, nor on how many there are.
"""

import ctypes
from collections.abc import Callable, Sequence
from itertools import accumulate, chain

import torch
from torch import Tensor, nn
from torch.nn.functional import linear, pad

from molvae.vae import recurrence
from molvae.vae.recurrence import BF16
from molvae.vae.vocab import END, START

BLOCK = 32
"""Rows that take a step together, and what widths are padded to."""


class _Weights(ctypes.Structure):
    """`layer` of gru.c."""

    _fields_ = (
        *((name, ctypes.c_int64) for name in ("width", "characters")),
        *((name, ctypes.c_void_p) for name in ("table", "weight", "readout", "bias", "offset")),
    )


class Layer:
    """A layer's direction, packed for `gru.c`; hidden numbers are padded to ``width`` with such as stay 0.

    Args:
        library: of `recurrence.quick`.
        gru: its layer.
        name: of the direction, "l0" or "l0_reverse".
        embed: of the characters.
        readout: from states to scores of the next character, if it writes.
    """

    def __init__(
        self, library: ctypes.CDLL, gru: nn.GRU, name: str, embed: nn.Embedding, readout: nn.Linear | None = None
    ) -> None:
        table, across, weight, bias = recurrence.weights(gru, name, embed)
        hidden, gap = gru.hidden_size, -gru.hidden_size % BLOCK
        self.hidden, self.width = hidden, hidden + gap

        def gates(rows: Tensor) -> Tensor:
            return pad(rows.reshape(3, hidden, -1), (0, 0, 0, gap)).flatten(0, 1)

        self.across = gates(across)
        self.characters = embed.num_embeddings
        read = weight.new_zeros(self.characters, hidden) if readout is None else readout.weight
        offset = weight.new_zeros(self.characters) if readout is None else readout.bias.clone()
        offset[START] = -torch.inf
        more = -self.characters % BLOCK
        self._kept = (
            gates(table.t()).t().to(BF16).contiguous(),
            _packed(pad(gates(weight), (0, gap)), 3),
            _packed(pad(read, (0, gap, 0, more)), 1),
            pad(bias.float(), (0, gap)).contiguous(),
            pad(offset.float(), (0, more), value=-torch.inf),
        )
        self._library = library
        self._weights = _Weights(self.width, self.characters + more, *(part.data_ptr() for part in self._kept))

    def begin(self, z: Tensor, initial: nn.Linear) -> tuple[Tensor, Tensor]:
        """What z adds to the gates, ``(rows, 3·width)``, and first states ``(rows, width)``, from blocks of z."""
        fixed, state = z.new_empty(len(z), 3 * self.width, dtype=BF16), z.new_zeros(len(z), self.width, dtype=BF16)
        for some, gates, first in zip(*(torch.split(part, BLOCK) for part in (z, fixed, state)), strict=True):
            gates.copy_(linear(some, self.across))
            first[:, : self.hidden] = torch.tanh(initial(some))
        return fixed, state

    def write(self, fixed: Tensor, state: Tensor, rows: int, longest: int) -> Tensor:
        """The likeliest characters, ``(rows, longest)`` int64; END fills what follows the end."""
        out = torch.full((rows, longest), END)
        self._call(self._library.gru_write, rows, longest, fixed, state, out)
        return out

    def read(self, strings: Sequence[Sequence[int]]) -> Tensor:
        """The state after each string, ``(strings, hidden)`` float32."""
        ends = torch.zeros(len(strings), self.width, dtype=BF16)
        ids = torch.tensor([*chain.from_iterable(strings)])
        edges = torch.tensor([*accumulate(map(len, strings), initial=0)])
        self._call(self._library.gru_read, len(strings), ids, edges, ends)
        return ends[:, : self.hidden].float()

    def next(self, ids: Tensor, fixed: Tensor, state: Tensor) -> Tensor:
        """Scores of the characters after these, ``(rows, characters)`` float32; ``state`` is replaced by the next."""
        scores = torch.empty(len(ids), self._weights.characters)
        self._call(self._library.gru_next, len(ids), ids, fixed, state, scores)
        return scores[:, : self.characters]

    def _call(self, function: Callable[..., None], *given: int | Tensor) -> None:
        addresses = (value.data_ptr() if isinstance(value, Tensor) else value for value in given)
        function(ctypes.byref(self._weights), *addresses)


def _packed(weight: Tensor, gates: int) -> Tensor:
    """``(gates·width, inputs)`` as gru.c reads it: by 32 columns, gate, 32 inputs, half the columns, two inputs."""
    pairs = weight.to(BF16).contiguous().view(torch.int32)
    return pairs.view(gates, -1, 2, 16, pairs.shape[1] // 16, 16).permute(1, 0, 4, 2, 5, 3).contiguous()
