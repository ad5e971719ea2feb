"""The PMO benchmark: its figures by hand-worked histories, and a run that is stopped, killed and goes on."""

import json
import math
import os
import re
import signal
import subprocess
import sys
import time
from argparse import Namespace
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pandas as pd
import pytest
from filelock import FileLock

from molvae.campaign.record.state import Failed, Observed, Proposal, fold
from molvae.campaign.record.store import Round, Store
from molvae.chem.guacamol import GUACAMOL
from molvae.chem.molecule import Molecule
from molvae.errors import DataError, RecipeError, UsageError

ROOT = Path(__file__).resolve().parents[1]
SCRIPT = ROOT / "scripts" / "bench_pmo.py"
SMILES = ["CCO", "CCN", "c1ccccc1", "CC(=O)O", "CCC#N"]
START = Round(0, 3, 3, 3, 4.0, "w")
SEARCH = Round(1, 8, 6, 5, 2.0, "w")


@pytest.fixture(scope="module")
def bench(module_at):
    return module_at(SCRIPT)


def history(outcomes):
    """Proposals, the first three of the start set, and their outcomes by call: a value, a reason, or None."""
    z = np.zeros(2, np.float32)
    proposals = [Proposal(k + 1, int(k >= 3), SMILES[k], z) for k in range(len(outcomes))]
    made = {
        k: Failed(outcome, 0.5) if isinstance(outcome, str) else Observed((outcome,), 0.5)
        for k, outcome in enumerate(outcomes, start=1)
        if outcome is not None
    }
    return proposals, made


@pytest.fixture
def keep(tmp_path):
    """Write a campaign's folder as a campaign would."""

    def write(place, outcomes, stopped=None):
        proposals, made = history(outcomes)
        folder = tmp_path / place
        folder.mkdir(parents=True)
        with Store.create(folder) as store:
            store.propose(proposals[:3], START)
            if proposals[3:]:
                store.propose(proposals[3:], SEARCH)
            for call, outcome in made.items():
                store.conclude(call, outcome)
            if stopped:
                store.note(stopped=stopped)
        return tmp_path

    return write


def chosen(**changes):
    return Namespace(**{"overrides": [], "calls": 1000, **changes})


# --- figures ------------------------------------------------------------------------------------------


def test_running_best_is_the_mean_of_the_best_so_far(bench):
    assert bench.running_best([1, 3, 2, 5, 0], 2).tolist() == [1, 2, 2.5, 4, 4]


@pytest.mark.parametrize(
    ("scores", "k", "expected"),
    [
        ([1.0] * 10_000, 10, 0.995),  # the first 100 calls are a triangle
        ([1.0] * 100, 10, 0.995),  # held flat
        ([1.0] * 10, 10, 0.9995),  # the triangle ends with the run
        ([0.0] * 100 + [1.0] * 150, 10, (50 + 50 + 9750) / 10_000),
        ([0.0] * 100 + [1.0] * 5, 10, (0.5 * 5 / 2 + 0.5 * 9895) / 10_000),
        ([0.0] * 100 + [1.0] * 5, 1, (5 / 2 + 9895) / 10_000),
        ([1.0, 0.0], 10, (0.5 * 2 / 2 + 0.5 * 9998) / 10_000),  # of two molecules the mean of both
        ([0.0] * 10_000 + [1.0] * 500, 10, 0.0),  # beyond the budget
        ([0.5] * 9_999 + [1.0], 1, (0.5 * 9_850 + 0.75 * 100) / 10_000),
    ],
)
def test_the_area_is_that_of_the_protocol(bench, scores, k, expected):
    assert bench.area(scores, k) == pytest.approx(expected, abs=1e-12)


def test_only_each_hundredth_call_is_looked_at(bench):
    early, late = [1.0] * 10 + [0.0] * 990, [0.0] * 90 + [1.0] * 10 + [0.0] * 900
    assert bench.area(early, 10) == bench.area(late, 10)


def test_a_failure_is_a_call_of_score_0_and_what_waits_is_none(bench):
    assert bench.scores(fold(*history([0.2, "crash", 0.4, None]))) == [0.2, 0.0, 0.4]


@pytest.mark.parametrize(("smiles", "expected"), [(["C", "O"], 1.0), (["C", "C"], 0.0), (["C", "C", "O"], 2 / 3)])
def test_diversity_is_over_pairs(bench, smiles, expected):
    assert bench.diversity([Molecule.parse(text) for text in smiles]) == pytest.approx(expected)


def test_one_molecule_has_no_diversity(bench):
    assert math.isnan(bench.diversity([Molecule.parse("C")]))


def test_the_figures_of_a_run(bench):
    state = fold(*history([0.1, 0.3, "crash", 0.5, None]))
    row = bench.Run("bayes", "qed", 0, state, (START, SEARCH), None).figures()
    assert (row["method"], row["task"], row["seed"], row["calls"], row["failed"]) == ("bayes", "qed", 0, 4, 1)
    assert (row["top1"], row["top10"]) == pytest.approx((0.5, 0.225))
    assert row["auc_top1"] == pytest.approx((0.5 * 4 / 2 + 0.5 * 9996) / 10_000)
    assert row["valid"] == 6 / 8  # without the start set
    assert row["seconds"] == 4.0 + 2.0 + 4 * 0.5
    assert row["seconds_per_call"] == 2.0 / 2
    assert 1 < row["sas"] < 4
    assert {re.sub(r"top\d+", "topK", key) for key in row} - {"method", "task", "seed"} == set(bench.KEYS)


def test_a_start_set_alone_has_no_search_to_judge(bench):
    row = bench.Run("bayes", "qed", 0, fold(*history([0.1, 0.3, 0.2])), (START,), None).figures()
    assert math.isnan(row["valid"])
    assert math.isnan(row["seconds_per_call"])


# --- published figures --------------------------------------------------------------------------------


def test_the_published_figures_are_of_the_twenty_tasks(bench):
    published = pd.read_csv(bench.PUBLISHED, comment="#", index_col="task")
    assert set(published.index) == set(GUACAMOL)
    sums = published.sum()
    assert sums["nf_bo"] == pytest.approx(12.46, abs=0.005)
    assert sums["invirtuogen_no_prescreen"] == pytest.approx(13.91, abs=0.005)
    assert sums["screening"] == pytest.approx(7.41, abs=0.005)


def test_sums_are_of_the_same_tasks_and_need_all_of_them(bench):
    figures = pd.DataFrame(
        [("a", "qed", 0.5), ("a", "qed", 0.7), ("a", "median1", 0.2), ("b", "qed", 0.9)],
        columns=["method", "task", "auc_top10"],
    )
    published = pd.DataFrame({"paper": [0.4, 0.3, 0.8]}, index=["median1", "median2", "qed"])
    table = bench.comparison(figures, published)
    assert table["a"].to_dict() == pytest.approx({"median1": 0.2, "qed": 0.6, "sum": 0.8})
    assert table.loc["sum", "paper"] == pytest.approx(1.2)
    assert math.isnan(table.loc["sum", "b"])


# --- recipes ------------------------------------------------------------------------------------------


def test_each_campaign_has_its_task_seed_and_budget(bench, tmp_path):
    overrides = [f"start.path={tmp_path}", "q=5", "seed=9"]
    recipe = bench.recipe(chosen(calls=200, overrides=overrides), "median1", 2)
    assert [objective.label for objective in recipe.objectives] == ["median1"]
    assert (recipe.seed, recipe.budget.evaluations, recipe.q) == (2, 200, 5)
    assert (recipe.start.kind, recipe.start.n, recipe.executor.kind) == ("training", 100, "inline")


def test_a_task_that_is_none_is_named(bench, tmp_path):
    with pytest.raises(RecipeError, match="did you mean 'qed'"):
        bench.recipe(chosen(overrides=[f"start.path={tmp_path}"]), "qedd", 0)


def test_without_molecules_to_start_from_the_commands_are_named(bench, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(DataError, match="`molvae data fetch zinc250k` and `molvae data prepare`"):
        bench.recipe(chosen(), "qed", 0)


# --- report -------------------------------------------------------------------------------------------


def test_the_report_tells_all(bench, keep, tmp_path, capsys):
    keep("pmo/bayes/qed/0", [0.1, 0.3, 0.2, 0.6, 0.4], "budget used")
    keep("pmo/bayes/qed/1", [0.1, 0.3, 0.2, 0.8])
    keep("pmo/other&one/median1/0", [0.1, 0.3, "crash"], "budget used")
    keep("pmo/other&one/median2/0", [None, None, None])
    files = {"json": tmp_path / "pmo.json", "picture": tmp_path / "pmo.svg"}
    assert bench.report(Namespace(out=tmp_path / "pmo", **files)) == 0

    shown = capsys.readouterr().out
    assert "bayes: sum of AUC top-10 0.335" in shown
    assert "0.335 ± 0.021" in shown
    assert "not finished: bayes/qed/1, 4 calls" in shown
    assert shown.count("not finished") == 1
    assert "0.941" in shown  # a published one

    written = json.loads(files["json"].read_text())
    assert [(row["method"], row["task"], row["seed"]) for row in written["runs"]] == [
        ("bayes", "qed", 0),
        ("bayes", "qed", 1),
        ("other&one", "median1", 0),
    ]
    assert written["means"][0]["top1"] == pytest.approx(0.7)
    assert written["runs"][2]["valid"] is None

    drawn = ElementTree.parse(files["picture"]).getroot()
    panels = drawn.findall("{*}g")
    assert [panel.findtext("{*}text") for panel in panels] == ["median1", "qed"]
    assert [len(panel.findall("{*}polyline")) for panel in panels] == [1, 1]


def test_a_folder_without_campaigns_is_refused(bench, tmp_path):
    with pytest.raises(UsageError, match="there is no campaign in"):
        bench.read(tmp_path)


# --- a run --------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_stopped_or_killed_the_same_command_goes_on(bench, tmp_path):
    smiles = ["CC(=O)Nc1ccc(O)cc1", "CCOC(=O)c1ccccc1N", "Cc1ccc(CNC(=O)c2cccs2)cc1", "COc1ccc(CCN)cc1", "CCN(CC)C=O"]
    (tmp_path / "start.smi").write_text("".join(f"{text}\n" for text in smiles))
    sets = [f"start.path={tmp_path / 'start.smi'}", "start.n=5", "q=5"]
    sets += ["search.generations=2", "search.children=40"]
    command = [sys.executable, SCRIPT, "run", "--out", tmp_path / "pmo", "--calls", "10", "--seeds", "1"]
    command += ["--tasks", "qed,median1", "--processes", "1", *(word for one in sets for word in ("--set", one))]
    pid = tmp_path / "pmo/bayes/qed/0/.pid"

    def begin():
        return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)

    def worker():
        """Its process, as soon as it works on the first campaign."""
        for _ in range(6000):
            if pid.exists():
                break
            time.sleep(0.01)
        return int(pid.read_text())

    stopped = begin()
    worker()
    stopped.send_signal(signal.SIGINT)
    assert "the same command goes on" in stopped.communicate(timeout=150)[1]
    assert stopped.returncode == 1
    with FileLock(pid.with_name(".lock"), timeout=30):  # the worker ends with what began it
        pid.unlink(missing_ok=True)

    killed = begin()
    os.kill(worker(), signal.SIGKILL)
    said, complaint = killed.communicate(timeout=150)
    assert killed.returncode == 1, complaint
    assert "qed/0: the worker process died with signal 9" in said
    assert "median1/0: 10 calls" in said

    again = begin()
    said, complaint = again.communicate(timeout=150)
    assert again.returncode == 0, complaint
    assert "qed/0: 10 calls" in said
    assert [(run.task, run.state.used, run.stopped is None) for run in bench.read(tmp_path / "pmo")] == [
        ("median1", 10, False),
        ("qed", 10, False),
    ]
