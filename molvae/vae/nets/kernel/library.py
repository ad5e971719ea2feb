"""`gru.c`, compiled where the program runs, and the weights of a layer as it reads them."""

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
from typing import TypeVar

import torch
from torch import Tensor, nn
from torch.nn.functional import pad

from molvae.errors import FolderError
from molvae.folders import write_atomic

log = logging.getLogger("molvae")

BF16 = torch.bfloat16
FLAGS = ("-O3", "-march=native", "-mprefer-vector-width=512", "-fno-math-errno", "-fno-trapping-math", "-fopenmp")
BLOCK = 32
"""Rows that take a step together, and what widths are padded to."""
R = TypeVar("R")


@functools.cache
def kernel() -> ctypes.CDLL | None:
    """`gru.c`, compiled for this processor in a second, once for all.

    None where there is no compiler for it, or the processor does not compute in bfloat16.
    """
    if not torch.cpu._is_avx512_bf16_supported():
        return None
    compiler = shutil.which("gcc") or shutil.which("cc")
    if compiler is None:
        log.info("no C compiler here: GRU layers take several times as long")
        return None
    try:
        loaded = ctypes.CDLL(str(_compiled(compiler, Path(__file__).with_name("gru.c"))))
    except (OSError, RuntimeError, subprocess.SubprocessError) as error:  # of which one is: there is no home folder
        log.info(
            "GRU layers take several times as long, for gru.c cannot be compiled: %s",
            getattr(error, "stderr", None) or error,
        )
        return None
    pointer, size = ctypes.c_void_p, ctypes.c_int64
    arguments = {
        "gru_write": [pointer, size, size, *[pointer] * 3],
        "gru_read": [pointer, size, *[pointer] * 3],
        "gru_next": [pointer, size, *[pointer] * 4],
        "gru_forward": [pointer, *[size] * 3, *[pointer] * 4],
        "gru_backward": [pointer, pointer, *[size] * 4, *[pointer] * 9],
        "gru_across": [*[size] * 4, *[pointer] * 3],
    }
    for name, kinds in arguments.items():
        function = getattr(loaded, name)
        function.argtypes, function.restype = kinds, None
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


def padded(table: Tensor, across: Tensor, weight: Tensor, bias: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """What `weights` gives with ``hidden`` grown to whole blocks; the states of what is added stay 0."""
    hidden, gap = len(bias), -len(bias) % BLOCK
    if gap == 0:
        return table, across, weight, bias

    def gates(rows: Tensor) -> Tensor:
        return pad(rows.reshape(3, hidden, -1), (0, 0, 0, gap)).flatten(0, 1)

    return gates(table.t()).t(), gates(across), gates(pad(weight, (0, gap))), pad(bias, (0, gap))


def packed(weight: Tensor, gates: int = 1) -> Tensor:
    """``(gates·width, inputs)`` as gru.c reads it: by 32 columns, gate, 32 inputs, half the columns, two inputs."""
    pairs = weight.to(BF16).contiguous().view(torch.int32)
    return pairs.view(gates, -1, 2, 16, pairs.shape[1] // 16, 16).permute(1, 0, 4, 2, 5, 3).contiguous()


class _Layer(ctypes.Structure):
    """`layer` of gru.c."""

    _fields_ = (
        *((name, ctypes.c_int64) for name in ("width", "characters")),
        *((name, ctypes.c_void_p) for name in ("table", "weight", "bias", "readout", "offset")),
    )


class Packed:
    """The weights of a layer's direction for gru.c.

    Args:
        table: of `padded`, as are ``weight`` and ``bias``.
        readout: from states to scores of the next character, ``(characters, width)``, in whole blocks, if it writes.
        offset: what is added to the scores, ``(characters,)``.

    Attributes:
        address: what the functions of gru.c take first.
    """

    def __init__(
        self, table: Tensor, weight: Tensor, bias: Tensor, readout: Tensor | None = None, offset: Tensor | None = None
    ) -> None:
        self._kept = [table.to(BF16).contiguous(), packed(weight, 3), bias.float().contiguous()]
        if readout is not None and offset is not None:
            self._kept += [packed(readout), offset.float().contiguous()]
        places = [part.data_ptr() for part in self._kept]
        self._layer = _Layer(len(bias), 0 if offset is None else len(offset), *places)
        self.address = ctypes.addressof(self._layer)


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
