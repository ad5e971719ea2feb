"""What torch keeps once for the whole process is changed by one thread at a time, and put back."""

import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager

import torch

# Two threads that each save, change and restore the same setting may restore what the other one had changed.
_changing = threading.RLock()


@contextmanager
def seeded(seed: int) -> Iterator[None]:
    """Seed torch's global generator; it and the filters of warnings are put back afterwards.

    Use this around code that draws from the global generator or that has to be quiet. Another thread that wants the
    same waits.
    """
    with _changing, torch.random.fork_rng(devices=[]), warnings.catch_warnings():
        torch.manual_seed(seed)
        yield


@contextmanager
def one_thread() -> Iterator[None]:
    """Let torch use one core, for many small steps, where a second costs more than it brings.

    Another thread that wants the same waits: without that, the one that leaves last would leave the number at 1.
    """
    with _changing:
        before = torch.get_num_threads()
        torch.set_num_threads(1)
        try:
            yield
        finally:
            torch.set_num_threads(before)
