"""Worker processes: what they inherit from the process that starts them."""

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from multiprocessing import resource_tracker


@contextmanager
def deaf_to_ctrl_c() -> Iterator[None]:
    """Threads and processes begun inside do not hear of Ctrl-C, nor do those that they begin.

    A terminal sends it to every process, and a worker that still imports would show its traceback. To end the workers
    is the business of the process that started them.
    """
    if not hasattr(signal, "pthread_sigmask"):
        yield
        return
    resource_tracker.ensure_running()  # Python's own; when the first worker starts it, it would let Ctrl-C through
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
