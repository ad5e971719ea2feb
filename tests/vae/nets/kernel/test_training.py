"""Passes forward and backward in C, against the reference; trainings of a net, against PyTorch."""

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch

from molvae.vae.nets import gru_layer
from molvae.vae.nets.kernel import training
from molvae.vae.nets.kernel.buffers import BufferPool
from molvae.vae.nets.kernel.packing import BF16, PackedLayer, Weights
from molvae.vae.nets.nets import GRUDecoder, GRUEncoder, Net, NetSettings

SIZES = NetSettings(latent=8, embedding=12, encoder=GRUEncoder(hidden=40), decoder=GRUDecoder(hidden=56))
TIME, WIDTH, CHARACTERS = 6, 64, 9


@pytest.fixture
def kernel(library, monkeypatch) -> training.Kernel:
    monkeypatch.setattr(training, "STATE_PER_THREAD", 1)
    return training.Kernel(library, BufferPool())


@pytest.fixture
def threads():
    before = torch.get_num_threads()
    yield torch.set_num_threads
    torch.set_num_threads(before)


def rounded(*shape: int, sd: float = 1.0) -> torch.Tensor:
    """Normal numbers that bfloat16 has, in float32."""
    return (sd * torch.randn(shape)).to(BF16).float()


def relative(found, expected) -> float:
    return float(np.linalg.norm(found - expected) / np.linalg.norm(expected))


@pytest.mark.parametrize("batch", [1, 16, 37])
@pytest.mark.parametrize("each_step", [True, False])
def test_passes_are_those_of_the_reference(kernel, threads, reference, exact, batch, each_step):
    """Each is given what the one before wrote, so that roundings do not add up."""
    threads(2)
    torch.manual_seed(0)
    W_hh = rounded(3 * WIDTH, WIDTH, sd=0.2)
    weights = Weights(rounded(CHARACTERS, 3 * WIDTH), torch.empty(0), W_hh, rounded(WIDTH))
    tokens, start = torch.randint(CHARACTERS, (TIME, batch)), rounded(batch, WIDTH, sd=0.5)
    contribution = rounded(batch, 3 * WIDTH) if each_step else None
    plain, layer = exact(weights), PackedLayer(weights.table, W_hh, weights.b_hn)

    passed = training.gru_forward(kernel, layer, tokens, contribution, start)
    added = 0 if contribution is None else exact(contribution)
    states, activations = reference.gru_forward(plain, exact(tokens), added, exact(start))
    assert relative(exact(passed.states), states) < 0.01
    assert relative(exact(passed.activations), activations) < 0.01
    states, activations = exact(passed.states), exact(passed.activations)

    d_outputs = rounded(TIME, batch, WIDTH)
    if not each_step:
        d_outputs[:-1] = 0
    grad = d_outputs if each_step else d_outputs[-1]
    found = training.gru_backward(kernel, layer, W_hh, passed, grad, each_step)
    expected = reference.gru_backward(plain, exact(tokens), states, activations, exact(d_outputs))
    blocks = found.d_preact.permute(1, 2, 4, 0, 3).reshape(TIME, -1, 3 * WIDTH)
    assert (blocks[:, batch:] == 0).all()
    d_preact = exact(blocks[:, :batch])
    assert relative(d_preact, expected[0]) < 0.01
    for name, ours, theirs in zip(found._fields[1:], found[1:], expected[1:], strict=True):
        if ours is not None:
            assert ours.dtype == torch.float32
            assert relative(exact(ours), theirs) < 0.01, name
    assert (found.d_contribution is None) == (not each_step)

    d_W_hh = training.gru_weight_gradient(kernel, found.d_preact, passed.states)
    assert relative(exact(d_W_hh), reference.gru_weight_gradient(d_preact, states)) < 1e-5


def gradients(precision: str, batch: int = 19, seed: int = 0) -> dict[str, torch.Tensor]:
    """Terms of a step and all gradients."""
    generator = torch.Generator().manual_seed(seed)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        net = Net(SIZES, 20)
    tokens = torch.randint(2, 20, (batch, 13), generator=generator)
    noise = torch.randn(batch, 8, generator=generator)
    with torch.autocast("cpu", torch.bfloat16, enabled=precision != "float32"):
        terms = net(tokens, noise)
    (terms.nll.sum() + 0.1 * terms.kl.sum()).backward()
    grads = {name: weights.grad for name, weights in net.named_parameters()}
    return {"nll": terms.nll.detach(), "kl": terms.kl.detach(), **grads}


@pytest.mark.parametrize(("n", "batch"), [(1, 19), (3, 80)])
def test_a_training_is_as_exact_as_pytorchs_in_the_same_precision(kernel, monkeypatch, threads, n, batch):
    threads(n)
    exact, fast = gradients("float32", batch), gradients("bfloat16", batch)
    monkeypatch.setattr(gru_layer, "kernel", lambda: None)
    usual = gradients("bfloat16", batch)
    assert not torch.equal(fast["nll"], usual["nll"])  # two different ways
    for name in exact:
        bound = max(0.02, 1.5 * relative(usual[name], exact[name]))
        assert relative(fast[name], exact[name]) < bound, name


@pytest.mark.usefixtures("library")
def test_the_same_step_gives_the_same_bits_whatever_the_buffers_held():
    first = gradients("bfloat16")
    gradients("bfloat16", batch=31)
    for name, value in gradients("bfloat16").items():
        assert torch.equal(value, first[name]), name


@pytest.mark.usefixtures("library")
def test_two_passes_may_wait_for_their_gradients():
    """Buffers belong to a graph until its gradient was taken."""
    torch.manual_seed(0)
    net, losses = Net(SIZES, 20), []
    for seed in (1, 2, 1):
        generator = torch.Generator().manual_seed(seed)
        tokens = torch.randint(2, 20, (5, 9), generator=generator)
        noise = torch.randn(5, 8, generator=generator)
        with torch.autocast("cpu", torch.bfloat16):
            losses.append(net(tokens, noise).nll.sum())
    _, _, alone = losses
    found = [torch.autograd.grad(loss, net.encoder.gru.weight_hh_l0)[0] for loss in (losses[0], alone)]
    assert torch.equal(*found)


@pytest.mark.usefixtures("library")
def test_threads_take_gradients_through_one_net_at_the_same_time():
    torch.manual_seed(0)
    net = Net(SIZES, 20)
    tokens, noise = torch.randint(2, 20, (8, 5, 9)), torch.randn(8, 5, 8)

    def slope(k: int) -> torch.Tensor:
        with torch.autocast("cpu", torch.bfloat16):
            loss = net(tokens[k], noise[k]).nll.sum()
        return torch.autograd.grad(loss, net.decoder.gru.weight_hh_l0)[0]

    alone = [slope(k) for k in range(8)]
    with ThreadPoolExecutor(4) as pool:
        for k, together in enumerate(pool.map(slope, [*range(8)] * 3)):
            assert torch.equal(together, alone[k % 8])
