import ctypes

import pytest

from molvae.vae.nets.kernel import library as compiled


@pytest.fixture(params=["amx", "avx512"])
def instructions(request):
    """Both ways to multiply, where the processor has both."""
    library = compiled.kernel()
    if library is None:
        yield
        return
    tiles = ctypes.c_int.in_dll(library, "gru_amx")
    before = tiles.value
    if request.param == "amx" and not before:
        pytest.skip("this processor has no AMX")
    tiles.value = request.param == "amx"
    yield
    tiles.value = before
