"""Signals that wait, and worker processes that end with their parent."""

import os
import signal
import subprocess
import sys
import textwrap
import threading
import time
from concurrent.futures import ProcessPoolExecutor

import pytest

from molvae.workers import SPAWN, follow_parent, held_signals

BOTH = pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])


@pytest.fixture
def heard():
    """Signals that were heard outside of any block, in order."""
    found = []
    before = {
        number: signal.signal(number, lambda number, _: found.append(number))
        for number in (signal.SIGINT, signal.SIGTERM)
    }
    yield found
    for number, handler in before.items():
        signal.signal(number, handler)


@BOTH
def test_a_signal_waits_for_the_end_of_the_block(heard, number):
    with held_signals() as came:
        assert not came.is_set()
        signal.raise_signal(number)
        assert came.is_set()
        assert heard == []
    assert heard == [number]


@BOTH
def test_the_second_does_not_wait(heard, number):
    with held_signals():
        signal.raise_signal(number)
        signal.raise_signal(signal.SIGINT)
        assert heard == [signal.SIGINT]


def test_without_a_signal_nothing_happens(heard):
    before = signal.getsignal(signal.SIGINT)
    with held_signals() as came:
        assert signal.getsignal(signal.SIGINT) is not before
    assert signal.getsignal(signal.SIGINT) is before
    assert not came.is_set()
    assert heard == []


def test_a_block_in_a_block_hands_the_signal_on(heard):
    with held_signals() as outer:
        with held_signals() as inner:
            signal.raise_signal(signal.SIGINT)
            assert not outer.is_set()
        assert inner.is_set()
        assert outer.is_set()
        assert heard == []
    assert heard == [signal.SIGINT]


def test_a_block_that_ends_early_by_an_error_ends_by_that_error(heard):
    def work() -> None:
        with held_signals():
            signal.raise_signal(signal.SIGINT)
            raise KeyError

    before = signal.getsignal(signal.SIGINT)
    with pytest.raises(KeyError):
        work()
    assert heard == []
    assert signal.getsignal(signal.SIGINT) is before


def test_in_another_thread_nothing_is_held(heard):
    seen = []

    def work() -> None:
        with held_signals() as came:
            seen.append((signal.getsignal(signal.SIGINT), came.is_set()))

    before = signal.getsignal(signal.SIGINT)
    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert seen == [(before, False)]


PARENT = """
    import multiprocessing, os, subprocess, sys, time
    from molvae.workers import deaf_to_ctrl_c, follow_parent

    def work(lock):
        follow_parent()
        with lock:
            program = subprocess.Popen(["sleep", "600"])
            print(os.getpid(), program.pid, flush=True)
        time.sleep(600)

    if __name__ == "__main__":
        context = multiprocessing.get_context("spawn")
        with deaf_to_ctrl_c():
            lock = context.Lock()
            worker = context.Process(target=work, args=(lock,))
            worker.start()
        sys.stdin.readline()
        worker.terminate()
        print("stopped", worker.join(), flush=True)
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
@pytest.mark.parametrize("how", ["killed", "stopped"])
def test_a_worker_and_what_it_began_end_when_the_parent_is_killed_or_stops_it(tmp_path, how):
    (tmp_path / "parent.py").write_text(textwrap.dedent(PARENT))
    pipes = dict.fromkeys(("stdin", "stdout", "stderr"), subprocess.PIPE)
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    with subprocess.Popen([sys.executable, tmp_path / "parent.py"], **pipes, text=True, env=environment) as parent:
        processes = [int(word) for word in parent.stdout.readline().split()]
        assert len(processes) == 2
        if how == "killed":
            parent.kill()
        else:
            parent.stdin.write("\n")
            parent.stdin.flush()
            assert parent.stdout.readline() == "stopped None\n"
        deadline = time.monotonic() + 20
        while not all(map(gone, processes)):
            assert time.monotonic() < deadline
            time.sleep(0.05)
        _, errors = parent.communicate("\n", timeout=30)
        assert errors == ""  # neither a traceback nor a warning of semaphores that leaked


def environment_of_a_worker() -> tuple[str | None, bool]:
    return os.environ.get("PYTHONSAFEPATH"), sys.flags.safe_path


@pytest.mark.slow
@pytest.mark.parametrize("own", [None, "1"])
def test_workers_begin_without_the_current_folder_and_leave_what_they_begin_alone(monkeypatch, own):
    monkeypatch.delenv("PYTHONSAFEPATH", raising=False)
    if own is not None:
        monkeypatch.setenv("PYTHONSAFEPATH", own)
    with ProcessPoolExecutor(1, mp_context=SPAWN, initializer=follow_parent) as pool:
        assert pool.submit(environment_of_a_worker).result(timeout=60) == (own, True)
    assert os.environ.get("PYTHONSAFEPATH") == own
