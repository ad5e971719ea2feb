"""A GRU layer over characters, in C or in PyTorch: the one place that decides which, for training, reading and writing.

The C kernel (`kernel/README.md`) runs on CPUs that compute in bfloat16; PyTorch runs everywhere else, and with
``MOLVAE_KERNEL=off``.
"""

import ctypes
import functools
import logging
import os
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import groupby
from pathlib import Path
from typing import Protocol, TypeVar

import torch
from torch import Tensor, nn
from torch.nn.functional import linear, pad

from molvae.data.vocab import END, START
from molvae.errors import FolderError, UsageError
from molvae.folders import cache_folder
from molvae.signals import defer_signals
from molvae.vae.nets.kernel import inference, library, training
from molvae.vae.nets.kernel.buffers import BufferPool
from molvae.vae.nets.kernel.packing import BLOCK, Weights

log = logging.getLogger("molvae")

R = TypeVar("R")
CPU_TILE, GPU_TILE = 128, 2048
"""Rows of a product in PyTorch: always so many, for a row to come out the same in any batch."""
_LOADING = threading.Lock()


def kernel() -> ctypes.CDLL | None:
    """`gru.c`, compiled for this processor in a second, once for all. One line at INFO says what runs, and why.

    None where there is no compiler for it, the processor does not compute in bfloat16, or the environment says
    ``MOLVAE_KERNEL=off``.

    Raises:
        UsageError: ``MOLVAE_KERNEL`` is something else than off, on, auto or empty.
    """
    with _LOADING:  # threads that ask first at the same time would compile it twice, and say so twice
        return _kernel()


@functools.cache
def _kernel() -> ctypes.CDLL | None:
    wanted = os.environ.get("MOLVAE_KERNEL", "")
    if wanted not in ("", "auto", "on", "off"):
        raise UsageError(f"MOLVAE_KERNEL is off, on, auto or empty; it is {wanted!r}")
    loaded, why = (None, "MOLVAE_KERNEL=off") if wanted == "off" else _find()
    level = logging.WARNING if wanted == "on" and loaded is None else logging.INFO
    log.log(level, "GRU layers run in %s: %s", "PyTorch" if loaded is None else "gru.c", why)
    return loaded


def _find() -> tuple[ctypes.CDLL | None, str]:
    """The library and where it is from; or None, and why."""
    if why := library.missing():
        return None, why
    with defer_signals():  # a library is kept in the cache whole or not at all
        return library.load(*_cache())


def _cache() -> tuple[Path | None, str]:
    """A folder for compiled code; or None, and why."""
    try:
        return cache_folder(), ""
    except FolderError as error:
        return None, str(error)


class Stepper(Protocol):
    """A decoder, a character at a time.

    A string that is under way is a row of two tensors, which are handed on from step to step: what its latent point
    contributes, and its state. They may have more rows than there are strings.
    """

    def in_parts(self, run: Callable[[Tensor], R], z: Tensor, most: int, threads: bool = True) -> list[R]:
        """``run`` on parts of the points, of at most so many, in order; in several threads if allowed and faster."""

    def begin(self, z: Tensor) -> tuple[Tensor, Tensor]:
        """``(batch, latent)`` → what the points contribute, and the first states."""

    def next(self, ids: Tensor, contribution: Tensor, state: Tensor) -> tuple[Tensor, Tensor]:
        """Scores of the characters after these, ``(batch, characters)`` float32, and the next states.

        Args:
            ids: ``(batch,)``.
            contribution: of `begin` or `take`.
            state: the same, or of the step before; it may be written to.
        """

    def take(self, rows: Tensor, chosen: Tensor) -> Tensor:
        """The rows of either tensor whose numbers are chosen; they may repeat."""

    def worth_taking(self, left: int, rows: int) -> bool:
        """Whether to take the strings that are left out of so many, for the steps to come to cost less."""

    def write(self, z: Tensor, longest: int) -> Tensor | None:
        """The likeliest characters of each point, ``(batch, longest)`` int64; END fills what follows the end.

        None where whole strings are written no faster than by single steps.
        """


class GRULayer(nn.GRU):
    """A `torch.nn.GRU` layer, with its weights and their names, whose inputs are characters' embeddings.

    Methods take the embedding, since both belong to the module around them. Tokens are ``(time, batch)``.
    """

    def __init__(self, inputs: int, hidden: int, bidirectional: bool = False) -> None:
        super().__init__(inputs, hidden, bidirectional=bidirectional)
        self._pool = BufferPool()

    def outputs(self, embed: nn.Embedding, tokens: Tensor, z: Tensor, state: Tensor) -> Tensor:
        """The outputs of a layer that reads z beside each character, ``(time, batch, hidden)``.

        In C their memory serves again once the gradient was taken.

        Args:
            embed: of the characters.
            tokens: ``(time, batch)``.
            z: ``(batch, latent)``, the same at each step.
            state: the first one, ``(batch, hidden)``.
        """
        if (compiled := self._for_training(tokens)) is not None:
            return training.run(compiled, self._weights(embed), tokens, z, state)
        inputs = embed(tokens)
        at_each_step = z.to(inputs.dtype).expand(len(inputs), *z.shape)
        outputs: Tensor = self(torch.cat([inputs, at_each_step], -1), state[None])[0]
        return outputs

    def last_states(self, embed: nn.Embedding, tokens: Tensor) -> list[Tensor]:
        """Of a bidirectional layer, forward and backward, ``(batch, hidden)`` each."""
        if (compiled := self._for_training(tokens)) is not None:
            forward = training.run(compiled, self._weights(embed), tokens)
            return [forward, training.run(compiled, self._weights(embed, "l0_reverse"), tokens.flip(0))]
        return list(self(embed(tokens))[1])

    def read(self, embed: nn.Embedding, strings: Sequence[Sequence[int]]) -> Iterator[list[Tensor]]:
        """`last_states` without a gradient of strings that may differ in length, in parts, in order.

        Args:
            embed: of the characters.
            strings: ids of characters, longest first.
        """
        device = embed.weight.device
        if (loaded := _kernel_on(device)) is not None:
            layers = [inference.Layer(loaded, self._weights(embed, name)) for name in ("l0", "l0_reverse")]
            directions = strings, [string[::-1] for string in strings]
            yield _in_threads(lambda k: layers[k].read(directions[k]), 2)
            return
        for _, alike in groupby(strings, key=len):
            yield self.last_states(embed, torch.tensor(list(alike), device=device).t())

    def stepper(self, embed: nn.Embedding, initial: Callable[[Tensor], Tensor], logits: nn.Linear) -> Stepper:
        """Single steps of a decoder, and whole strings.

        Args:
            embed: of the characters.
            initial: z → the first state, ``(batch, hidden)``.
            logits: state → scores of the next character.
        """
        loaded, weights = _kernel_on(embed.weight.device), self._weights(embed)
        if loaded is None:
            return TorchStepper(weights, initial, logits)
        offset = logits.bias.detach().clone()
        offset[START] = -torch.inf
        return KernelStepper(inference.Layer(loaded, weights, logits.weight, offset), initial)

    def _for_training(self, tokens: Tensor) -> training.Kernel | None:
        """The kernel, where it may stand in for PyTorch: a training under bfloat16 autocast on a CPU."""
        if not (torch.is_grad_enabled() and torch.is_autocast_enabled("cpu")):
            return None
        loaded = _kernel_on(tokens.device) if torch.get_autocast_dtype("cpu") == torch.bfloat16 else None
        return None if loaded is None else training.Kernel(loaded, self._pool)

    def _weights(self, embed: nn.Embedding, name: str = "l0") -> Weights:
        """Of a direction, "l0" or "l0_reverse"."""
        parts = ("weight_ih", "weight_hh", "bias_ih", "bias_hh")
        W_ih, W_hh, b_ih, b_hh = (getattr(self, f"{part}_{name}") for part in parts)
        gates, characters = 2 * self.hidden_size, embed.embedding_dim
        # the candidate's b_hh stands inside its product with r; those of r and z are as good as any other
        bias = b_ih + torch.cat([b_hh[:gates], b_hh.new_zeros(self.hidden_size)])
        table = embed.weight @ W_ih[:, :characters].t() + bias
        return Weights(table, W_ih[:, characters:], W_hh, b_hh[gates:].contiguous())


class KernelStepper:
    """Steps in C: a `Stepper`."""

    def __init__(self, layer: inference.Layer, initial: Callable[[Tensor], Tensor]) -> None:
        self._layer, self._initial = layer, initial

    def in_parts(self, run: Callable[[Tensor], R], z: Tensor, most: int, threads: bool = True) -> list[R]:
        """See `Stepper`: C leaves Python to other threads."""
        shares = max(1, min(torch.get_num_threads(), len(z) // BLOCK)) if threads else 1
        parts = _parts(z, most, shares)
        return _in_threads(lambda k: run(parts[k]), len(parts)) if threads else [*map(run, parts)]

    def begin(self, z: Tensor) -> tuple[Tensor, Tensor]:
        """See `Stepper`; ``(rows, 3·width)`` and ``(rows, width)`` bfloat16."""
        return self._layer.begin(_padded(z, BLOCK), self._initial)

    def next(self, ids: Tensor, contribution: Tensor, state: Tensor) -> tuple[Tensor, Tensor]:
        """See `Stepper`."""
        return self._layer.next(ids, contribution, state), state

    def take(self, rows: Tensor, chosen: Tensor) -> Tensor:
        """See `Stepper`."""
        return _padded(rows[chosen], BLOCK)

    def worth_taking(self, left: int, rows: int) -> bool:
        """See `Stepper`."""
        return _tiles(left, BLOCK) < _tiles(rows, BLOCK) and left < 0.8 * rows

    def write(self, z: Tensor, longest: int) -> Tensor:
        """See `Stepper`."""
        return self._layer.write(*self.begin(z), (len(z), longest), START, END)


class TorchStepper:
    """Steps in PyTorch: a `Stepper`.

    On CPUs that compute in bfloat16 the products are in bfloat16; the rest, and all of it elsewhere, is in float32.
    Buffers are used again at each step: memory touched for the first time costs more than the arithmetic.
    """

    def __init__(self, weights: Weights, initial: Callable[[Tensor], Tensor], logits: nn.Linear) -> None:
        device, hidden = weights.W_hh.device, len(weights.b_hn)
        on_cpu = device.type == "cpu"
        dtype = torch.bfloat16 if on_cpu and torch.cpu._is_avx512_bf16_supported() else torch.float32
        self._table, self._W_z, W_hh, self._b_hn = weights
        self._initial, self._offset = initial, logits.bias
        self._tile = CPU_TILE if on_cpu else GPU_TILE
        self._W_hh, self._readout = W_hh.to(dtype).t(), logits.weight.to(dtype).t()
        self._low = torch.zeros(self._tile, hidden, dtype=dtype, device=device)
        self._product = torch.zeros(self._tile, 3 * hidden, dtype=dtype, device=device)
        self._activations = torch.zeros(self._tile, 3 * hidden, device=device)
        self._candidate = torch.zeros(self._tile, hidden, device=device)

    def in_parts(self, run: Callable[[Tensor], R], z: Tensor, most: int, threads: bool = True) -> list[R]:
        """See `Stepper`; PyTorch has threads of its own."""
        return [*map(run, _parts(z, most))]

    def begin(self, z: Tensor) -> tuple[Tensor, Tensor]:
        """See `Stepper`; ``(rows, 3·hidden)`` and ``(rows, hidden)`` float32."""
        tiles = torch.split(_padded(z, self._tile), self._tile)
        contribution = torch.cat([linear(tile, self._W_z) for tile in tiles])
        return contribution, torch.cat([self._initial(tile) for tile in tiles])

    def next(self, ids: Tensor, contribution: Tensor, state: Tensor) -> tuple[Tensor, Tensor]:
        """See `Stepper`."""
        padded = pad(ids, (0, len(state) - len(ids)))
        scores = torch.empty(len(state), self._readout.shape[1], dtype=self._readout.dtype, device=state.device)
        for parts in zip(
            *(torch.split(part, self._tile) for part in (padded, contribution, state, scores)), strict=True
        ):
            self._next_tile(*parts)
        out = scores[: len(ids)].float() + self._offset
        out[:, START] = -torch.inf
        return out, state

    def take(self, rows: Tensor, chosen: Tensor) -> Tensor:
        """See `Stepper`."""
        return _padded(rows[chosen], self._tile)

    def worth_taking(self, left: int, rows: int) -> bool:
        """See `Stepper`."""
        return _tiles(left, self._tile) < _tiles(rows, self._tile)

    def write(self, z: Tensor, longest: int) -> None:
        """See `Stepper`."""
        return

    def _next_tile(self, ids: Tensor, contribution: Tensor, state: Tensor, scores: Tensor) -> None:
        """Write to ``state`` and ``scores``; the formula stands in `gru.c`."""
        hidden, product, activations = state.shape[1], self._product, self._activations
        torch.mm(self._low.copy_(state), self._W_hh, out=product)
        torch.index_select(self._table, 0, ids, out=activations).add_(contribution)
        activations[:, : 2 * hidden].add_(product[:, : 2 * hidden]).sigmoid_()
        reset, update, new = activations.chunk(3, 1)
        torch.add(self._b_hn, product[:, 2 * hidden :], out=self._candidate)
        torch.addcmul(new, reset, self._candidate, out=self._candidate).tanh_()
        torch.lerp(self._candidate, state, update, out=state)
        torch.mm(self._low.copy_(state), self._readout, out=scores)


def _kernel_on(device: torch.device) -> ctypes.CDLL | None:
    return kernel() if device.type == "cpu" else None


def _parts(z: Tensor, most: int, shares: int = 1) -> tuple[Tensor, ...]:
    """A multiple of so many parts, about equal, of at most so many points each."""
    return torch.tensor_split(z, shares * -(-len(z) // (shares * most))) if len(z) else ()


def _tiles(rows: int, tile: int) -> int:
    return -(-rows // tile)


def _padded(rows: Tensor, tile: int) -> Tensor:
    """As many rows as whole tiles have."""
    return pad(rows, (0, 0, 0, -len(rows) % tile))


def _in_threads(run: Callable[[int], R], parts: int) -> list[R]:
    """``run(0), …, run(parts − 1)``, in as many threads as PyTorch takes, without gradients."""
    inference_mode, threads = torch.is_inference_mode_enabled(), min(parts, torch.get_num_threads())

    def quietly(part: int) -> R:  # these modes are each thread's own
        with torch.inference_mode(inference_mode), torch.no_grad():
            return run(part)

    return [*(_threads(threads).map if threads > 1 else map)(quietly, range(parts))]


@functools.cache
def _threads(n: int) -> ThreadPoolExecutor:
    return ThreadPoolExecutor(n, "gru", initializer=lambda: torch.set_num_threads(1))
