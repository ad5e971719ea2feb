"""The recipes in pipelines/ are what their comments say, and the scripts there run."""

import importlib.util
import json
import logging
import re
import shlex
import subprocess
import sys
import tomllib
from pathlib import Path

import pandas as pd
import pytest
import typer
from typer.testing import CliRunner

from molvae.campaign.recipe import CampaignRecipe
from molvae.cli import app
from molvae.config import read_recipe
from molvae.vae.training.recipe import TrainRecipe

ROOT = Path(__file__).resolve().parents[1]
PIPELINES = ROOT / "pipelines"
RECIPES = sorted(PIPELINES.glob("*.toml"))


def commands(path: Path) -> list[list[str]]:
    """The commands that the comments at the top of a recipe, or the lines of a page, show."""
    found = re.findall(r"^(?:#   )?(molvae .*?)(?: +#.*)?$", path.read_text(encoding="utf-8"), re.MULTILINE)
    return [shlex.split(line) for line in found]


def is_training(path: Path) -> bool:
    return "corpus" in tomllib.loads(path.read_text(encoding="utf-8"))


def check(words: list[str]) -> None:
    """Parse a command line, without running it."""
    command = typer.main.get_command(app)
    program, *rest = words
    assert program == "molvae"
    while hasattr(command, "commands"):
        command = command.commands[rest.pop(0)]
    command.make_context("molvae", rest)


@pytest.fixture
def molvae(tmp_path, monkeypatch):
    """Run a command in this process, in a folder that has pipelines/ as the repository does."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "pipelines").symlink_to(PIPELINES)
    monkeypatch.setattr(sys, "path", [*sys.path])
    log = logging.getLogger("molvae")
    level, handlers = log.level, log.handlers

    def run(*words):
        result = CliRunner().invoke(app, [str(word) for word in words])
        assert result.exit_code == 0, result.stderr
        return result

    yield run
    log.setLevel(level)
    log.handlers = handlers


def test_there_are_recipes_of_both_kinds():
    assert {path.stem for path in RECIPES} >= {"train_zinc250k", "train_nci5k", "smoke", "campaign", "pareto"}


@pytest.mark.parametrize("path", RECIPES, ids=lambda path: path.stem)
def test_each_recipe_is_one(path):
    read_recipe(path, TrainRecipe if is_training(path) else CampaignRecipe)


@pytest.mark.parametrize("path", RECIPES, ids=lambda path: path.stem)
def test_the_commands_in_its_comments_are_commands(path):
    found = commands(path)
    main = "train" if is_training(path) else "optimize"
    assert [words for words in found if words[1:3] == [main, f"pipelines/{path.name}"]]
    for words in found:
        check(words)


def test_the_script_that_makes_the_model_that_ships_has_the_commands_of_its_recipes():
    script = (ROOT / "scripts/model.sh").read_text(encoding="utf-8")
    script = script.replace("$molvae", "molvae").replace("$data", "data/zinc250k")
    parts = ("train", "refine", "synthetic", "anneal", "match")
    said = [" ".join(words) for part in parts for words in commands(PIPELINES / f"{part}_zinc250k.toml")]
    places = [script.find(command) for command in said]
    assert len(said) == 12
    assert -1 not in places
    assert places == sorted(places)


def test_smoke_makes_a_model_in_seconds(molvae, tmp_path):
    for words in commands(PIPELINES / "smoke.toml"):
        molvae(*words[1:], "--device", "cpu") if words[1] == "train" else molvae(*words[1:])
    texts = molvae("sample", "runs/smoke/model", "-n", 7).stdout
    assert len(texts.splitlines()) == 7
    words = ["--smiles", "data/nci5k/prepared/valid.smi", "-n", 50, "--json"]
    figures = json.loads(molvae("evaluate", "runs/smoke/model", *words).stdout)
    assert figures["molecules"] == 50
    assert 0 < figures["nll"] < 150
    assert "smoke" in (tmp_path / "runs/smoke/model/card.md").read_text()


@pytest.mark.slow
def test_quickstart_runs_as_it_is_printed(tmp_path):
    """With small overrides; its second run finds all done."""
    overrides = ["train.epochs=2", "net.encoder.hidden=32", "net.decoder.hidden=64", "hardware.device=cpu"]
    for _ in range(2):
        words = [sys.executable, "pipelines/quickstart.py", str(tmp_path / "run"), *overrides]
        done = subprocess.run(words, cwd=ROOT, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        assert "aspirin decodes to" in done.stdout
    found = pd.read_csv(tmp_path / "run" / "candidates.csv")
    assert len(found) == 50
    assert found.columns[0] == "SMILES"
    assert found["5QED-SAS"].is_monotonic_decreasing
    assert (tmp_path / "run" / "columns.json").exists()


def test_quickstart_is_about_thirty_lines_of_the_public_interface():
    source = (PIPELINES / "quickstart.py").read_text(encoding="utf-8")
    assert len(source.splitlines()) <= 40
    assert re.findall(r"^(?:import|from) .*molvae.*$", source, re.MULTILINE) == ["import molvae"]
    spec = importlib.util.spec_from_file_location("quickstart", PIPELINES / "quickstart.py")
    assert spec is not None
    assert spec.loader is not None
    spec.loader.exec_module(importlib.util.module_from_spec(spec))  # importing it starts nothing
