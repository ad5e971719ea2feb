"""`gru.c` as it runs here, and emulated: in plain C in place of the instructions that few processors have."""

import ctypes
import platform
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from filelock import FileLock

from molvae.vae.nets import gru_layer
from molvae.vae.nets.kernel import library as kernel_library

KERNEL = Path(__file__).parent / "nets" / "kernel"
X86_LINUX = platform.system() == "Linux" and platform.machine() == "x86_64"


@pytest.fixture(scope="session")
def emulated(tmp_path_factory, worker_id) -> Path:
    """The library, compiled against `emulated/immintrin.h`; once for all processes of a run, in two seconds."""
    if not (X86_LINUX and shutil.which("gcc")):
        pytest.skip("no gcc, or no Linux on x86-64")
    base = tmp_path_factory.getbasetemp()
    made = (base if worker_id == "master" else base.parent) / "emulated.so"
    flags = ["-O1", "-Wno-psabi", "-fno-strict-aliasing", "-fopenmp", "-shared", "-fPIC", "-D__AMX_BF16__"]
    with FileLock(made.with_suffix(".lock")):
        if not made.exists():
            command = ["gcc", *flags, "-I", KERNEL / "emulated", kernel_library.SOURCE, "-o", made]
            subprocess.run(command, check=True)
    return made


def load(request, kind: str) -> ctypes.CDLL:
    """The library "as it is" on this processor, or "emulated"; skips where there is none."""
    if kind == "as it is":
        loaded = gru_layer.kernel()
        if loaded is None:
            pytest.skip("no C compiler, or no processor that computes in bfloat16")
        return loaded
    loaded = ctypes.CDLL(str(request.getfixturevalue("emulated")))
    kernel_library.declare(loaded)
    return loaded


@pytest.fixture(params=["as it is, AMX", "as it is, AVX512", "emulated, AMX", "emulated, AVX512"])
def library(request, monkeypatch) -> Iterator[ctypes.CDLL]:
    """`gru.c` with either way to multiply; `gru_layer` takes it for its own during the test."""
    kind, _, way = request.param.rpartition(", ")
    loaded = load(request, kind)
    tiles = ctypes.c_int.in_dll(loaded, "gru_amx")
    before = tiles.value
    if (kind, way) == ("as it is", "AMX") and not before:
        pytest.skip("this processor has no AMX")
    tiles.value = way == "AMX"
    monkeypatch.setattr(gru_layer, "kernel", lambda: loaded)
    yield loaded
    tiles.value = before


@pytest.fixture(params=["PyTorch", "C"])
def either_way(request, monkeypatch) -> str:
    """GRU layers run in PyTorch, or in C, during the test."""
    loaded = None
    if request.param == "C":
        loaded = load(request, "emulated" if gru_layer.kernel() is None else "as it is")
    monkeypatch.setattr(gru_layer, "kernel", lambda: loaded)
    return request.param


@pytest.fixture(scope="session")
def reference(module_at):
    """What the functions of gru.c compute, in NumPy."""
    return module_at(KERNEL / "reference.py")
