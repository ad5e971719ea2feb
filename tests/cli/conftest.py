import json
import logging
import os
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest
from typer.testing import CliRunner

HERE = Path(__file__).parent
ROOT = HERE.parents[1]


@pytest.fixture(scope="session")
def tiny(module_at) -> ModuleType:
    return module_at(HERE / "tiny.py")


@pytest.fixture(scope="session")
def trained(tiny, tmp_path_factory, worker_id) -> Path:
    """The tiny model's folder: ``molecules.smi``, ``corpus``, ``training/model``; made once, not to change."""
    base = tmp_path_factory.getbasetemp()
    return tiny.make(base if worker_id == "master" else base.parent)


@pytest.fixture(scope="session")
def model(trained) -> str:
    return str(trained / "training" / "model")


@pytest.fixture
def molvae(tmp_path, monkeypatch):
    """Run a command in this process, in an empty folder: ``.exit_code``, ``.stdout``, ``.stderr``."""
    from molvae.cli import app

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [*sys.path])
    log = logging.getLogger("molvae")
    level, handlers = log.level, log.handlers

    def run(*words, code: int | None = 0):
        result = CliRunner().invoke(app, [str(word) for word in words])
        if code is not None:
            assert result.exit_code == code, result.stdout + result.stderr
        return result

    yield run
    log.setLevel(level)
    log.handlers = handlers


@pytest.fixture
def refused(molvae):
    """Run a command that fails: the exit code is ``code``, and standard error one message; gives the message."""

    def run(*words, code: int) -> str:
        result = molvae(*words, code=code)
        assert "Traceback" not in result.stderr
        assert "a bug in molvae" not in result.stderr
        assert result.stderr.count("error: ") == 1, result.stderr
        return result.stderr.partition("error: ")[2]

    return run


@pytest.fixture
def process(tmp_path):
    """Start a command as a process of its own, at the head of its own process group, in the same folder."""
    started = []

    def begin(*words, program=("-m", "molvae"), **options) -> subprocess.Popen:
        environment = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}
        command = [sys.executable, *map(str, (*program, *words))]
        pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True, "start_new_session": True}
        options = {"env": environment, "cwd": tmp_path, **pipes, **options}
        started.append(subprocess.Popen(command, **options))
        return started[-1]

    yield begin
    for one in started:
        if one.poll() is None:
            one.kill()
        one.communicate()


@pytest.fixture(scope="session")
def write_recipe():
    """Write nested tables as a TOML recipe (strings, numbers and lists are written alike in JSON and TOML)."""

    def lines(table: dict, prefix: str) -> list[str]:
        found = []
        for key, value in table.items():
            if isinstance(value, dict):
                found += lines(value, f"{prefix}{key}.")
            elif isinstance(value, list) and value and isinstance(value[0], dict):
                assert not prefix
                found.append(f"{key} = [{', '.join(inline(item) for item in value)}]")
            else:
                found.append(f"{prefix}{key} = {json.dumps(value)}")
        return found

    def inline(value) -> str:
        if isinstance(value, dict):
            return "{" + ", ".join(f"{key} = {inline(item)}" for key, item in value.items()) + "}"
        return json.dumps(value)

    def write(path: Path, table: dict) -> Path:
        path.write_text("\n".join(lines(table, "")) + "\n", encoding="utf-8")
        return path

    return write


@pytest.fixture
def training(tmp_path, tiny, trained, write_recipe):
    """A training recipe of about a second; keyword arguments change its tables, key by key."""

    def write(path: str = "train.toml", **changes) -> Path:
        table = {**tiny.RECIPE, "corpus": str(trained / "corpus"), "checkpoint_seconds": 0.0}
        table["net"] = {
            "latent": 4,
            "embedding": 6,
            "encoder": {"kind": "gru", "hidden": 8},
            "decoder": {"kind": "gru", "hidden": 12},
        }
        table["train"] = {**table["train"], "epochs": 2}
        for key, value in changes.items():
            table[key] = {**table[key], **value} if isinstance(value, dict) else value
        return write_recipe(tmp_path / path, table)

    return write


@pytest.fixture
def campaign(tmp_path, trained, model, write_recipe):
    """A campaign recipe of a few seconds; keyword arguments change its tables."""

    def write(path: str = "campaign.toml", **changes) -> Path:
        table = {
            "model": model,
            "objectives": [{"score": {"kind": "qed_sas"}}],
            "start": {"kind": "file", "path": str(trained / "molecules.smi"), "n": 6},
            "budget": {"evaluations": 14},
            "q": 4,
            "method": {"search": {"generations": 2, "children": 40}},
            "executor": {"kind": "inline"},
        }
        return write_recipe(tmp_path / path, table | changes)

    return write


@pytest.fixture
def small_disk(tmp_path):
    """A folder on a disk of its own of a size such as ``"64k"``; skipped where mounting is not allowed."""
    mounted = []

    def mount(size: str) -> Path:
        folder = tmp_path / "disk"
        folder.mkdir()
        done = subprocess.run(
            ["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(folder)], capture_output=True, check=False
        )
        if done.returncode:
            pytest.skip("no permission to mount a small disk")
        mounted.append(folder)
        return folder

    yield mount
    for folder in mounted:
        subprocess.run(["umount", "--lazy", str(folder)], check=True)


@pytest.fixture(scope="session")
def remount():
    """Change a mounted disk: ``"size=1m"`` makes room, ``"ro"`` forbids writing."""

    def change(folder: Path, option: str) -> None:
        subprocess.run(["mount", "-o", f"remount,{option}", str(folder)], check=True)

    return change
