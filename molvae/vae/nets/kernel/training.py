"""A GRU layer over whole strings for training on a CPU: the same mathematics as `torch.nn.GRU`, in half the time.

`torch.nn.GRU` spends two thirds of a step outside its matrix products: a dozen passes over memory for the gates, and
pages of memory touched for the first time. Here compiled C (`gru.c`) takes 32 strings through all steps, products and
gates in one pass; the buffers stay, what a character and the latent point add to the gates is computed once, and no
thread waits for another.
"""

import ctypes
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import pad

from molvae.vae.nets.kernel import library as compiled
from molvae.vae.nets.kernel.library import BF16, BLOCK, Packed, packed, padded, weights

SHARE = 2**15
"""Least numbers of a state that a thread is begun for; with fewer the threads wait for each other."""


def applies(device: torch.device) -> bool:
    """Whether `sweep` may stand in for `torch.nn.GRU`: a training under bfloat16 autocast on a CPU, with a compiler."""
    return (
        device.type == "cpu"
        and torch.is_grad_enabled()
        and torch.is_autocast_enabled("cpu")
        and torch.get_autocast_dtype("cpu") == BF16
        and compiled.kernel() is not None
    )


def sweep(
    gru: nn.GRU, embed: nn.Embedding, tokens: Tensor, z: Tensor | None = None, start: Tensor | None = None
) -> Tensor:
    """Outputs of a layer whose input at each step is a character's embedding, beside z where that is given.

    Args:
        gru: one direction of one layer is used: the first one; see `reverse`.
        embed: of the characters.
        tokens: ``(time, batch)``.
        z: ``(batch, latent)``, the same at every step.
        start: first state ``(batch, hidden)``; zeros if absent.

    Returns:
        ``(time, batch, hidden)`` bfloat16, whose memory serves again once the gradient was taken; or with no z the
        last state alone, ``(batch, hidden)``.
    """
    return _layer(gru, "l0", embed, tokens, z, start)


def reverse(gru: nn.GRU, embed: nn.Embedding, tokens: Tensor) -> Tensor:
    """The last state of the layer's other direction, which reads from the end."""
    return _layer(gru, "l0_reverse", embed, tokens.flip(0), None, None)


def _layer(
    gru: nn.GRU, name: str, embed: nn.Embedding, tokens: Tensor, z: Tensor | None, start: Tensor | None
) -> Tensor:
    table, across, weight, bias = padded(*weights(gru, name, embed))
    fixed = None if z is None else z @ across.t()
    start = weight.new_zeros(tokens.shape[1], gru.hidden_size) if start is None else start
    start = pad(start, (0, len(bias) - gru.hidden_size))
    states: Tensor = _Sweep.apply(table, tokens.contiguous(), fixed, weight, bias, start)  # type: ignore[no-untyped-call]
    return states[..., : gru.hidden_size] if len(bias) > gru.hidden_size else states  # a slice's gradient is a copy


class _Sweep(torch.autograd.Function):
    """All steps. With ``fixed`` every state is given back, without it the last one."""

    @staticmethod
    def forward(
        ctx: Any, table: Tensor, tokens: Tensor, fixed: Tensor | None, weight: Tensor, bias: Tensor, start: Tensor
    ) -> Tensor:
        """See `sweep`; of `compiled.padded`; ``fixed`` is ``(batch, 3·width)``."""
        (time, batch), width, library = tokens.shape, weight.shape[1], _library()
        layer, each = Packed(table, weight, bias), None if fixed is None else fixed.to(BF16).contiguous()
        states, gates = _take(time + 1, batch, width), _take(time, batch, 4 * width)
        states[0] = start
        parts = (tokens, each, states, gates)
        library.gru_forward(layer.address, time, batch, _threads(batch, width), *map(_at, parts))
        ctx.save_for_backward(tokens, weight)
        ctx.kept = states, gates, layer, len(table), fixed is not None
        return states[-1].clone() if fixed is None else states[1:]

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        """Back through time."""
        tokens, weight = ctx.saved_tensors
        states, gates, layer, characters, every = ctx.kept
        (time, batch), width, library = tokens.shape, weight.shape[1], _library()
        across = torch.zeros(3 * width // BLOCK, width // BLOCK, BLOCK, BLOCK)
        back, flow = packed(weight.t()), _take(len(across), time, -(-batch // BLOCK), BLOCK, BLOCK)
        outer = grad.to(BF16).contiguous() if every else None
        carried = torch.zeros(batch, width) if every else grad.float().clone()
        fixed = torch.zeros(batch, 3 * width) if every else None
        threads = _threads(batch, width)
        tables, biases = torch.zeros(threads, characters, 3 * width), torch.zeros(threads, width)
        parts = (tokens, outer, states, gates, carried, flow, tables, fixed, biases)
        library.gru_backward(layer.address, _at(back), time, batch, threads, characters, *map(_at, parts))
        library.gru_across(width, time, batch, threads, *map(_at, (flow, states, across)))
        _spare.extend((states, gates, flow))
        ctx.kept = None
        weights = across.transpose(1, 2).reshape(3 * width, width)
        return tables.sum(0), None, fixed, weights, biases.sum(0), carried


def _library() -> ctypes.CDLL:
    library = compiled.kernel()
    assert library is not None
    return library


def _at(tensor: Tensor | None) -> int | None:
    return None if tensor is None else tensor.data_ptr()


_spare: list[Tensor] = []
"""Buffers that no graph holds. Fresh memory costs more to touch than to compute with."""


def _take(*shape: int) -> Tensor:
    """A contiguous bfloat16 tensor from the spare buffers, its content undefined."""
    size = 1
    for n in shape:
        size *= n
    fitting = [k for k, buffer in enumerate(_spare) if buffer.untyped_storage().nbytes() >= 2 * size]
    if not fitting:
        return torch.empty(shape, dtype=BF16)
    smallest = min(fitting, key=lambda k: _spare[k].untyped_storage().nbytes())
    return torch.empty(0, dtype=BF16).set_(_spare.pop(smallest).untyped_storage()).resize_(shape)


def _threads(batch: int, width: int) -> int:
    """How many of PyTorch's there is work for."""
    return max(1, min(torch.get_num_threads(), -(-batch // BLOCK), batch * width // SHARE))
