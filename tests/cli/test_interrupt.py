"""Real commands, interrupted and killed at random moments: the same command goes on as if nothing had been."""

import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]

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


def test_ctrl_c_inside_an_exec_leaves_with_1_all_the_same(tmp_path):
    """There ``python -m`` would end by the signal, although the interrupt was handled."""
    (tmp_path / "caught.py").write_text(
        "import sys\nfrom molvae.cli.shell import report\n"
        "try:\n    exec('raise KeyboardInterrupt')\nexcept KeyboardInterrupt as error:\n    sys.exit(report(error))\n"
    )
    done = subprocess.run([sys.executable, "-m", "caught"], cwd=tmp_path, capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (1, LINE + "\n")
