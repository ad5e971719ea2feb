"""A pool of worker processes: what they do, how they end, and what becomes of their items."""

import ctypes
import multiprocessing
import os
import signal
import subprocess
import sys
import textwrap
import time
from functools import partial
from pathlib import Path

import pytest

from molvae import workers
from molvae.errors import DataError, InvalidSmiles, WorkerError
from molvae.workers import Lost, worker_pool

ROOT = Path(__file__).parents[1]


class Unreadable(Exception):
    def __init__(self, one, two):
        super().__init__(one + two)


def work(item):
    """What the items of these tests ask for."""
    match item:
        case float():
            time.sleep(item)
        case "exit code 0" | "exit code 3":
            os._exit(int(item[-1]))
        case "signal 9":
            os.kill(os.getpid(), signal.SIGKILL)
        case "hang":
            ctypes.PyDLL(None).sleep(600)  # holds the interpreter's lock
        case "pid":
            return os.getpid()
        case Exception():
            raise item
        case "unreadable":
            raise Unreadable("a", "b")
        case "exit":
            sys.exit(0)
        case "interrupt":
            signal.raise_signal(signal.SIGINT)
        case "process":
            return multiprocessing.get_context("fork").Pool(1).apply(os.getppid) == os.getpid()
    return item


def test_ordered_gives_results_in_order_and_takes_few_items_ahead():
    taken = []

    def items():
        for k in range(30):
            taken.append(k)
            yield 0.3 if k == 0 else float(k == 40)

    with worker_pool(work, 2) as pool:
        results = pool.ordered(items())
        assert next(results) == 0.3
        assert len(taken) <= 10
        assert list(results) == [0.0] * 29
        assert list(pool.ordered([])) == []
        assert list(pool.ordered(["a", "interrupt", "process"])) == ["a", "interrupt", True]


def test_a_worker_that_dies_or_hangs_costs_its_own_item():
    items = ["exit code 0", "a", "signal 9", "hang", "b", "exit code 3", 0.1, "c"]
    with worker_pool(work, 2) as pool:
        began = time.monotonic()
        found = dict(pool.unordered(items, timeout=2.0))
        assert time.monotonic() - began < 30
        lost = {items[k]: one for k, one in found.items() if isinstance(one, Lost)}
        assert {item: one.reason for item, one in lost.items()} == {
            "exit code 0": "the worker process died with exit code 0",
            "exit code 3": "the worker process died with exit code 3",
            "signal 9": "the worker process died with signal 9",
            "hang": "took longer than 2 s",
        }
        assert 2.0 < lost["hang"].seconds < 4.0
        assert {k: found[k] for k in (1, 4, 6, 7)} == {1: "a", 4: "b", 6: 0.1, 7: "c"}
        with pytest.raises(WorkerError, match="died with signal 9 in the middle of its work; was it killed"):
            list(pool.ordered(["a", "signal 9"]))


def test_what_the_function_raises_ends_the_iteration_and_says_where():
    with worker_pool(work, 1) as pool:
        for error in (DataError("none"), InvalidSmiles("C(", "unclosed", 1)):
            with pytest.raises(type(error)) as raised:
                list(pool.unordered(["a", error, "b"]))
            assert str(raised.value) == str(error)
        with pytest.raises(DataError) as raised:
            list(pool.unordered([DataError("none")]))
        assert "in work\n    raise item" in "".join(raised.value.__notes__)
        for item, message in {"unreadable": "Unreadable: ab", "exit": "SystemExit: 0"}.items():
            with pytest.raises(RuntimeError, match=f"^{message}\nTraceback"):
                list(pool.ordered([item]))
        assert list(pool.ordered(["a"])) == ["a"]


def test_an_iteration_that_is_left_leaves_nothing_to_the_next():
    with worker_pool(work, 2) as pool:
        for found in pool.unordered(["a", 600.0, "b"]):
            assert found[1] in ("a", "b")
            break
        assert sorted(pool.unordered(["c", "d"])) == [(0, "c"), (1, "d")]


def test_a_worker_that_is_killed_between_two_items_costs_none():
    with worker_pool(work, 1) as pool:
        (before,) = pool.ordered(["pid"])
        os.kill(before, signal.SIGKILL)
        (after,) = pool.ordered(["pid"])
        assert before != after
        assert multiprocessing.active_children()
    assert not multiprocessing.active_children()


MODULE = """
    import multiprocessing, os, pathlib, signal, sys, time

    HERE = pathlib.Path(__file__).parent

    def work(item):
        return item

    if multiprocessing.parent_process() is not None and (HERE / "now").exists():
        with open(HERE / "starts", "a") as file:
            file.write("x")
        {}
"""
STARTS = {
    "os._exit(0)": "no worker process was ready: one died with exit code 0 while it started.*__main__",
    "os.kill(os.getpid(), 9)": "no worker process was ready: one died with signal 9 while it started, as where memory",
    "raise ValueError('no')": r"no worker process was ready: one could not take over its work \(ValueError: no\)",
    "sys.exit(0)": r"no worker process was ready: one could not take over its work \(RuntimeError: SystemExit: 0",
    "time.sleep(600)": "no worker process was ready: none was after 1 s",
}


@pytest.fixture
def module(tmp_path, monkeypatch, module_at):
    """The function of a module that workers, while the file ``now`` is there, cannot import as they start."""

    def make(what: str):
        (tmp_path / "starting.py").write_text(textwrap.dedent(MODULE).format(what))
        monkeypatch.syspath_prepend(tmp_path)
        import starting

        return starting.work

    yield make
    sys.modules.pop("starting", None)


@pytest.mark.parametrize("what", STARTS)
def test_workers_that_do_not_start_are_an_error_that_says_what_to_do(module, tmp_path, monkeypatch, what):
    (tmp_path / "now").touch()
    monkeypatch.setattr(workers, "START_TIMEOUT", 1.0 if "sleep" in what else 60.0)
    with pytest.raises(WorkerError, match=STARTS[what]), worker_pool(module(what), 2):
        raise AssertionError
    assert not multiprocessing.active_children()


def test_workers_that_do_not_start_any_more_are_an_error_once_no_other_is_left(module, tmp_path, caplog):
    def few():
        while len(processes) < 2:
            yield "pid"

    def more():
        yield "signal 9"
        while not caplog.messages:
            yield 0.1

    with worker_pool(partial(either, module("os._exit(1)")), 2) as pool:
        processes = set()
        for _, process in pool.unordered(few()):
            processes.add(process)
        (tmp_path / "now").touch()
        assert sum(isinstance(found, Lost) for _, found in pool.unordered(more())) == 1
        assert caplog.messages == ["1 of 2 worker processes go on: one died with exit code 1 while it started"]
        assert (tmp_path / "starts").read_text() == "xxx"
        with pytest.raises(WorkerError, match="no worker process was ready: one died with exit code 1"):
            list(pool.unordered(["signal 9", "a"]))


def either(_, item):
    return work(item)


def test_work_that_cannot_be_handed_over_says_so():
    said = r"cannot be given their work \(.*lambda.*stand at the top of a module"
    with pytest.raises(WorkerError, match=said), worker_pool(lambda item: item, 1):
        pass


def test_a_process_that_may_have_no_children_says_so():
    process = multiprocessing.get_context("fork").Process(target=_open_pool, daemon=True)
    process.start()
    process.join(60)
    assert process.exitcode == 5


def _open_pool():
    try:
        with worker_pool(work, 1):
            pass
    except WorkerError as error:
        os._exit(5 if "daemonic processes are not allowed to have children" in str(error) else 6)


PARENT = """
    import ctypes, os, subprocess, sys
    from molvae.workers import worker_pool

    def work(item):
        program = subprocess.Popen(["sleep", "600"])
        print(os.getpid(), program.pid, flush=True)
        ctypes.PyDLL(None).sleep(600)  # holds the interpreter's lock

    if __name__ == "__main__":
        with worker_pool(work, 1) as pool:
            for _ in pool.unordered([1], {}):
                pass
            sys.stdin.readline()
"""


def gone(process: int) -> bool:
    try:
        with open(f"/proc/{process}/stat") as file:
            return file.read().rpartition(") ")[2].startswith("Z")
    except OSError:
        return True


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
@pytest.mark.parametrize("how", ["parent killed", "parent interrupted", "worker killed", "time is up"])
def test_a_worker_ends_with_what_it_began(tmp_path, how):
    (tmp_path / "parent.py").write_text(textwrap.dedent(PARENT).format(1.0 if how == "time is up" else None))
    pipes = dict.fromkeys(("stdin", "stdout", "stderr"), subprocess.PIPE)
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    command = [sys.executable, tmp_path / "parent.py"]
    with subprocess.Popen(command, **pipes, text=True, env=environment, start_new_session=True) as parent:
        processes = [int(word) for word in parent.stdout.readline().split()]
        assert len(processes) == 2
        match how:
            case "parent killed":
                parent.kill()
            case "parent interrupted":
                os.killpg(parent.pid, signal.SIGINT)
            case "worker killed":
                os.kill(processes[0], signal.SIGKILL)
        deadline = time.monotonic() + 20
        while not all(map(gone, processes)):
            assert time.monotonic() < deadline
            time.sleep(0.05)
        if how == "parent killed":
            assert parent.communicate(timeout=30)[1] == ""  # no traceback, no warning of semaphores that leaked
        parent.kill()


def environment_of_a_worker(_) -> tuple[str | None, bool]:
    return os.environ.get("PYTHONSAFEPATH"), sys.flags.safe_path


@pytest.mark.slow
@pytest.mark.parametrize("own", [None, "1"])
def test_workers_begin_without_the_current_folder_and_leave_what_they_begin_alone(monkeypatch, own):
    monkeypatch.delenv("PYTHONSAFEPATH", raising=False)
    if own is not None:
        monkeypatch.setenv("PYTHONSAFEPATH", own)
    with worker_pool(environment_of_a_worker, 1) as pool:
        assert list(pool.ordered([1])) == [(own, True)]
    assert os.environ.get("PYTHONSAFEPATH") == own
