"""Which way GRU layers run, and that they give the same either way."""

import copy
import functools
import logging
import re
import shutil
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch
from torch import nn

from molvae.errors import UsageError
from molvae.vae.nets import gru_layer
from molvae.vae.nets.gru_layer import GRULayer
from molvae.vae.nets.kernel import library as kernel_library
from molvae.vae.nets.nets import GRUDecoder, GRUEncoder, Net, NetSettings

SIZES = NetSettings(latent=8, embedding=12, encoder=GRUEncoder(hidden=40), decoder=GRUDecoder(hidden=56))


@pytest.fixture
def kernel(monkeypatch, caplog):
    """`kernel` where ``MOLVAE_KERNEL`` is this and the library is found or not: gives it and what is logged."""

    def ask(value: str | None, found: object = None) -> tuple[object, tuple[str, str]]:
        monkeypatch.delenv("MOLVAE_KERNEL", raising=False)
        if value is not None:
            monkeypatch.setenv("MOLVAE_KERNEL", value)
        monkeypatch.setattr(gru_layer, "_find", lambda: (found, "so it is"))
        caplog.set_level(logging.INFO, logger="molvae")
        caplog.clear()
        given = gru_layer._kernel.__wrapped__()
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
    monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda: True)
    monkeypatch.setattr(kernel_library.shutil, "which", lambda name: found)
    assert gru_layer._kernel.__wrapped__() is None
    (line,) = caplog.messages
    assert re.match(f"GRU layers run in PyTorch: {said}", line)


def test_only_a_processor_that_computes_in_bfloat16_has_it(monkeypatch):
    monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda: False)
    assert gru_layer._find() == (None, "this processor does not compute in bfloat16 (AVX512-BF16)")


def test_threads_that_ask_first_at_the_same_time_have_one_library(monkeypatch):
    found = []

    def find() -> tuple[None, str]:
        time.sleep(0.01)
        found.append(threading.current_thread())
        return None, "so it is"

    monkeypatch.delenv("MOLVAE_KERNEL", raising=False)
    monkeypatch.setattr(gru_layer, "_find", find)
    monkeypatch.setattr(gru_layer, "_kernel", functools.cache(gru_layer._kernel.__wrapped__))
    with ThreadPoolExecutor(4) as threads:
        list(threads.map(lambda _: gru_layer.kernel(), range(4)))
    assert len(found) == 1


def test_the_kernel_stands_in_for_trainings_in_bfloat16_on_a_cpu_only(library):
    layer, tokens = GRULayer(3, 4), torch.zeros(2, 5, dtype=torch.long)
    assert layer._for_training(tokens) is None
    with torch.autocast("cpu", torch.bfloat16):
        assert layer._for_training(tokens).library is library
        assert layer._for_training(tokens.to("meta")) is None
        with torch.no_grad():
            assert layer._for_training(tokens) is None
    with torch.autocast("cpu", torch.float16):
        assert layer._for_training(tokens) is None


def test_it_is_torchs_layer_with_the_same_weights():
    torch.manual_seed(0)
    theirs = nn.GRU(3, 4, bidirectional=True)
    torch.manual_seed(0)
    ours = GRULayer(3, 4, bidirectional=True)
    assert ours.state_dict().keys() == theirs.state_dict().keys()
    assert all(torch.equal(weights, theirs.state_dict()[name]) for name, weights in ours.state_dict().items())


@pytest.mark.usefixtures("either_way")
def test_strings_of_many_lengths_are_read_as_each_alone():
    torch.manual_seed(0)
    encoder = Net(SIZES, 20).eval().encoder
    strings = [torch.randint(2, 20, (length,)).tolist() for length in sorted([*range(1, 20)] * 3, reverse=True)]
    with torch.inference_mode():
        means, logvars = encoder.read(strings)
        alone = [encoder(torch.tensor([string])) for string in strings]
    for k, (mean, logvar) in enumerate(alone):
        assert (means[k] - mean[0]).norm() < 0.02 * mean[0].norm()
        assert (logvars[k] - logvar[0]).norm() < 0.02 * logvar[0].norm()


@pytest.mark.usefixtures("either_way")
def test_four_threads_take_gradients_through_four_nets():
    torch.manual_seed(0)
    nets = [Net(SIZES, 20) for _ in range(4)]
    tokens, noise = torch.randint(2, 20, (4, 5, 9)), torch.randn(4, 5, 8)

    def gradients(k: int) -> list[torch.Tensor]:
        with torch.autocast("cpu", torch.bfloat16):
            terms = nets[k](tokens[k], noise[k])
        return list(torch.autograd.grad(terms.nll.sum() + terms.kl.sum(), list(nets[k].parameters())))

    alone = [gradients(k) for k in range(4)]
    with ThreadPoolExecutor(4) as threads:
        for k, together in enumerate(threads.map(gradients, [*range(4)] * 3)):
            for found, expected in zip(together, alone[k % 4], strict=True):
                # threads share autocast's cache of rounded weights: gradients are summed before rounding, or after
                assert (found - expected).norm() < 0.01 * expected.norm()


def test_a_copied_layer_has_buffers_of_its_own():
    layer = GRULayer(3, 4)
    assert copy.deepcopy(layer)._pool is not layer._pool
