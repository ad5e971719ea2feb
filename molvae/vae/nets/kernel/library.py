"""`gru.c`, compiled where the program runs, and the weights of a layer as it reads them."""

import contextlib
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

from molvae.errors import FolderError, UsageError
from molvae.folders import cache_folder, sha256
from molvae.signals import defer_signals

log = logging.getLogger("molvae")

BF16 = torch.bfloat16
FLAGS = ("-O3", "-march=native", "-mprefer-vector-width=512", "-fno-math-errno", "-fno-trapping-math", "-fopenmp")
BLOCK = 32
"""Rows that take a step together, and what widths are padded to."""
R = TypeVar("R")


@functools.cache
def kernel() -> ctypes.CDLL | None:
    """`gru.c`, compiled for this processor in a second, once for all. One line at INFO says what runs, and why.

    None where there is no compiler for it, the processor does not compute in bfloat16, or the environment says
    ``MOLVAE_KERNEL=off``.

    Raises:
        UsageError: ``MOLVAE_KERNEL`` is something else than off, on, auto or empty.
    """
    wanted = os.environ.get("MOLVAE_KERNEL", "")
    if wanted not in ("", "auto", "on", "off"):
        raise UsageError(f"MOLVAE_KERNEL is off, on, auto or empty; it is {wanted!r}")
    loaded, why = (None, "MOLVAE_KERNEL=off") if wanted == "off" else _find()
    level = logging.WARNING if wanted == "on" and loaded is None else logging.INFO
    log.log(level, "GRU layers run in %s: %s", "PyTorch" if loaded is None else "gru.c", why)
    return loaded


def _find() -> tuple[ctypes.CDLL | None, str]:
    """The library and where it is from; or None, and why."""
    if not torch.cpu._is_avx512_bf16_supported():
        return None, "this processor does not compute in bfloat16 (AVX512-BF16)"
    compiler = shutil.which("gcc") or shutil.which("cc")
    if compiler is None:
        return None, "there is no C compiler (gcc or cc), and they take several times as long"
    try:
        loaded, origin = _load(compiler, Path(__file__).with_name("gru.c"))
    except (OSError, subprocess.SubprocessError) as error:
        said = (getattr(error, "stderr", None) or str(error)).strip().partition("\n")[0]
        return None, f"gru.c cannot be compiled, and they take several times as long: {said}"
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
    return loaded, origin


def _load(compiler: str, source: Path) -> tuple[ctypes.CDLL, str]:
    """The library, from the user's cache or compiled now, and where it is from.

    Its name in the cache ends with its own SHA-256, as loading a truncated library ends the process. Where the cache
    is not safe or cannot be written, it is loaded from a folder of this process alone.
    """
    name = f"gru-{_key(compiler, source)}"
    folder: Path | None = None
    try:
        folder = cache_folder()
        for kept in folder.glob(f"{name}-*.so"):
            with contextlib.suppress(OSError):
                if kept.stem == f"{name}-{sha256(kept)}":
                    return ctypes.CDLL(str(kept)), f"read from {kept}"
    except FolderError as error:
        why = str(error)
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as made:  # Windows does not remove what is loaded
        library = Path(made) / "gru.so"
        command = [compiler, *FLAGS, "-shared", "-fPIC", str(source), "-o", str(library)]
        subprocess.run(command, capture_output=True, check=True, text=True)
        if folder is not None:
            try:
                kept = _move(library, folder / f"{name}-{sha256(library)}.so")
                return ctypes.CDLL(str(kept)), f"compiled as {kept}"
            except OSError as error:  # a full disk, or one that nothing may be run from
                why = f"{folder}: {error.strerror or error}"
        return ctypes.CDLL(str(library)), f"compiled for this process alone, as {why}"


def _key(compiler: str, source: Path) -> str:
    """For which source, flags, compiler and processor a library is."""
    info = Path("/proc/cpuinfo")
    processor = info.read_text().split("\n\n")[0].splitlines() if info.exists() else [platform.processor()]
    kind = [line for line in processor if line.startswith(("model name", "flags", "Features", "CPU part"))] or processor
    version = subprocess.run([compiler, "-dumpfullversion", "-dumpmachine"], capture_output=True, check=True).stdout
    return hashlib.sha256(repr((source.read_bytes(), FLAGS, version, kind)).encode()).hexdigest()[:16]


def _move(library: Path, kept: Path) -> Path:
    """Whole or not at all, also while other processes do the same, even those of containers with the same number."""
    with defer_signals(), tempfile.TemporaryDirectory(dir=kept.parent) as own:
        return Path(shutil.copy(library, own)).replace(kept)


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
