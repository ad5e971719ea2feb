"""A GRU layer over whole strings for training on a CPU: the same mathematics as `torch.nn.GRU`, in half the time.

`torch.nn.GRU` spends two thirds of a step outside its matrix products: a dozen passes over memory for the gates, and
pages of memory touched for the first time. Here compiled C (`gru.c`) takes 32 strings through all steps, products and
gates in one pass; the buffers stay, what a character and the latent point add to the pre-activations is computed once,
and no thread waits for another.
"""

import ctypes
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.nn.functional import pad

from molvae.vae.nets.kernel.buffers import BufferPool
from molvae.vae.nets.kernel.packing import BF16, BLOCK, PackedLayer, Weights, packed, padded

STATE_PER_THREAD = 2**15
"""Least numbers of a state that a thread is begun for; with fewer the threads wait for each other."""


class Kernel(NamedTuple):
    """What a pass needs besides the layer: `gru.c`, and buffers that serve again."""

    library: ctypes.CDLL
    pool: BufferPool


class Pass(NamedTuple):
    """What a pass forward leaves for the pass backward.

    Attributes:
        tokens: ``(time, batch)``.
        states: the first one and that after each step, ``(time + 1, batch, width)`` bfloat16.
        activations: r, z, n and W_hn h + b_hn of each step, ``(time, batch, 4·width)`` bfloat16.
    """

    tokens: Tensor
    states: Tensor
    activations: Tensor


class Gradients(NamedTuple):
    """Of a loss. ``d_preact`` is in bfloat16, as `gru_weight_gradient` reads it: that of W_hh h, by columns and rows,
    ``(3·width / 32, time, batch / 32, 32, 32)``. The others have the shapes of what they are gradients of, in float32.
    """

    d_preact: Tensor
    d_table: Tensor
    d_contribution: Tensor | None
    d_b_hn: Tensor
    d_start: Tensor


def run(
    kernel: Kernel, weights: Weights, tokens: Tensor, z: Tensor | None = None, start: Tensor | None = None
) -> Tensor:
    """Outputs of one direction of a layer whose input at each step is a character, beside z where that is given.

    Args:
        kernel: see `Kernel`.
        weights: of the layer.
        tokens: ``(time, batch)``, in the order in which they are read.
        z: ``(batch, latent)``, the same at every step.
        start: first state ``(batch, hidden)``; zeros if absent.

    Returns:
        ``(time, batch, hidden)`` bfloat16, whose memory serves again once the gradient was taken; or with no z the
        last state alone, ``(batch, hidden)``.
    """
    hidden = len(weights.b_hn)
    table, W_z, W_hh, b_hn = padded(weights)
    contribution = None if z is None else z @ W_z.t()
    start = W_hh.new_zeros(tokens.shape[1], hidden) if start is None else start
    start = pad(start, (0, len(b_hn) - hidden))
    given = kernel, tokens.contiguous(), table, contribution, W_hh, b_hn, start
    states: Tensor = _AllSteps.apply(*given)  # type: ignore[no-untyped-call]
    return states[..., :hidden] if len(b_hn) > hidden else states  # a slice's gradient is a copy


class _AllSteps(torch.autograd.Function):
    """All steps of `padded` weights. With a z contribution every state is given back, without it the last one."""

    @staticmethod
    def forward(ctx: Any, kernel: Kernel, tokens: Tensor, *given: Tensor) -> Tensor:
        """``given``: table, z contribution ``(batch, 3·width)`` or None, W_hh, b_hn, first state ``(batch, width)``."""
        table, contribution, W_hh, b_hn, start = given
        layer = PackedLayer(table, W_hh, b_hn)
        passed = gru_forward(kernel, layer, tokens, contribution, start)
        ctx.save_for_backward(tokens, W_hh)
        ctx.kept = kernel, layer, passed, contribution is not None
        return passed.states[1:] if contribution is not None else passed.states[-1].clone()

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        """Backward through time."""
        (_, W_hh), (kernel, layer, passed, each_step) = ctx.saved_tensors, ctx.kept  # refuses tokens that were changed
        found = gru_backward(kernel, layer, W_hh, passed, grad, each_step)
        d_W_hh = gru_weight_gradient(kernel, found.d_preact, passed.states)
        kernel.pool.give_back(passed.states, passed.activations, found.d_preact)
        ctx.kept = None
        return None, None, found.d_table, found.d_contribution, d_W_hh, found.d_b_hn, found.d_start


def gru_forward(kernel: Kernel, layer: PackedLayer, tokens: Tensor, contribution: Tensor | None, start: Tensor) -> Pass:
    """All steps, from the first state ``(batch, width)``; the z contribution is ``(batch, 3·width)``, if there is z."""
    (time, batch), width = tokens.shape, start.shape[1]
    states, activations = kernel.pool.take(time + 1, batch, width), kernel.pool.take(time, batch, 4 * width)
    states[0] = start
    contribution = None if contribution is None else contribution.to(BF16).contiguous()
    parts = tokens, contribution, states, activations
    kernel.library.gru_forward(layer.address, time, batch, _threads(batch, width), *map(_address, parts))
    return Pass(tokens, states, activations)


def gru_backward(
    kernel: Kernel, layer: PackedLayer, W_hh: Tensor, passed: Pass, grad: Tensor, each_step: bool
) -> Gradients:
    """Backward through time.

    Args:
        kernel: see `Kernel`.
        layer: of the pass forward.
        W_hh: its weights.
        passed: of `gru_forward`.
        grad: gradient of each output, ``(time, batch, width)``, or of the last one, ``(batch, width)``.
        each_step: which of the two; with the first there was a z contribution.
    """
    tokens, states, activations = passed
    (time, batch), width = tokens.shape, W_hh.shape[1]
    W_hh_t, threads = packed(W_hh.t()), _threads(batch, width)
    d_preact = kernel.pool.take(3 * width // BLOCK, time, -(-batch // BLOCK), BLOCK, BLOCK)
    d_outputs = grad.to(BF16).contiguous() if each_step else None
    d_state = torch.zeros(batch, width) if each_step else grad.float().clone(memory_format=torch.contiguous_format)
    d_contribution = torch.zeros(batch, 3 * width) if each_step else None
    d_tables, d_b_hns = torch.zeros(threads, layer.characters, 3 * width), torch.zeros(threads, width)
    parts = tokens, d_outputs, states, activations, d_state, d_preact, d_tables, d_contribution, d_b_hns
    sizes = time, batch, threads, layer.characters
    kernel.library.gru_backward(layer.address, _address(W_hh_t), *sizes, *map(_address, parts))
    return Gradients(d_preact, d_tables.sum(0), d_contribution, d_b_hns.sum(0), d_state)


def gru_weight_gradient(kernel: Kernel, d_preact: Tensor, states: Tensor) -> Tensor:
    """The gradient of W_hh, ``(3·width, width)`` float32, from that of W_hh h and the states before each step."""
    (time, batch, width), rows = states.shape, len(d_preact)
    out = torch.zeros(rows, width // BLOCK, BLOCK, BLOCK)
    sizes = width, time - 1, batch, _threads(batch, width)
    kernel.library.gru_weight_gradient(*sizes, *map(_address, (d_preact, states, out)))
    return out.transpose(1, 2).reshape(3 * width, width)


def _address(tensor: Tensor | None) -> int | None:
    return None if tensor is None else tensor.data_ptr()


def _threads(batch: int, width: int) -> int:
    """How many of PyTorch's there is work for."""
    return max(1, min(torch.get_num_threads(), -(-batch // BLOCK), batch * width // STATE_PER_THREAD))
