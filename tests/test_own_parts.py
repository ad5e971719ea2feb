"""docs/how-to/own-parts.md, as a reader follows it: parts of a module outside the package."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest

ROOT = Path(__file__).resolve().parents[1]
PAGE = ROOT / "docs" / "how-to" / "own-parts.md"


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_the_page_works_from_top_to_bottom(tmp_path):
    blocks = re.findall(r"```(\w+)\n(.*?)```", PAGE.read_text(encoding="utf-8"), flags=re.S)
    (tmp_path / "my_parts.py").write_text(next(text for kind, text in blocks if kind == "python"))
    (tmp_path / "mine.toml").write_text(next(text for kind, text in blocks if kind == "toml"))
    environment = os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}

    def run(*words: str, **variables: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "molvae", *words]
        return subprocess.run(command, cwd=tmp_path, env=environment | variables, capture_output=True, text=True)

    commands = [line.split() for kind, text in blocks if kind == "bash" for line in text.splitlines()]
    assert len(commands) == 3
    for _, *words in commands:
        done = run(*words)
        assert done.returncode == 0, done.stderr
    table = pd.read_csv(tmp_path / "mine.csv")
    assert len(table) == 20
    assert table["from_16_atoms"].is_monotonic_increasing
    assert table["from_16_atoms_predicted"].notna().sum() == 8
    recipe = json.loads((tmp_path / "runs/mine/recipe.json").read_text())
    assert recipe["method"]["surrogate"] == {"kind": "my_parts:DescriptorGP", "most": 200}
    parts = json.loads((tmp_path / "runs/mine/parts.json").read_text())
    assert parts["method.surrogate"][0]["path"] == "my_parts:DescriptorGP"
    assert parts["objectives.0.score"][0]["version"].startswith("sha256 ")

    # the same command again shows the finished run; a part from elsewhere is not taken for the recorded one
    assert run("optimize", "mine.toml", "--out", "runs/mine").returncode == 0
    (tmp_path / "other_parts.py").write_text((tmp_path / "my_parts.py").read_text())
    (tmp_path / "mine.toml").write_text((tmp_path / "mine.toml").read_text().replace("my_parts:F", "other_parts:F"))
    refused = run("optimize", "mine.toml", "--out", "runs/mine")
    assert refused.returncode == 2
    assert 'method.acquisition.kind: "my_parts:FixedUCB" → "other_parts:FixedUCB"' in refused.stderr

    # a model folder does not import from the current folder, but from the path
    refused = run("sample", "models/diagonal", "-n", "3")
    assert refused.returncode == 1
    assert "my_parts" in refused.stderr
    done = run("sample", "models/diagonal", "-n", "3", PYTHONPATH=os.pathsep.join([str(ROOT), str(tmp_path)]))
    assert len(done.stdout.split()) == 3, done.stderr
