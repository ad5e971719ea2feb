"""Scripts whose figures stand in the README, as a user types them, on little work."""

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
LITTLE = ["--set", "search.generations=1", "--set", "search.children=20"]


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


@pytest.mark.slow
def test_of_samples_those_are_kept_that_look_like_the_corpus(tmp_path):
    tails = [
        f"{'C' * n}{branch}{'C' * m}" for n in range(1, 9) for m in range(1, 9) for branch in ("C(C)", "C(CC)", "N")
    ]
    corpus, alike, other = ([f"{head}{tail}" for tail in tails] for head in ("O", "OC(=O)", "Fc1ccc(cc1)"))
    (tmp_path / "corpus.smi").write_text("\n".join(corpus + [f"OC(=O){tail}C=C" for tail in tails]))
    (tmp_path / "samples.csv").write_text("\n".join(["SMILES", *alike, "C1CC", *other, other[0]]))
    command = ["scripts/resemble.py", tmp_path / "samples.csv", "--like", tmp_path / "corpus.smi", "--keep", "0.5"]
    said = told(*command, "--epochs", "100", "--strata", "1", "-o", tmp_path / "kept.csv")
    kept = (tmp_path / "kept.csv").read_text().split()[1:]
    assert 0.4 < len(kept) / len(alike + other) < 0.6
    assert sum("F" in smiles for smiles in kept) < 0.1 * len(kept)
    assert said.split()[0] == "corpus"
    assert "% of pairs" in said
    (tmp_path / "none.csv").write_text("SMILES\nnothing\n")
    command[1] = tmp_path / "none.csv"
    done = subprocess.run([sys.executable, *map(str, [*command, "-o", "no"])], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 1
    assert done.stderr.startswith(f"error: {tmp_path / 'none.csv'}: no valid SMILES")
