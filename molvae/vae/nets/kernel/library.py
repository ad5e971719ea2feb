"""`gru.c`, compiled where the program runs."""

import contextlib
import ctypes
import hashlib
import platform
import shutil
import subprocess
import tempfile
from pathlib import Path
from typing import Final

import torch

FLAGS = ("-O3", "-march=native", "-mprefer-vector-width=512", "-fno-math-errno", "-fno-trapping-math", "-fopenmp")
SOURCE: Final = Path(__file__).with_name("gru.c")
_POINTER, _SIZE = ctypes.c_void_p, ctypes.c_int64
ARGUMENTS: Final = {
    "gru_write": [_POINTER, *[_SIZE] * 4, *[_POINTER] * 3],
    "gru_read": [_POINTER, _SIZE, *[_POINTER] * 3],
    "gru_next": [_POINTER, _SIZE, *[_POINTER] * 4],
    "gru_forward": [_POINTER, *[_SIZE] * 3, *[_POINTER] * 4],
    "gru_backward": [_POINTER, _POINTER, *[_SIZE] * 4, *[_POINTER] * 9],
    "gru_weight_gradient": [*[_SIZE] * 4, *[_POINTER] * 3],
}
"""What the functions of gru.c take; all of them return nothing."""


def missing() -> str:
    """What this machine lacks for `gru.c`; empty where it has all."""
    if not torch.cpu._is_avx512_bf16_supported():
        return "this processor does not compute in bfloat16 (AVX512-BF16)"
    if _compiler() is None:
        return "there is no C compiler (gcc or cc), and they take several times as long"
    return ""


def load(cache: Path | None, why: str = "") -> tuple[ctypes.CDLL | None, str]:
    """The library, and where it is from; or None, and why. Nothing may be `missing`.

    Args:
        cache: a folder where the compiled library is kept, and where nobody else can write.
        why: there is none.
    """
    compiler = _compiler()
    assert compiler is not None
    try:
        library, origin = _load(compiler, SOURCE, cache, why)
    except (OSError, subprocess.SubprocessError) as error:
        said = (getattr(error, "stderr", None) or str(error)).strip().partition("\n")[0]
        return None, f"gru.c cannot be compiled, and they take several times as long: {said}"
    declare(library)
    return library, origin


def declare(library: ctypes.CDLL) -> None:
    """Tell ctypes the functions of `gru.c`."""
    for name, kinds in ARGUMENTS.items():
        function = getattr(library, name)
        function.argtypes, function.restype = kinds, None


def _compiler() -> str | None:
    return shutil.which("gcc") or shutil.which("cc")


def _load(compiler: str, source: Path, cache: Path | None, why: str) -> tuple[ctypes.CDLL, str]:
    """The library, from the cache or compiled now, and where it is from.

    Its name in the cache ends with its own SHA-256, as loading a truncated library ends the process. Where there is no
    cache or it cannot be written, it is loaded from a folder of this process alone.
    """
    name = f"gru-{_key(compiler, source)}"
    for kept in cache.glob(f"{name}-*.so") if cache is not None else ():
        with contextlib.suppress(OSError):
            if kept.stem == f"{name}-{_sha256(kept)}":
                return ctypes.CDLL(str(kept)), f"read from {kept}"
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as made:  # Windows does not remove what is loaded
        library = Path(made) / "gru.so"
        command = [compiler, *FLAGS, "-shared", "-fPIC", str(source), "-o", str(library)]
        subprocess.run(command, capture_output=True, check=True, text=True)
        if cache is not None:
            try:
                kept = _move(library, cache / f"{name}-{_sha256(library)}.so")
                return ctypes.CDLL(str(kept)), f"compiled as {kept}"
            except OSError as error:  # a full disk, or one that nothing may be run from
                why = f"{cache}: {error.strerror or error}"
        return ctypes.CDLL(str(library)), f"compiled for this process alone, as {why}"


def _key(compiler: str, source: Path) -> str:
    """For which source, flags, compiler and processor a library is."""
    cpuinfo = Path("/proc/cpuinfo")
    processor = cpuinfo.read_text().split("\n\n")[0].splitlines() if cpuinfo.exists() else [platform.processor()]
    kind = [line for line in processor if line.startswith(("model name", "flags", "Features", "CPU part"))] or processor
    version = subprocess.run([compiler, "-dumpfullversion", "-dumpmachine"], capture_output=True, check=True).stdout
    return hashlib.sha256(repr((source.read_bytes(), FLAGS, version, kind)).encode()).hexdigest()[:16]


def _sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def _move(library: Path, kept: Path) -> Path:
    """Whole or not at all, also while other processes do the same, even those of containers with the same number."""
    with tempfile.TemporaryDirectory(dir=kept.parent) as own:
        return Path(shutil.copy(library, own)).replace(kept)
