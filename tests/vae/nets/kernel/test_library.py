"""How gru.c is compiled, kept and loaded, and when it is not; by a small source, which any processor runs."""

import logging
import os
import re
import shutil
import subprocess
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from molvae.errors import UsageError
from molvae.vae.nets.kernel import library as compiled

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
        library, origin = compiled._load(COMPILER, source)
        return library.answer(), origin

    return answer


@pytest.fixture
def foreign(tmp_path) -> Path:
    """Another library, whose ``answer`` is 13."""
    source, made = tmp_path / "foreign.c", tmp_path / "foreign.so"
    source.write_text("int answer(void) { return 13; }\n")
    subprocess.run([COMPILER, "-shared", "-fPIC", source, "-o", made], check=True)
    return made


@pytest.fixture
def kernel(monkeypatch, caplog):
    """`kernel` where ``MOLVAE_KERNEL`` is this and the library is found or not: gives it and what is logged."""

    def ask(value: str | None, found: object = None) -> tuple[object, tuple[str, str]]:
        monkeypatch.delenv("MOLVAE_KERNEL", raising=False)
        if value is not None:
            monkeypatch.setenv("MOLVAE_KERNEL", value)
        monkeypatch.setattr(compiled, "_find", lambda: (found, "so it is"))
        caplog.set_level(logging.INFO, logger="molvae")
        caplog.clear()
        given = compiled.kernel.__wrapped__()
        (line,) = caplog.records
        return given, (line.levelname, line.getMessage())

    return ask


@pytest.mark.parametrize("value", [None, "", "auto", "on"])
def test_one_line_says_that_the_kernel_runs(kernel, value):
    library = object()
    assert kernel(value, library) == (library, ("INFO", "GRU layers run in gru.c: so it is"))


def test_one_line_says_that_pytorch_runs(kernel):
    assert kernel("auto") == (None, ("INFO", "GRU layers run in PyTorch: so it is"))
    assert kernel("on") == (None, ("WARNING", "GRU layers run in PyTorch: so it is"))


def test_the_kernel_can_be_turned_off(kernel):
    assert kernel("off", object()) == (None, ("INFO", "GRU layers run in PyTorch: MOLVAE_KERNEL=off"))


@pytest.mark.parametrize("value", ["0", "OFF", "yes"])
def test_other_values_are_refused(kernel, value):
    with pytest.raises(UsageError, match=f"MOLVAE_KERNEL is off, on, auto or empty; it is '{value}'"):
        kernel(value)


@pytest.mark.parametrize(
    ("found", "said"),
    [(None, "there is no C compiler"), (shutil.which("false"), "gru.c cannot be compiled.*: .*exit status 1")],
)
def test_without_a_compiler_pytorch_does_it(monkeypatch, caplog, found, said):
    caplog.set_level(logging.INFO, logger="molvae")
    monkeypatch.delenv("MOLVAE_KERNEL", raising=False)
    monkeypatch.setattr(compiled.torch.cpu, "_is_avx512_bf16_supported", lambda: True)
    monkeypatch.setattr(compiled.shutil, "which", lambda name: found)
    assert compiled.kernel.__wrapped__() is None
    (line,) = caplog.messages
    assert re.match(f"GRU layers run in PyTorch: {said}", line)


def test_only_a_processor_that_computes_in_bfloat16_has_it(monkeypatch):
    monkeypatch.setattr(compiled.torch.cpu, "_is_avx512_bf16_supported", lambda: False)
    assert compiled._find() == (None, "this processor does not compute in bfloat16 (AVX512-BF16)")


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
    planted = cache / f"{kept.stem.rpartition('-')[0]}-{compiled.sha256(foreign)}.so"
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

    monkeypatch.setattr(compiled, "_move", full)
    assert load() == (42, f"compiled for this process alone, as {cache}: No space left on device")
