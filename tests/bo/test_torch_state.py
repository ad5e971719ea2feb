"""Two threads change what torch keeps for the whole process one after the other."""

import threading
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch

from molvae.bo.surrogates import SURROGATES
from molvae.bo.torch_state import one_thread, seeded


def overlapping(context, enter_both):
    """Two threads enter the same context at the same time; the first that does leaves it first."""
    inside, entered = threading.Event(), threading.Event()

    def first():
        with context(1):
            inside.set()
            entered.wait(0.3)  # the second, if nothing keeps it out
        done.set()

    def second():
        inside.wait()
        with context(2):
            entered.set()
            enter_both()
            done.wait(5)  # leaves last

    done = threading.Event()
    threads = [threading.Thread(target=one) for one in (first, second)]
    for one in threads:
        one.start()
    for one in threads:
        one.join()


def test_the_number_of_threads_is_given_back_whoever_leaves_last():
    """A thread that begins later takes the number that the process has."""

    def in_a_new_thread():
        with ThreadPoolExecutor(1) as pool:
            return pool.submit(torch.get_num_threads).result()

    before = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        overlapping(lambda _: one_thread(), lambda: None)
        assert (torch.get_num_threads(), in_a_new_thread()) == (2, 2)
    finally:
        torch.set_num_threads(before)


def test_the_global_generator_is_given_back_whoever_leaves_last():
    before, drawn = torch.random.get_rng_state(), []
    overlapping(seeded, lambda: drawn.append(torch.rand(1).item()))
    assert torch.equal(torch.random.get_rng_state(), before)
    assert drawn == [torch.rand(1, generator=torch.Generator().manual_seed(2)).item()]


@pytest.mark.parametrize("kind", SURROGATES.members)
def test_four_threads_fit_what_one_does(kind, layout):
    X = torch.randint(0, 4, (4, 25, 6), generator=torch.Generator().manual_seed(0)).double()
    where, surrogate = layout(counts=3, latent=3), kind(iterations=5)

    def fitted(k):
        model = surrogate(X[k], X[k].sum(-1, keepdim=True) ** 2, where, k)
        with torch.no_grad():
            return model.posterior(X[(k + 1) % 4]).mean

    alone = [fitted(k) for k in range(4)]
    state, threads = torch.random.get_rng_state(), torch.get_num_threads()
    with ThreadPoolExecutor(4) as pool:
        together = list(pool.map(fitted, [*range(4)] * 2))
    assert all(torch.equal(mean, alone[k % 4]) for k, mean in enumerate(together))
    assert torch.equal(torch.random.get_rng_state(), state)
    assert torch.get_num_threads() == threads
