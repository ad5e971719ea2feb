"""Real commands, interrupted and killed: one line, exit code 1, and the same command goes on as if nothing had been."""

import os
import pty
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]

ROOT = Path(__file__).parents[2]
LINE = "interrupted; nothing is lost, the same command goes on where it stopped"
SLOWLY = """
import time


def score(smiles):
    time.sleep(0.1)
    return len(smiles) + smiles.count("N") / 2
"""


@pytest.fixture
def disturb(process, tmp_path):
    """Start a command, send its process group a signal some time after a file came; gives standard error, or None.

    None if the command was done before. Ctrl-C goes to the whole group, as from a terminal.
    """

    def run(words: list, number: signal.Signals, file: Path, within: float) -> str | None:
        one = process(*words)
        before = file.stat().st_mtime_ns if file.exists() else 0
        while one.poll() is None and (file.stat().st_mtime_ns if file.exists() else 0) == before:
            time.sleep(0.02)
        time.sleep(random.uniform(0, within))
        if one.poll() is None:
            os.killpg(one.pid, number) if number == signal.SIGINT else one.send_signal(number)
        _, errors = one.communicate(timeout=120)
        if one.returncode == 0:
            return None
        assert one.returncode == (1 if number == signal.SIGINT else -number), errors
        return str(errors)

    return run


def check(number: signal.Signals, errors: str) -> None:
    assert "Traceback" not in errors, errors
    if number == signal.SIGINT:
        assert errors.splitlines()[-1] == LINE
        assert errors.count(LINE) == 1


def test_a_training_ends_with_the_same_weights(disturb, process, training, tmp_path):
    recipe = training(train={"epochs": 40}, evaluate={"every": 50})
    assert process("train", recipe, "--out", "whole").wait(300) == 0
    stopped = []
    for number in (signal.SIGINT, signal.SIGKILL, signal.SIGINT, signal.SIGKILL):
        errors = disturb(["train", recipe, "--out", "run"], number, tmp_path / "run" / "state.safetensors", 1.0)
        if errors is not None:
            check(number, errors)
            stopped.append(number)
    assert stopped
    last = process("train", recipe, "--out", "run")
    _, errors = last.communicate(timeout=300)
    assert last.returncode == 0, errors
    for name in ("weights.safetensors", "vocab.json", "known.safetensors"):
        assert (tmp_path / "run/model" / name).read_bytes() == (tmp_path / "whole/model" / name).read_bytes()
    assert not list(tmp_path.rglob(".partial-*"))


def test_a_campaign_ends_with_the_same_table(disturb, process, molvae, campaign, tmp_path):
    (tmp_path / "slowly_here.py").write_text(SLOWLY)
    objectives = [{"score": {"kind": "callable", "call": "slowly_here:score"}}]
    executor = {"kind": "processes", "workers": 2}
    recipe = campaign(objectives=objectives, executor=executor, budget={"evaluations": 40})
    assert process("optimize", recipe, "--out", "whole").wait(300) == 0
    stopped = []
    for number in (signal.SIGINT, signal.SIGKILL, signal.SIGINT, signal.SIGKILL):
        file = tmp_path / "run" / "campaign.sqlite-wal"
        errors = disturb(["optimize", recipe, "--out", "run"], number, file, 1.5)
        if errors is not None:
            check(number, errors)
            stopped.append(number)
    assert stopped
    last = process("optimize", recipe, "--out", "run")
    _, errors = last.communicate(timeout=300)
    assert last.returncode == 0, errors
    for name in ("whole", "run"):
        molvae("export", name, "-o", f"{name}.csv")
    assert (tmp_path / "run.csv").read_text() == (tmp_path / "whole.csv").read_text()
    assert (tmp_path / "run.csv").read_text().count("\n") == 41


@pytest.mark.parametrize("command", ["train", "optimize"])
def test_ctrl_c_while_it_starts_says_the_line_alone(process, training, campaign, tmp_path, command):
    """Torch takes a second or two to import, long before the run's folder is there."""
    one = process(command, training() if command == "train" else campaign(), "--out", "run")
    while one.poll() is None and "/torch/" not in Path(f"/proc/{one.pid}/maps").read_text():
        time.sleep(0.01)
    os.killpg(one.pid, signal.SIGINT)
    output, errors = one.communicate(timeout=60)
    assert (one.returncode, output, errors) == (1, "", LINE + "\n")


def test_a_preparation_starts_over(process, tmp_path):
    """Its worker processes get Ctrl-C, too, and say nothing."""
    with open(tmp_path / "many.smi", "w") as file:
        file.writelines(f"{'C' * (k % 90 + 1)}N{'C' * (k // 90)}\n" for k in range(13_000) if k // 90 < 145)
    words = ["data", "prepare", "many.smi", "-o", "mine", "--max-length", "300"]
    for delay in (0.0, 0.4):
        one = process(*words)
        while one.poll() is None and not (tmp_path / "mine" / ".unfinished").exists():
            time.sleep(0.01)
        time.sleep(delay + random.uniform(0, 0.3))
        os.killpg(one.pid, signal.SIGINT)
        output, errors = one.communicate(timeout=60)
        assert (one.returncode, output, errors) == (1, "", LINE + "\n")
        assert not (tmp_path / "mine" / "manifest.json").exists()
    last = process(*words)
    _, errors = last.communicate(timeout=200)
    assert last.returncode == 0, errors
    assert (tmp_path / "mine" / "manifest.json").exists()
    assert not list((tmp_path / "mine").glob(".partial-*"))


ENTRIES = {"module": ("-m", "molvae"), "script": ("-c", "from molvae.cli import main; main()")}


@pytest.mark.parametrize("entry", ENTRIES)
def test_ctrl_c_while_python_imports_typer(tmp_path, entry):
    """The commands' own imports are the first that take long."""
    (tmp_path / "typer.py").write_text("import time\nprint('importing', flush=True)\ntime.sleep(60)\n")
    pipes = dict.fromkeys(("stdout", "stderr"), subprocess.PIPE)
    environment = os.environ | {"PYTHONPATH": os.pathsep.join((str(tmp_path), str(ROOT)))}
    with subprocess.Popen([sys.executable, *ENTRIES[entry], "models"], env=environment, text=True, **pipes) as one:
        assert one.stdout.readline() == "importing\n"
        one.send_signal(signal.SIGINT)
        output, errors = one.communicate(timeout=30)
    assert (one.returncode, output, errors) == (1, "", LINE + "\n")


STOP = """
import atexit, os, signal, threading, time, weakref


class Thing:
    def __del__(self, kill=os.kill, process=os.getpid(), number=signal.{number}):
        kill(process, number)


def stop(*_):
    os.kill(os.getpid(), signal.{number})


"""
MOMENTS = {
    "in a finaliser": "def score(smiles):\n    Thing()\n    return 1.0",
    "in a callback": "def score(smiles):\n    thing = {1}\n    kept = weakref.ref(thing, stop)\n    del thing",
    "where all is caught": "def score(smiles):\n    try:\n        stop()\n    except BaseException:\n        pass",
    "in an import": "stop()",
    "in an exec": "exec('stop()')",
    "in a long calculation": "def score(smiles):\n    threading.Timer(0.2, stop).start()\n    time.sleep(600)",
    "at the exit": "atexit.register(stop)\n\n\ndef score(smiles):\n    return 1.0",
}


@pytest.mark.parametrize("number", ["SIGINT", "SIGTERM"])
@pytest.mark.parametrize("moment", MOMENTS)
def test_at_awkward_moments(process, tmp_path, moment, number):
    (tmp_path / "mine.smi").write_text("CC\nCCO\n")
    (tmp_path / "awkward.py").write_text(STOP.format(number=number) + MOMENTS[moment] + "\n")
    one = process("score", "mine.smi", "-o", "scored.csv", "--objective", "awkward:score", "-q")
    output, errors = one.communicate(timeout=60)
    assert (one.returncode, output, errors) == (1, "", LINE + "\n")


def test_when_python_itself_ends_it_is_too_late(process, tmp_path):
    (tmp_path / "mine.smi").write_text("CC\nCCO\n")
    (tmp_path / "awkward.py").write_text(
        STOP.format(number="SIGINT") + "thing = Thing()\n\n\ndef score(smiles):\n    return 1.0\n"
    )
    one = process("score", "mine.smi", "-o", "scored.csv", "--objective", "awkward:score", "-q")
    output, errors = one.communicate(timeout=60)
    assert (one.returncode, output, errors) == (0, "", "")


DOCKING = """
import pathlib
import subprocess


def score(smiles):
    pathlib.Path("began").touch()
    subprocess.run(["sleep", "600"], check=True)
    return 1.0
"""


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_a_long_docking_run_in_a_worker_ends_with_the_command(process, campaign, tmp_path):
    from molvae.campaign.record.store import Store

    (tmp_path / "docking_here.py").write_text(DOCKING)
    objectives = [{"score": {"kind": "callable", "call": "docking_here:score"}}]
    recipe = campaign(objectives=objectives, executor={"kind": "processes", "workers": 2})
    one = process("optimize", recipe, "--out", "run")
    while one.poll() is None and not (tmp_path / "began").exists():
        time.sleep(0.05)
    os.killpg(one.pid, signal.SIGINT)
    output, errors = one.communicate(timeout=20)  # ends when no worker holds the pipes any more
    assert (one.returncode, output, errors) == (1, "", LINE + "\n")
    deadline = time.monotonic() + 10
    while left := [stat for stat in Path("/proc").glob("[0-9]*/stat") if session(stat) == one.pid]:
        assert time.monotonic() < deadline, left
        time.sleep(0.1)
    state = Store.read(tmp_path / "run").state()
    assert (state.used, state.failed) == (0, ())


def session(stat: Path) -> int | None:
    """The session of a process that still runs, by its ``/proc/…/stat``."""
    try:
        state, _, _, number, *_ = stat.read_text().rpartition(") ")[2].split()
    except OSError:
        return None
    return None if state == "Z" else int(number)


def test_at_a_terminal_the_bar_goes_and_the_cursor_comes_back(process, tmp_path):
    (tmp_path / "mine.smi").write_text("CC\nCCO\n")
    (tmp_path / "awkward.py").write_text(STOP.format(number="SIGINT") + MOMENTS["in a long calculation"] + "\n")
    ours, theirs = pty.openpty()
    one = process("score", "mine.smi", "-o", "scored.csv", "--objective", "awkward:score", stderr=theirs)
    os.close(theirs)
    shown = b""
    try:
        while part := os.read(ours, 4096):
            shown += part
    except OSError:  # how Linux tells that nobody writes any more
        pass
    os.close(ours)
    assert one.wait(30) == 1
    assert b"\x1b[?25l" in shown
    assert shown.endswith(b"\r\x1b[K\x1b[?25h" + LINE.encode() + b"\r\n")
