"""The weights of a layer as `gru.c` reads them; README.md draws the layouts."""

import ctypes
from typing import Final, NamedTuple

import torch
from torch import Tensor
from torch.nn.functional import pad

BF16: Final = torch.bfloat16
BLOCK: Final = 32
"""Rows that take a step together, and what widths are padded to."""


class Weights(NamedTuple):
    """One direction of a GRU layer over characters, as a step needs it. A gradient passes through each.

    Attributes:
        table: what each character adds to the pre-activations, biases included, ``(characters, 3·hidden)``.
        W_z: weights of the latent point, ``(3·hidden, latent)``; with none, ``latent`` is 0.
        W_hh: weights of the state, ``(3·hidden, hidden)``.
        b_hn: bias inside the candidate's product with the reset gate, ``(hidden,)``.
    """

    table: Tensor
    W_z: Tensor
    W_hh: Tensor
    b_hn: Tensor


def padded(weights: Weights) -> Weights:
    """The same layer with ``hidden`` grown to whole blocks; the states of what is added stay 0."""
    table, W_z, W_hh, b_hn = weights
    hidden, gap = len(b_hn), -len(b_hn) % BLOCK
    if gap == 0:
        return weights

    def each_gate(rows: Tensor) -> Tensor:
        return pad(rows.reshape(3, hidden, -1), (0, 0, 0, gap)).flatten(0, 1)

    return Weights(each_gate(table.t()).t(), each_gate(W_z), each_gate(pad(W_hh, (0, gap))), pad(b_hn, (0, gap)))


def packed(weight: Tensor, gates: int = 1) -> Tensor:
    """``(gates·width, inputs)`` as gru.c reads it: by 32 columns, gate, 32 inputs, half the columns, two inputs."""
    pairs = weight.to(BF16).contiguous().view(torch.int32)
    return pairs.view(gates, -1, 2, 16, pairs.shape[1] // 16, 16).permute(1, 0, 4, 2, 5, 3).contiguous()


class CLayer(ctypes.Structure):
    """`layer` of gru.c."""

    _fields_ = (
        *((name, ctypes.c_int64) for name in ("width", "characters")),
        *((name, ctypes.c_void_p) for name in ("table", "W_hh", "b_hn", "readout", "offset")),
    )


class PackedLayer:
    """One direction of a layer for gru.c.

    Args:
        table: of `padded` weights, as are ``W_hh`` and ``b_hn``.
        W_hh: see `Weights`.
        b_hn: see `Weights`.
        readout: from states to scores of the next character, ``(characters, width)``, in whole blocks, if it writes.
        offset: what is added to the scores, ``(characters,)``.

    Attributes:
        address: what the functions of gru.c take first, as long as this object lives.
        characters: rows of the table.
    """

    def __init__(
        self, table: Tensor, W_hh: Tensor, b_hn: Tensor, readout: Tensor | None = None, offset: Tensor | None = None
    ) -> None:
        self.characters = len(table)
        self._kept = [table.to(BF16).contiguous(), packed(W_hh, 3), b_hn.float().contiguous()]
        if readout is not None and offset is not None:
            self._kept += [packed(readout), offset.float().contiguous()]
        places = [part.data_ptr() for part in self._kept]
        self._layer = CLayer(len(b_hn), 0 if offset is None else len(offset), *places)
        self.address = ctypes.addressof(self._layer)
