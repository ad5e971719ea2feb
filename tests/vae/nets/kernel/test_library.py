"""How gru.c is compiled, and when it is not."""

import ctypes
import shutil
from pathlib import Path

import pytest

from molvae.vae.nets.kernel import library as compiled


@pytest.mark.parametrize("reason", ["no compiler", "a compiler that fails"])
def test_without_a_compiler_pytorch_does_it(monkeypatch, reason):
    found = None if reason == "no compiler" else "false"
    monkeypatch.setattr(compiled.shutil, "which", lambda name: found)
    assert compiled.kernel.__wrapped__() is None


def test_only_a_processor_that_computes_in_bfloat16_has_it(monkeypatch):
    monkeypatch.setattr(compiled.torch.cpu, "_is_avx512_bf16_supported", lambda: False)
    assert compiled.kernel.__wrapped__() is None


@pytest.mark.skipif(compiled.kernel() is None, reason="no C compiler, or no processor that computes in bfloat16")
@pytest.mark.parametrize("writable", [True, False])
def test_it_is_compiled_once_for_all_processes(tmp_path, monkeypatch, writable):
    cache = tmp_path / "cache"
    cache.mkdir() if writable else cache.write_text("in the way")
    monkeypatch.setenv("XDG_CACHE_HOME", str(cache))
    source = Path(compiled.__file__).with_name("gru.c")
    compiler = shutil.which("gcc") or shutil.which("cc")
    first = compiled._compiled(compiler, source)
    assert ctypes.CDLL(str(first)).gru_forward
    if writable:
        assert compiled._compiled(compiler, source) == first == next(cache.rglob("gru-*.so"))
        assert len(list((cache / "molvae").iterdir())) == 1
