"""A GRU layer without gradients on a CPU that computes in bfloat16: whole strings are read and written in C (`gru.c`).

A string that ends makes way for another. Each row is independent of the others, and of how many they are.
"""

import ctypes
from collections.abc import Callable, Sequence
from itertools import accumulate, chain

import torch
from torch import Tensor
from torch.nn.functional import linear, pad

from molvae.vae.nets.kernel.packing import BF16, BLOCK, PackedLayer, Weights, padded


class Layer:
    """One direction of a layer; its hidden numbers are padded to ``width`` with such as stay 0.

    Args:
        library: `gru.c`.
        weights: of the layer.
        readout: from states to scores of the next character, ``(characters, hidden)``, if it writes.
        offset: what is added to the scores, ``(characters,)``.
    """

    def __init__(
        self, library: ctypes.CDLL, weights: Weights, readout: Tensor | None = None, offset: Tensor | None = None
    ) -> None:
        self.hidden, self.characters = len(weights.b_hn), len(weights.table)
        table, self._W_z, W_hh, b_hn = padded(weights)
        self.width, self._library = len(b_hn), library
        if readout is not None and offset is not None:
            more = -self.characters % BLOCK
            readout = pad(readout, (0, self.width - self.hidden, 0, more))
            offset = pad(offset, (0, more), value=-torch.inf)
        self._packed = PackedLayer(table, W_hh, b_hn, readout, offset)

    def begin(self, z: Tensor, initial: Callable[[Tensor], Tensor]) -> tuple[Tensor, Tensor]:
        """The z contributions ``(rows, 3·width)`` and the first states ``(rows, width)``, a block at a time."""
        contribution = z.new_empty(len(z), 3 * self.width, dtype=BF16)
        state = z.new_zeros(len(z), self.width, dtype=BF16)
        for some, part, first in zip(*(torch.split(rows, BLOCK) for rows in (z, contribution, state)), strict=True):
            part.copy_(linear(some, self._W_z))
            first[:, : self.hidden] = initial(some)
        return contribution, state

    def write(self, contribution: Tensor, state: Tensor, shape: tuple[int, int], start: int, end: int) -> Tensor:
        """The likeliest characters, ``(rows, longest)`` int64; the id ``end`` fills what follows the end.

        Args:
            contribution: of `begin`, as is ``state``.
            shape: rows, and the most characters of a string.
            start: id that stands before the first character.
            end: id that ends a string.
        """
        out = torch.full(shape, end)
        self._call(self._library.gru_write, *shape, start, end, contribution, state, out)
        return out

    def read(self, strings: Sequence[Sequence[int]]) -> Tensor:
        """The state after each string, ``(strings, hidden)`` float32."""
        ends = torch.zeros(len(strings), self.width, dtype=BF16)
        ids = torch.tensor([*chain.from_iterable(strings)])
        edges = torch.tensor([*accumulate(map(len, strings), initial=0)])
        self._call(self._library.gru_read, len(strings), ids, edges, ends)
        return ends[:, : self.hidden].float()

    def next(self, ids: Tensor, contribution: Tensor, state: Tensor) -> Tensor:
        """Scores of the characters after these, ``(rows, characters)`` float32; ``state`` is replaced by the next."""
        scores = torch.empty(len(ids), self.characters + -self.characters % BLOCK)
        self._call(self._library.gru_next, len(ids), ids, contribution, state, scores)
        return scores[:, : self.characters]

    def _call(self, function: Callable[..., None], *given: int | Tensor) -> None:
        addresses = (value.data_ptr() if isinstance(value, Tensor) else value for value in given)
        function(self._packed.address, *addresses)
