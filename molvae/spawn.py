"""How worker processes start and end: without the current folder, deaf to Ctrl-C, and not outliving their parent."""

import multiprocessing
import os
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from multiprocessing import resource_tracker
from multiprocessing.connection import Connection
from multiprocessing.context import SpawnContext, SpawnProcess
from typing import Final

from molvae.signals import defer_signals

if sys.platform == "linux":
    import fcntl


@contextmanager
def ignore_sigint() -> Iterator[None]:
    """Threads and processes begun inside do not hear of Ctrl-C, nor do those that they begin; here it waits.

    A terminal sends it to every process, and a worker that still imports would show its traceback. To end the workers
    is the business of the process that started them.
    """
    if not hasattr(signal, "pthread_sigmask"):
        yield
        return
    with defer_signals():  # a worker whose parent ends while it hands over what to do would show a traceback, too
        _start_tracker()
        before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
        try:
            yield
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _start_tracker() -> None:
    """Start Python's own process that removes what a killed process leaves; started by a worker, it would hear Ctrl-C.

    It would also print a warning about what it removes.
    """
    sys.warnoptions.append("ignore:resource_tracker")
    try:
        with _safe_path():
            resource_tracker.ensure_running()
    finally:
        sys.warnoptions.remove("ignore:resource_tracker")


_SAFE_PATH, _OURS = "PYTHONSAFEPATH", "molvae"
_LOCK = threading.Lock()


@contextmanager
def _safe_path() -> Iterator[None]:
    """A Python begun inside does not put the current folder first on its path, as it does where it runs ``-c``.

    Workers begin so, and a ``pickle.py`` or ``random.py`` of the user's would run in them.
    """
    with _LOCK:
        before = os.environ.get(_SAFE_PATH)
        os.environ[_SAFE_PATH] = before or _OURS
        try:
            yield
        finally:
            if before is None:
                del os.environ[_SAFE_PATH]
            else:
                os.environ[_SAFE_PATH] = before


class _Process(SpawnProcess):
    def start(self) -> None:
        with _safe_path():
            super().start()


class _Spawn(SpawnContext):
    Process = _Process


SPAWN: Final = _Spawn()
"""How workers start. A fork of a process that already runs threads (torch, a progress bar) may hang."""


def die_with_parent(lifeline: Connection) -> None:
    """Called first in a worker: it ends, with its process group, as soon as its parent has ended.

    An orphan would wait for work for ever, and a docking program begun by it would go on.

    Args:
        lifeline: of a pipe that only the parent can write to, and never does.
    """
    parent = multiprocessing.parent_process()
    assert parent is not None
    if os.environ.get(_SAFE_PATH) == _OURS:  # what an objective begins, such as python dock.py, has Python's own path
        del os.environ[_SAFE_PATH]
    if hasattr(os, "setpgrp"):
        os.setpgrp()
    if sys.platform == "linux":
        # When the last writer of the lifeline is gone, the kernel itself kills the group: a thread of ours could not
        # while C code holds the interpreter's lock, and PR_SET_PDEATHSIG would kill the worker alone.
        fcntl.fcntl(lifeline, fcntl.F_SETOWN, -os.getpgrp())
        fcntl.fcntl(lifeline, fcntl.F_SETSIG, signal.SIGKILL)
        fcntl.fcntl(lifeline, fcntl.F_SETFL, os.O_ASYNC)

    def follow() -> None:
        parent.join()
        os.killpg(0, signal.SIGKILL) if hasattr(os, "killpg") else os._exit(1)

    threading.Thread(target=follow, daemon=True).start()
