"""Ctrl-C and polite kills: what waits for the end of a step. Worker processes: they do not hear, and end with us.

Nor do they import from the current folder before they have the path of the process that starts them.
"""

import multiprocessing
import os
import signal
import sys
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from multiprocessing import resource_tracker
from multiprocessing.context import SpawnContext, SpawnProcess
from types import FrameType
from typing import Final, TypeVar

from molvae.errors import WorkerDied

Item = TypeVar("Item")
Result = TypeVar("Result")


@contextmanager
def held_signals() -> Iterator[threading.Event]:
    """Ctrl-C and a polite kill (SIGTERM) wait for the end of the block; the event tells that one came.

    A long block looks at the event and ends early. A second signal does at once what the first would have done without
    the block. Only the main thread hears of signals, so in others nothing is held.
    """
    came = threading.Event()
    if threading.current_thread() is not threading.main_thread():
        yield came
        return
    handlers = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    before = {number: handler for number, handler in handlers.items() if handler is not None}  # None: not Python's own
    first = signal.SIGINT

    def restore() -> None:
        for number, handler in before.items():
            signal.signal(number, handler)

    def hold(number: int, _: FrameType | None) -> None:
        nonlocal first
        restore()
        first = signal.Signals(number)
        came.set()

    for number in before:
        signal.signal(number, hold)
    try:
        yield came
    finally:
        restore()
    if came.is_set():
        signal.raise_signal(first)


@contextmanager
def deaf_to_ctrl_c() -> Iterator[None]:
    """Threads and processes begun inside do not hear of Ctrl-C, nor do those that they begin; here it waits.

    A terminal sends it to every process, and a worker that still imports would show its traceback. To end the workers
    is the business of the process that started them.
    """
    if not hasattr(signal, "pthread_sigmask"):
        yield
        return
    with held_signals():  # a worker whose parent ends while it hands over what to do would show a traceback, too
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


def ordered_map(function: Callable[[Item], Result], items: Iterable[Item], workers: int) -> Iterator[Result]:
    """What the function gives for each item, in their order, by worker processes.

    Few items are under way at a time, so memory stays bounded.

    Raises:
        WorkerDied: a worker ended before its work.
    """
    with deaf_to_ctrl_c():
        pool = ProcessPoolExecutor(workers, mp_context=SPAWN, initializer=follow_parent)
    waiting: deque[Future[Result]] = deque()
    try:
        for item in items:
            with deaf_to_ctrl_c():
                waiting.append(pool.submit(function, item))
            if len(waiting) > 3 * workers:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
    except BrokenProcessPool as error:
        raise WorkerDied(
            "a worker process ended before its work: killed, out of memory, or this was called by a script that lacks "
            "`if __name__ == '__main__':`; run it again, it starts over"
        ) from error
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


def cores() -> int:
    """Processors that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def follow_parent() -> None:
    """Called first in a worker: it ends, with all that it has started, as soon as its parent has ended or stops it.

    An orphan would wait for work for ever, and a docking program begun by it would go on.
    """
    parent = multiprocessing.parent_process()
    assert parent is not None
    if os.environ.get(_SAFE_PATH) == _OURS:  # what an objective begins, such as python dock.py, has Python's own path
        del os.environ[_SAFE_PATH]
    if hasattr(os, "setpgrp"):
        os.setpgrp()

    def end(*_: object) -> None:
        os.killpg(0, signal.SIGKILL) if hasattr(os, "killpg") else os._exit(1)

    def follow() -> None:
        parent.join()
        end()

    signal.signal(signal.SIGTERM, end)
    threading.Thread(target=follow, daemon=True).start()
