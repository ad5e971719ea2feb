"""Real processes, killed for real: whatever happens, the same command ends with the same weights."""

import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from molvae.config import as_table
from molvae.vae.folder import load_model
from molvae.vae.training.loop import train
from molvae.vae.training.resume import Progress

pytestmark = pytest.mark.slow

SCRIPT = """
import json, sys
from molvae.config import parse_recipe
from molvae.vae.training.recipe import TrainRecipe
from molvae.vae.training.loop import train

if __name__ == "__main__":
    train(parse_recipe(json.load(open(sys.argv[1])), TrainRecipe), sys.argv[2])
"""


@pytest.fixture
def start(tmp_path):
    """Start a training in a process of its own."""
    script = tmp_path / "script.py"
    script.write_text(SCRIPT)

    def begin(recipe, out: Path) -> subprocess.Popen:
        (tmp_path / "recipe.json").write_text(json.dumps(as_table(recipe)))
        command = [sys.executable, str(script), str(tmp_path / "recipe.json"), str(out)]
        return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)

    return begin


def progress(out: Path) -> Progress:
    header = (out / "state.safetensors").read_bytes()
    size = int.from_bytes(header[:8], "little")
    return Progress(**json.loads(json.loads(header[8 : 8 + size])["__metadata__"]["progress"]))


def wait_for_a_step(out: Path, process: subprocess.Popen) -> None:
    """Until the process has saved a state of its own, or is done."""
    state = out / "state.safetensors"
    before = state.stat().st_mtime_ns if state.exists() else 0
    while process.poll() is None and (state.stat().st_mtime_ns if state.exists() else 0) == before:
        time.sleep(0.01)


def test_killed_again_and_again_it_ends_with_the_same_weights(recipe, start, tmp_path, figures):
    settings = recipe(train={"epochs": 12}, evaluate={"every": 10})
    train(settings, tmp_path / "whole")
    out, chance, killed_at = tmp_path / "killed", random.Random(time.time_ns()), []
    for _ in range(3):
        process = start(settings, out)
        wait_for_a_step(out, process)
        time.sleep(chance.uniform(0, 0.3))
        process.send_signal(signal.SIGKILL)
        if process.wait() == -signal.SIGKILL:
            killed_at.append(progress(out).step)
        process.communicate()
    assert killed_at
    assert killed_at == sorted(killed_at)  # each went on from where the last one was
    finish = start(settings, out)
    _, errors = finish.communicate()
    assert finish.returncode == 0, errors
    whole, killed = (load_file(folder / "model/weights.safetensors") for folder in (tmp_path / "whole", out))
    assert all(torch.equal(killed[name], weights) for name, weights in whole.items()), killed_at
    assert figures(out) == figures(tmp_path / "whole")
    assert not list(out.rglob(".partial-*"))


def test_ctrl_c_saves_the_state_and_ends_the_process(recipe, start, tmp_path):
    settings = recipe(train={"epochs": 500}, checkpoint_seconds=1e9, evaluate={"every": 5})
    out = tmp_path / "out"
    process = start(settings, out)
    while process.poll() is None and not (out / "metrics.csv").exists():
        time.sleep(0.02)
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == -signal.SIGINT
    assert "KeyboardInterrupt" in errors
    assert 5 <= progress(out).step < 9000
    assert load_model(out / "model").fingerprint


def test_a_second_process_hears_of_the_first(recipe, start, tmp_path):
    settings = recipe(train={"epochs": 500})
    first = start(settings, tmp_path / "out")
    wait_for_a_step(tmp_path / "out", first)
    second = start(settings, tmp_path / "out")
    _, errors = second.communicate(timeout=60)
    first.kill()
    first.communicate()
    assert second.returncode == 1
    assert f"FolderBusy: this training is running in process {first.pid} " in errors


def test_two_devices_share_the_batches_and_resume(recipe, start, tmp_path, figures):
    """Lightning Fabric's ddp over two processes of this machine; its steps are half as many."""
    settings = recipe(hardware={"devices": 2, "strategy": "ddp"}, train={"epochs": 6})
    for name in ("whole", "killed"):
        process = start(settings, tmp_path / name)
        if name == "killed":
            wait_for_a_step(tmp_path / name, process)
            process.kill()
            process.communicate()
            process = start(settings, tmp_path / name)
        _, errors = process.communicate(timeout=120)
        assert process.returncode == 0, errors
    rows = figures(tmp_path / "whole")
    alone = recipe(train={"epochs": 6})
    train(alone, tmp_path / "alone")
    assert int(rows[-1]["step"]) == int(figures(tmp_path / "alone")[-1]["step"]) // 2
    assert float(rows[-1]["nll"]) < float(rows[0]["nll"])
    whole, killed = (load_file(tmp_path / name / "model/weights.safetensors") for name in ("whole", "killed"))
    assert all(torch.equal(killed[name], weights) for name, weights in whole.items())
    assert not os.path.exists(tmp_path / "whole" / ".pid")
