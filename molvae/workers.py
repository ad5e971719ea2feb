"""A pool of worker processes; one that dies or hangs costs the item that it worked on, and is replaced."""

import logging
import multiprocessing
import os
import pickle
import signal
import time
import traceback
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from typing import Any, Final, Generic, TypeVar

from molvae.errors import WorkerError, describe
from molvae.spawn import SPAWN, die_with_parent, ignore_sigint

log = logging.getLogger("molvae")

START_TIMEOUT = 60.0
"""Seconds in which one worker has to be ready where none is; one or two are usual."""
FAILED_STARTS: Final = 3
"""So many workers that die in a row while they start are too many; of a pool that never had one ready, the first is."""
LOOK: Final = 0.25
"""Seconds between looks for workers that died without a sign, as where a process that they forked lives on."""

Item = TypeVar("Item")
Result = TypeVar("Result")


@dataclass(frozen=True)
class Lost:
    """What stands for a result whose worker ended before it had one.

    Attributes:
        reason: such as "the worker process died with exit code 3" or "took longer than 3 s".
        seconds: that it had worked.
    """

    reason: str
    seconds: float


@contextmanager
def worker_pool(function: Callable[[Item], Result], workers: int | None = None) -> Iterator["Pool[Item, Result]"]:
    """Processes that call a function, each for one item at a time.

    They do not hear Ctrl-C. Each ends, with the programs that it has started (its process group), when the block does,
    when this process does, however that is killed, and when it dies itself or takes too long.

    Args:
        function: at the top of a module, or `functools.partial` of one.
        workers: how many; by default one for each core.

    Raises:
        WorkerError: no worker starts.
    """
    pool = Pool(function, workers or cores())
    try:
        pool.start()
        yield pool
    finally:
        pool.stop()


def cores() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


class Pool(Generic[Item, Result]):
    """Made by `worker_pool`. One iteration at a time; an item is taken when a worker is free for it.

    All is done by the thread that iterates, and each worker has a pipe of its own. So however one ends, it takes no
    lock with it that others wait for, and its item is known.
    """

    def __init__(self, function: Callable[[Item], Result], size: int) -> None:
        self.size = size
        try:
            self._function = pickle.dumps(function)
        except Exception as error:  # of a part of others
            raise WorkerError(
                f"worker processes cannot be given their work ({describe(error)}); functions and classes that it is "
                "made of stand at the top of a module"
            ) from error
        self._workers: list[_Worker] = []
        self._again: list[tuple[int, Any]] = []  # items whose worker died before it began with them
        self._failed_starts = FAILED_STARTS - 1  # the first may not fail
        self._looked = 0.0

    def unordered(self, items: Iterable[Item], timeout: float | None = None) -> Iterator[tuple[int, Result | Lost]]:
        """(k, result of item k) as they come; `Lost` for a result if its worker died, or took more than timeout s.

        Raises:
            WorkerError: no worker starts any more.
            Exception: what the function raised.
        """
        return self._results(items, timeout, lambda k: True)

    def ordered(self, items: Iterable[Item]) -> Iterator[Result]:
        """The results in the order of the items; few items are taken ahead of it, so memory stays bounded.

        Raises:
            WorkerError: a worker died, or none starts any more.
            Exception: what the function raised.
        """
        kept: dict[int, Result] = {}
        turn = 0

        def near(k: int) -> bool:
            return k < turn + 3 * self.size

        for k, result in self._results(items, None, near):
            if isinstance(result, Lost):
                raise WorkerError(f"{result.reason} in the middle of its work; was it killed, or is memory short?")
            kept[k] = result
            while turn in kept:
                turn += 1
                yield kept.pop(turn - 1)

    def _results(
        self, items: Iterable[Item], timeout: float | None, may: Callable[[int], bool]
    ) -> Iterator[tuple[int, Any]]:
        numbered = enumerate(items)
        following = next(numbered, None)
        found: list[tuple[int, Any]] = []
        try:
            while True:
                while (self._again or (following and may(following[0]))) and (worker := self._idle()):
                    if self._again:
                        worker.give(*self._again.pop())
                    elif following:
                        worker.give(*following)
                        following = next(numbered, None)
                yield from found  # after the workers that were free have work again
                if not (following or self._again or self._busy()):
                    return
                found = self._news(timeout) if self._busy() or not self._idle() else []
        finally:
            self._again.clear()
            for worker in self._busy():  # the caller wants no more, or an error ends all
                self._end(worker)

    def start(self) -> None:
        """Start all workers; return when one is ready."""
        while not self._idle():
            self._news(None)

    def stop(self) -> None:
        """End all workers."""
        while self._workers:
            self._end(self._workers[0])

    def _idle(self) -> "_Worker | None":
        """A worker that waits for an item. If there is none, those that are missing are started."""
        for worker in [worker for worker in self._workers if worker.ready and worker.task is None]:
            if worker.process.is_alive():
                return worker
            self._end(worker)
        if len(self._workers) < self.size:
            try:
                with ignore_sigint():
                    while len(self._workers) < self.size:
                        self._workers.append(_Worker(self._function))
            except (OSError, RuntimeError, AssertionError) as error:  # no more processes are allowed, or none at all
                self._failed_start(f"one could not be started: {error}")
        return None

    def _ready(self) -> bool:
        return any(worker.ready for worker in self._workers)

    def _busy(self) -> "list[_Worker]":
        return [worker for worker in self._workers if worker.task is not None]

    def _news(self, timeout: float | None) -> list[tuple[int, Any]]:
        """Results, after a wait until there is a message or something else to do."""
        found: list[tuple[int, Any]] = []
        limits = {worker: worker.since + timeout for worker in self._busy()} if timeout else {}
        pause = min([LOOK, *(limit - time.monotonic() for limit in limits.values())])
        heard = wait([worker.connection for worker in self._workers], max(0.0, pause))
        now = time.monotonic()
        if look := now > self._looked + LOOK:
            self._looked = now
        for worker in tuple(self._workers):
            if worker.connection in heard or (look and not worker.process.is_alive()):
                found += self._hear(worker)
            elif worker.task and now > limits.get(worker, now):
                self._end(worker)
                found.append((worker.task[0], Lost(f"took longer than {timeout:g} s", now - worker.since)))
        if not self._ready() and now > min((w.since for w in self._workers), default=now) + START_TIMEOUT:
            raise _not_ready(f"none was after {START_TIMEOUT:g} s")
        return found

    def _hear(self, worker: "_Worker") -> list[tuple[int, Any]]:
        """The result, if a worker has one to tell of, or that there will be none."""
        try:
            step, value = worker.receive()
        except (EOFError, OSError):
            return self._died(worker)
        if step == "begun":
            worker.begun, worker.since = True, time.monotonic()
            return []
        if step == "failed" and worker.ready:
            raise value
        if step == "failed":
            raise _not_ready(f"one could not take over its work ({describe(value)})") from value
        if worker.task is None:
            worker.ready, self._failed_starts = True, 0
            return []
        (place, _), worker.task = worker.task, None
        return [(place, value)]

    def _died(self, worker: "_Worker") -> list[tuple[int, Any]]:
        code = self._end(worker, patience=1.0)
        died = f"died with exit code {code}" if code >= 0 else f"died with signal {-code}"
        if not worker.ready:
            self._failed_start(f"one {died} while it started" + (", as where memory is short" if code < 0 else ""))
        elif worker.task and worker.begun:
            return [(worker.task[0], Lost(f"the worker process {died}", time.monotonic() - worker.since))]
        elif worker.task:
            self._again.append(worker.task)
        return []

    def _failed_start(self, why: str) -> None:
        self._failed_starts += 1
        if self._failed_starts < FAILED_STARTS:
            return
        if not self._ready():
            raise _not_ready(why)
        log.warning("%d of %d worker processes go on: %s", len(self._workers), self.size, why)
        self.size, self._failed_starts = len(self._workers), 0

    def _end(self, worker: "_Worker", patience: float = 0.0) -> int:
        code = worker.end(patience)
        self._workers.remove(worker)
        return code


def _not_ready(why: str) -> WorkerError:
    return WorkerError(
        f"no worker process was ready: {why}. A script that begins worker processes needs `if __name__ == '__main__':` "
        "around what it does, as each of them imports it. Else take fewer (workers = 2), or let this process do the "
        "work (workers = 1 in a preparation, executor.kind = 'inline' in a campaign)"
    )


class _Worker:
    """A process and our ends of its two pipes.

    Attributes:
        ready: whether it has started.
        task: the item that was given to it, with its place; None if there is none.
        begun: whether it has said that it took that.
        since: when it was started, or took that.
    """

    def __init__(self, function: bytes) -> None:
        self.ready = False
        self.task: tuple[int, Any] | None = None
        self.begun = False
        self.since = time.monotonic()
        self.connection, theirs = SPAWN.Pipe()
        lifeline, self.lifeline = SPAWN.Pipe(duplex=False)
        # daemon: if this Python ends without the end of the block, it does not wait for them
        self.process = SPAWN.Process(target=_work, args=(function, theirs, lifeline), daemon=True)
        self.process.start()
        theirs.close()
        lifeline.close()

    def give(self, place: int, item: object) -> None:
        """Hand over an item. If the worker has just died, its pipe will tell."""
        self.task, self.begun, self.since = (place, item), False, time.monotonic()
        with suppress(BrokenPipeError, ConnectionResetError):
            self.connection.send(item)

    def receive(self) -> tuple[str, Any]:
        """Either "begun" and None, "done" and a result, or "failed" and what was raised.

        Raises:
            EOFError, OSError: it died.
        """
        if not self.connection.poll():
            raise EOFError
        message: tuple[str, Any] = pickle.loads(self.connection.recv_bytes())
        return message

    def end(self, patience: float) -> int:
        """Kill it and its process group, after so many seconds in which it may die by itself; the exit code."""
        self.process.join(patience)
        if hasattr(os, "killpg") and self.process.pid is not None:
            with suppress(ProcessLookupError, PermissionError):
                os.killpg(self.process.pid, signal.SIGKILL)
        self.process.kill()  # if it was not at the head of a group yet
        self.process.join()
        self.connection.close()
        self.lifeline.close()
        return self.process.exitcode or 0


def _work(function: bytes, connection: Connection, lifeline: Connection) -> None:
    """What a worker does: the function for one item after the other."""
    multiprocessing.current_process().daemon = False  # which could not begin processes of its own
    die_with_parent(lifeline)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    calls: list[Callable[[Any], Any]] = []
    connection.send_bytes(_answer(lambda pickled: calls.append(pickle.loads(pickled)), function))
    while True:
        try:
            item = connection.recv_bytes()
        except EOFError:
            os._exit(0)
        connection.send_bytes(pickle.dumps(("begun", None)))
        connection.send_bytes(_answer(lambda pickled: calls[0](pickle.loads(pickled)), item))


def _answer(call: Callable[[bytes], Any], item: bytes) -> bytes:
    try:
        return pickle.dumps(("done", call(item)))
    except BaseException as error:
        return pickle.dumps(("failed", _sendable(error)))


def _sendable(error: BaseException) -> Exception:
    """The error with its traceback; as text if it is none that the other side could read and pass on."""
    try:
        if isinstance(error, Exception) and type(pickle.loads(pickle.dumps(error))) is type(error):
            error.add_note(traceback.format_exc())
            return error
    except Exception:  # what an exception of anybody's may raise here
        pass
    return RuntimeError(f"{describe(error)}\n{traceback.format_exc()}")
