"""A GRU layer over whole strings for training on a CPU: the same mathematics as `torch.nn.GRU`, in half the time.

`torch.nn.GRU` spends two thirds of a step outside its matrix products: a dozen passes over memory for the gates, and
pages of memory touched for the first time. Here one pass of compiled C (`gru.c`) does the gates of a step, the buffers
stay, what a character and the latent point add to the gates is computed once, and each thread takes its share of the
batch through all steps without waiting for the others.
"""

import ctypes
import functools
import hashlib
import logging
import os
import platform
import shutil
import subprocess
import tempfile
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, TypeVar

import torch
from torch import Tensor, nn

from molvae.errors import FolderError
from molvae.folders import write_atomic

log = logging.getLogger("molvae")

BF16 = torch.bfloat16
FLAGS = ("-O3", "-march=native", "-mprefer-vector-width=512", "-fno-math-errno", "-fno-trapping-math")
SHARE = 2**15
"""Least numbers of a state that a thread is begun for; with fewer the threads wait for each other."""
R = TypeVar("R")


@functools.cache
def kernel() -> ctypes.CDLL | None:
    """`gru.c`, compiled for this processor in a second, once for all; None where there is no compiler for it."""
    compiler = shutil.which("gcc") or shutil.which("cc")
    if compiler is None:
        log.info("no C compiler here: training with torch.nn.GRU, which takes about twice as long")
        return None
    try:
        loaded = ctypes.CDLL(str(_compiled(compiler, Path(__file__).with_name("gru.c"))))
    except (OSError, RuntimeError, subprocess.SubprocessError) as error:  # of which one is: there is no home folder
        log.info("training with torch.nn.GRU: %s", getattr(error, "stderr", None) or error)
        return None
    pointer, size = ctypes.c_void_p, ctypes.c_int64
    loaded.gru_forward.argtypes, loaded.gru_forward.restype = [size, size, *[pointer] * 8], None
    loaded.gru_backward.argtypes, loaded.gru_backward.restype = [size, size, *[pointer] * 10], None
    if hasattr(loaded, "gru_write"):
        loaded.gru_write.argtypes, loaded.gru_write.restype = [pointer, size, size, *[pointer] * 3], None
        loaded.gru_read.argtypes, loaded.gru_read.restype = [pointer, size, *[pointer] * 3], None
        loaded.gru_next.argtypes, loaded.gru_next.restype = [pointer, size, *[pointer] * 4], None
    return loaded


def _compiled(compiler: str, source: Path) -> Path:
    """The library, from the user's cache or made now; in a folder for this process where the cache cannot be written.

    Its name says for which source, flags, compiler and processor it was made.
    """
    info = Path("/proc/cpuinfo")
    processor = info.read_text().split("\n\n")[0].splitlines() if info.exists() else [platform.processor()]
    kind = [line for line in processor if line.startswith(("model name", "flags", "Features", "CPU part"))] or processor
    version = subprocess.run([compiler, "-dumpfullversion", "-dumpmachine"], capture_output=True, check=True).stdout
    key = hashlib.sha256(repr((source.read_bytes(), FLAGS, version, kind)).encode()).hexdigest()[:16]
    folder = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "molvae"
    library = folder / f"gru-{key}.so"
    if library.exists():
        return library
    with tempfile.TemporaryDirectory() as made:
        fresh = Path(made) / "gru.so"
        command = [compiler, *FLAGS, "-shared", "-fPIC", str(source), "-o", str(fresh)]
        subprocess.run(command, capture_output=True, check=True, text=True)
        try:
            write_atomic(library, fresh.read_bytes())
        except FolderError:
            _made.append(tempfile.TemporaryDirectory())
            library = Path(shutil.copy(fresh, _made[-1].name))
    return library


_made: list[tempfile.TemporaryDirectory[str]] = []


def applies(device: torch.device) -> bool:
    """Whether `sweep` may stand in for `torch.nn.GRU`: a training under bfloat16 autocast on a CPU, with a compiler."""
    return (
        device.type == "cpu"
        and torch.is_grad_enabled()
        and torch.is_autocast_enabled("cpu")
        and torch.get_autocast_dtype("cpu") == BF16
        and kernel() is not None
    )


def quick(device: torch.device) -> ctypes.CDLL | None:
    """The kernel for `fused`, where the device is a CPU that computes in bfloat16 and the compiler knows of that."""
    library = kernel() if device.type == "cpu" else None
    return library if hasattr(library, "gru_write") else None


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
        ``(time, batch, hidden)`` bfloat16, or with no z the last state alone, ``(batch, hidden)``.
    """
    return _layer(gru, "l0", embed, tokens, z, start)


def reverse(gru: nn.GRU, embed: nn.Embedding, tokens: Tensor) -> Tensor:
    """The last state of the layer's other direction, which reads from the end."""
    return _layer(gru, "l0_reverse", embed, tokens.flip(0), None, None)


def _layer(
    gru: nn.GRU, name: str, embed: nn.Embedding, tokens: Tensor, z: Tensor | None, start: Tensor | None
) -> Tensor:
    table, across, weight, bias = weights(gru, name, embed)
    fixed = None if z is None else z @ across.t()
    if start is None:
        start = weight.new_zeros(tokens.shape[1], gru.hidden_size)
    return _Sweep.apply(table, tokens.contiguous(), fixed, weight, bias, start)  # type: ignore[no-any-return, no-untyped-call]


def weights(gru: nn.GRU, name: str, embed: nn.Embedding) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """A layer's direction ("l0" or "l0_reverse") as a step needs it.

    Returns:
        What each character adds to the gates, ``(characters, 3·hidden)``; the weights of other inputs,
        ``(3·hidden, inputs)``; those of the state, ``(3·hidden, hidden)``; the candidate's inner bias, ``(hidden,)``.
    """
    parts = ("weight_ih", "weight_hh", "bias_ih", "bias_hh")
    inputs, weight, bias, inner = (getattr(gru, f"{part}_{name}") for part in parts)
    hidden, characters = gru.hidden_size, embed.embedding_dim
    # the candidate's inner bias stands inside its product with r; those of r and z are as good as any other
    bias = bias + torch.cat([inner[: 2 * hidden], inner.new_zeros(hidden)])
    table = embed.weight @ inputs[:, :characters].t() + bias
    return table, inputs[:, characters:], weight, inner[2 * hidden :].contiguous()


class _Sweep(torch.autograd.Function):
    """All steps. With ``fixed`` every state is given back, without it the last one."""

    @staticmethod
    def forward(
        ctx: Any, table: Tensor, tokens: Tensor, fixed: Tensor | None, weight: Tensor, bias: Tensor, start: Tensor
    ) -> Tensor:
        """See `sweep`; ``table`` is ``(characters, 3·hidden)``, ``fixed`` ``(batch, 3·hidden)``."""
        (time, batch), hidden, library = tokens.shape, weight.shape[1], _library()
        table, across, bias = table.to(BF16).contiguous(), weight.to(BF16).t(), bias.float().contiguous()
        each = None if fixed is None else fixed.to(BF16).contiguous()
        states, gates = _take(time + 1, batch, hidden), _take(time, batch, 4 * hidden)
        states[0] = start

        def run(first: int, last: int) -> None:
            product = torch.empty(last - first, 3 * hidden, dtype=BF16)
            for t in range(time):
                torch.mm(states[t, first:last], across, out=product)
                library.gru_forward(
                    last - first, hidden, _at(table), _at(tokens, t, first), _at(each, first), _at(product),
                    _at(bias), _at(states, t, first), _at(gates, t, first), _at(states, t + 1, first),
                )  # fmt: skip

        _in_threads(run, batch, hidden)
        ctx.save_for_backward(tokens, weight)
        ctx.kept = states, gates, len(table), fixed is not None
        return states[-1].clone() if fixed is None else states[1:].clone()

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        """Back through time."""
        tokens, weight = ctx.saved_tensors
        states, gates, characters, every = ctx.kept
        (time, batch), hidden, library = tokens.shape, weight.shape[1], _library()
        back = weight.to(BF16)
        flow = _take(time, batch, 3 * hidden)
        outer = grad.to(BF16).contiguous() if every else None
        carried = torch.zeros(batch, hidden) if every else grad.float().clone()
        fixed = torch.zeros(batch, 3 * hidden) if every else None

        def run(first: int, last: int) -> tuple[Tensor, Tensor]:
            inner = torch.zeros(last - first, hidden, dtype=BF16)
            table, bias = torch.zeros(characters, 3 * hidden), torch.zeros(hidden)
            for t in reversed(range(time)):
                library.gru_backward(
                    last - first, hidden, _at(tokens, t, first), _at(outer, t, first), _at(inner), _at(gates, t, first),
                    _at(states, t, first), _at(carried, first), _at(flow, t, first), _at(table), _at(fixed, first),
                    _at(bias),
                )  # fmt: skip
                torch.mm(flow[t, first:last], back, out=inner)
            carried[first:last] += inner
            return table, bias

        tables, biases = zip(*_in_threads(run, batch, hidden), strict=True)
        across = flow.flatten(0, 1).t() @ states[:-1].flatten(0, 1)
        _spare.extend((states, gates, flow))
        ctx.kept = None
        return sum(tables), None, fixed, across.float(), sum(biases), carried


def _library() -> ctypes.CDLL:
    library = kernel()
    assert library is not None
    return library


def _at(tensor: Tensor | None, *place: int) -> int | None:
    """The address of an element's row in a contiguous tensor; the null pointer for None."""
    if tensor is None:
        return None
    offset = sum(k * stride for k, stride in zip(place, tensor.stride(), strict=False))
    return tensor.data_ptr() + offset * tensor.element_size()


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


def _in_threads(run: Callable[[int, int], R], batch: int, hidden: int) -> list[R]:
    """``run(first, last)`` on equal shares of the rows, one a thread of PyTorch's, where there is work for several."""
    shares = max(1, min(torch.get_num_threads(), batch, batch * hidden // SHARE))
    edges = [batch * k // shares for k in range(shares + 1)]
    return in_threads(lambda share: run(edges[share], edges[share + 1]), shares)


def in_threads(run: Callable[[int], R], parts: int) -> list[R]:
    """``run(0), …, run(parts − 1)``, in as many threads as PyTorch takes, without gradients."""
    inference, threads = torch.is_inference_mode_enabled(), min(parts, torch.get_num_threads())  # of this thread alone

    def quietly(part: int) -> R:
        with torch.inference_mode(inference), torch.no_grad():
            return run(part)

    return [*(_threads(threads).map if threads > 1 else map)(quietly, range(parts))]


@functools.cache
def _threads(n: int) -> ThreadPoolExecutor:
    return ThreadPoolExecutor(n, "gru", initializer=lambda: torch.set_num_threads(1))
