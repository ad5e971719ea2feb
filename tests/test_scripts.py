"""Scripts whose figures stand in the README, as a user types them, on little work."""

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
LITTLE = ["--set", "method.search.generations=1", "--set", "method.search.children=20"]


def told(*arguments: str | Path) -> str:
    done = subprocess.run([sys.executable, *map(str, arguments)], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.slow
def test_methods_are_compared_by_their_best_and_go_on_where_they_were(tmp_path):
    few = ["--set", "budget.evaluations=14", "--set", "start.n=10", "--set", "q=4", "--processes", "1"]
    command = ["scripts/compare.py", "pipelines/campaign.toml", "--out", tmp_path, "--methods", "bayes,random"]
    first, again = (told(*command, "--seeds", "1", *few, *LITTLE) for _ in range(2))
    assert first == again
    rows = [line.split() for line in first.splitlines()[-2:]]
    assert [row[0] for row in rows] == ["bayes", "random"]
    assert all(float(row[1]) >= float(row[3]) for row in rows)  # the best, and the mean of the best ten


@pytest.mark.slow
def test_what_a_round_costs_is_told_for_each_number_of_observations(tmp_path):
    molecules = [f"{'C' * n}{end}" for n in range(1, 13) for end in ("O", "N", "C(=O)O")]
    (tmp_path / "train.smi").write_text("\n".join(molecules) + "\n")
    command = ["scripts/bench_round.py", "--molecules", tmp_path, "--observed", "12,30", "--rounds", "1", *LITTLE]
    lines = told(*command).splitlines()
    assert [line.split()[0] for line in lines] == ["12", "30"]
    assert all(float(line.split()[2]) > 0 for line in lines)
