"""The compiled GRU layer against `torch.nn.GRU`: as near to float32 as PyTorch's own bfloat16 is."""

import pytest
import torch

from molvae.vae.nets.kernel import library as compiled
from molvae.vae.nets.kernel import training as recurrence
from molvae.vae.nets.nets import GRUDecoder, GRUEncoder, Net, NetSettings

SIZES = NetSettings(latent=8, embedding=12, encoder=GRUEncoder(hidden=40), decoder=GRUDecoder(hidden=56))

here = pytest.mark.skipif(compiled.kernel() is None, reason="no C compiler, or no processor that computes in bfloat16")


def gradients(precision: str, batch: int = 19) -> dict[str, torch.Tensor]:
    """Terms of a step and all gradients, with the float32 GRU, PyTorch's bfloat16 one, or the compiled one."""
    torch.manual_seed(0)
    net = Net(SIZES, 20)
    tokens, noise = torch.randint(2, 20, (batch, 23)), torch.randn(batch, 8)
    with torch.autocast("cpu", torch.bfloat16, enabled=precision != "float32"):
        terms = net(tokens, noise)
    (terms.nll.sum() + 0.1 * terms.kl.sum()).backward()
    grads = {name: weights.grad for name, weights in net.named_parameters()}
    return {"nll": terms.nll.detach(), "kl": terms.kl.detach(), **grads}


def distance(a: torch.Tensor, b: torch.Tensor) -> float:
    return float((a - b).norm() / b.norm())


@here
@pytest.mark.usefixtures("instructions")
@pytest.mark.parametrize(("threads", "batch"), [(1, 19), (3, 80)])
def test_it_is_as_exact_as_pytorch_in_the_same_precision(monkeypatch, threads, batch):
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    monkeypatch.setattr(recurrence, "SHARE", 1)
    try:
        exact, fast = gradients("float32", batch), gradients("bfloat16", batch)
        monkeypatch.setattr(compiled, "kernel", lambda: None)
        usual = gradients("bfloat16", batch)
    finally:
        torch.set_num_threads(before)
    assert not torch.equal(fast["nll"], usual["nll"])  # two different ways
    for name in exact:
        assert distance(fast[name], exact[name]) < max(0.02, 1.5 * distance(usual[name], exact[name])), name


@here
def test_the_same_step_gives_the_same_bits_whatever_the_buffers_held():
    first = gradients("bfloat16")
    gradients("bfloat16", batch=31)
    for name, value in gradients("bfloat16").items():
        assert torch.equal(value, first[name]), name


@here
def test_two_passes_may_wait_for_their_gradients():
    """Buffers belong to a graph until its gradient was taken."""
    torch.manual_seed(0)
    net, losses = Net(SIZES, 20), []
    for seed in (1, 2):
        chance = torch.Generator().manual_seed(seed)
        tokens, noise = torch.randint(2, 20, (5, 9), generator=chance), torch.randn(5, 8, generator=chance)
        with torch.autocast("cpu", torch.bfloat16):
            losses.append(net(tokens, noise).nll.sum())
    together = torch.autograd.grad(losses[0], net.encoder.gru.weight_hh_l0)[0]
    chance = torch.Generator().manual_seed(1)
    tokens, noise = torch.randint(2, 20, (5, 9), generator=chance), torch.randn(5, 8, generator=chance)
    with torch.autocast("cpu", torch.bfloat16):
        alone = torch.autograd.grad(net(tokens, noise).nll.sum(), net.encoder.gru.weight_hh_l0)[0]
    assert torch.equal(together, alone)


def test_it_stands_in_for_training_in_bfloat16_on_a_cpu_only():
    cpu = torch.device("cpu")
    assert not recurrence.applies(cpu)
    with torch.autocast("cpu", torch.bfloat16):
        assert recurrence.applies(cpu) == (compiled.kernel() is not None)
        assert not recurrence.applies(torch.device("meta"))
        with torch.no_grad():
            assert not recurrence.applies(cpu)
