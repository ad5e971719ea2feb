"""How gru.c is compiled, kept and loaded; by a small source, which any processor runs. And what ctypes knows of it."""

import ctypes
import os
import platform
import re
import shutil
import subprocess
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from molvae.vae.nets import gru_layer
from molvae.vae.nets.kernel import library as kernel_library
from molvae.vae.nets.kernel.packing import BLOCK, CLayer

COMPILER = shutil.which("gcc") or shutil.which("cc")
with_compiler = pytest.mark.skipif(COMPILER is None, reason="no C compiler")
with_users = pytest.mark.skipif(not hasattr(os, "getuid"), reason="no user ids")


@pytest.fixture
def cache(tmp_path, monkeypatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache" / "molvae"


@pytest.fixture
def load(tmp_path):
    """Load a library whose ``answer`` is 42: gives the answer, and where the library is from."""
    source = tmp_path / "small.c"
    source.write_text("int answer(void) { return 42; }\n")

    def answer() -> tuple[int, str]:
        library, origin = kernel_library._load(COMPILER, source, *gru_layer._cache())
        return library.answer(), origin

    return answer


@pytest.fixture
def foreign(tmp_path) -> Path:
    """Another library, whose ``answer`` is 13."""
    source, made = tmp_path / "foreign.c", tmp_path / "foreign.so"
    source.write_text("int answer(void) { return 13; }\n")
    subprocess.run([COMPILER, "-shared", "-fPIC", source, "-o", made], check=True)
    return made


@with_compiler
def test_it_is_compiled_once_for_all_processes(cache, load):
    answer, origin = load()
    (kept,) = cache.iterdir()
    assert (answer, origin) == (42, f"compiled as {kept}")
    assert cache.stat().st_mode & 0o777 == 0o700
    before = kept.stat()
    assert load() == (42, f"read from {kept}")
    assert kept.stat() == before


@with_compiler
@pytest.mark.parametrize("damage", ["truncated", "empty", "foreign"])
def test_a_damaged_library_is_made_anew(cache, load, foreign, damage):
    load()
    (kept,) = cache.iterdir()
    whole = kept.read_bytes()
    kept.unlink()  # this process has loaded it
    kept.write_bytes({"truncated": whole[:5000], "empty": b"", "foreign": foreign.read_bytes()}[damage])
    assert load() == (42, f"compiled as {kept}")
    assert kept.read_bytes() == whole
    assert load() == (42, f"read from {kept}")


@with_compiler
def test_a_library_under_the_name_of_former_versions_is_not_loaded(cache, load, foreign):
    load()
    (kept,) = cache.iterdir()
    shutil.copy(foreign, cache / f"{kept.stem.rpartition('-')[0]}.so")
    assert load() == (42, f"read from {kept}")


@with_compiler
def test_those_that_compile_at_once_do_not_disturb_each_other(cache, load):
    with ThreadPoolExecutor(4) as threads:
        answers = [job.result()[0] for job in [threads.submit(load) for _ in range(4)]]
    assert answers == [42] * 4
    assert len(list(cache.iterdir())) == 1


@with_compiler
@with_users
@pytest.mark.parametrize("fault", ["file", "parent", "folder", "link", "owner"])
def test_what_another_user_may_have_put_there_is_not_loaded(cache, load, foreign, monkeypatch, fault):
    load()
    (kept,) = cache.iterdir()
    planted = cache / f"{kept.stem.rpartition('-')[0]}-{kernel_library._sha256(foreign)}.so"
    kept.unlink()
    shutil.copy(foreign, planted)
    assert load() == (13, f"read from {planted}")  # where only this user could have put it
    match fault:
        case "file":
            shutil.rmtree(cache)
            cache.write_text("in the way")
        case "parent":
            cache.parent.chmod(0o777)
        case "folder":
            cache.chmod(0o1777)
        case "link":
            cache.rename(cache.with_name("elsewhere"))
            cache.symlink_to("elsewhere")
        case "owner" if os.getuid() == 0:
            os.chown(cache, 12345, 12345)
        case "owner":
            monkeypatch.setattr(os, "getuid", lambda: 12345)
    answer, origin = load()
    assert answer == 42
    assert origin.startswith(f"compiled for this process alone, as {cache} is no safe cache: ")


@with_compiler
def test_a_full_disk_does_no_harm(cache, load, monkeypatch):
    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(kernel_library, "_move", full)
    assert load() == (42, f"compiled for this process alone, as {cache}: No space left on device")


C = kernel_library.SOURCE.read_text(encoding="utf-8")


def test_ctypes_knows_the_functions_as_they_are():
    found = {}
    for name, parameters in re.findall(r"^void (gru_\w+)\(([^)]*)\)", C, re.MULTILINE):
        kinds = [parameter.rpartition(" ")[::2] for parameter in re.split(r",\s*", parameters)]
        assert all(parameter.startswith("*") or kind == "int64_t" for kind, parameter in kinds)
        found[name] = [ctypes.c_void_p if name.startswith("*") else ctypes.c_int64 for _, name in kinds]
    assert found == kernel_library.ARGUMENTS


def test_ctypes_knows_the_layer_as_it_is():
    (body,) = re.findall(r"typedef struct \{([^}]*)\} layer;", C)
    fields = [
        (name.lstrip("*"), ctypes.c_void_p if name.startswith("*") else ctypes.c_int64)
        for line in body.split(";")
        for name in re.findall(r"(\*?\w+)(?:,|$)", line)
    ]
    assert tuple(fields) == CLayer._fields_
    assert f"enum {{ BLOCK = {BLOCK} }};" in C


@pytest.mark.slow
@pytest.mark.skipif(
    not (shutil.which("gcc") and platform.system() == "Linux" and platform.machine() == "x86_64"),
    reason="no gcc, or no Linux on x86-64",
)
@pytest.mark.parametrize("processor", ["sapphirerapids", "cooperlake"])  # with AMX, and without
def test_it_compiles_for_processors_that_compute_in_bfloat16(tmp_path, processor):
    flags = [flag for flag in kernel_library.FLAGS if flag != "-march=native"]
    command = ["gcc", *flags, f"-march={processor}", "-Wall", "-Werror", "-fPIC", "-c", kernel_library.SOURCE]
    subprocess.run([*command, "-o", tmp_path / "gru.o"], check=True)
