"""A GRU layer without gradients on a CPU that computes in bfloat16: whole strings are read and written in C (`gru.c`).

A string that ends makes way for another. What becomes of a row does not depend on the others, nor on how many they are.
"""

import ctypes
from collections.abc import Callable, Sequence
from itertools import accumulate, chain

import torch
from torch import Tensor, nn
from torch.nn.functional import linear, pad

from molvae.data.vocab import END, START
from molvae.vae.nets.kernel.library import BF16, BLOCK, Packed, padded, weights


class Layer:
    """A layer's direction; its hidden numbers are padded to ``width`` with such as stay 0.

    Args:
        library: of `compiled.kernel`.
        gru: its layer.
        name: of the direction, "l0" or "l0_reverse".
        embed: of the characters.
        readout: from states to scores of the next character, if it writes.
    """

    def __init__(
        self, library: ctypes.CDLL, gru: nn.GRU, name: str, embed: nn.Embedding, readout: nn.Linear | None = None
    ) -> None:
        table, self.across, weight, bias = padded(*weights(gru, name, embed))
        self.hidden, self.width, self.characters = gru.hidden_size, len(bias), embed.num_embeddings
        self._library = library
        if readout is None:
            self._packed = Packed(table, weight, bias)
            return
        gap, more = self.width - self.hidden, -self.characters % BLOCK
        offset = pad(readout.bias, (0, more), value=-torch.inf)
        offset[START] = -torch.inf
        self._packed = Packed(table, weight, bias, pad(readout.weight, (0, gap, 0, more)), offset)

    def begin(self, z: Tensor, initial: nn.Linear) -> tuple[Tensor, Tensor]:
        """What z adds to the gates, ``(rows, 3·width)``, and first states ``(rows, width)``, a block at a time."""
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
        scores = torch.empty(len(ids), self.characters + -self.characters % BLOCK)
        self._call(self._library.gru_next, len(ids), ids, fixed, state, scores)
        return scores[:, : self.characters]

    def _call(self, function: Callable[..., None], *given: int | Tensor) -> None:
        addresses = (value.data_ptr() if isinstance(value, Tensor) else value for value in given)
        function(self._packed.address, *addresses)
