"""Worker processes that end with their parent."""

import os
import subprocess
import sys
import textwrap
import time
from concurrent.futures import ProcessPoolExecutor

import pytest

from molvae.workers import SPAWN, follow_parent

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
