"""Campaigns whose objective does what it should not: each molecule fails with its reason, the campaign goes on."""

import math
import os
import shutil
import sys
import time
from pathlib import Path

import pandas as pd
import pytest

from molvae.campaign.campaign import Campaign
from molvae.campaign.record.state import Failed
from molvae.chem.objectives import named
from molvae.chem.scorers import _imported
from molvae.chem.scoring import score_table

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="forks, and reads /proc")

HERE = Path(__file__).parent
CRASHES = {
    "_exit 0": "the worker process died with exit code 0",
    "_exit 3": "the worker process died with exit code 3",
    "killed": "the worker process died with signal 9",
    "crash": "the worker process died with signal 11",
}
HANGS = {"hang": "took longer than 3 s", "hang in C": "took longer than 3 s"}
EXECUTORS = {
    "inline": ({"kind": "inline"}, {}),
    "processes": ({"kind": "processes", "workers": 2}, CRASHES),
    "processes with a timeout": ({"kind": "processes", "workers": 2, "timeout": 3.0}, CRASHES | HANGS),
}


@pytest.fixture
def hostile(tmp_path, monkeypatch, module_at):
    shutil.copy(HERE / "hostile.py", tmp_path / "hostile_here.py")
    monkeypatch.syspath_prepend(tmp_path)
    yield module_at(tmp_path / "hostile_here.py")
    _imported.cache_clear()
    sys.modules.pop("hostile_here", None)


def expected(hostile, worse, moods: dict[str, str]) -> dict[str, object]:
    """By molecule: its value, the reason of its failure, or, of a returned value, how the reason begins."""
    found = {}
    for smiles, mood in moods.items():
        _, wanted, *what = hostile.MOODS[mood]
        text = worse.get(mood) if wanted is None else wanted
        found[smiles] = (text.format(smiles) if what else text) + "".join(what) if isinstance(text, str) else text
    return found


def check(found: dict[str, object], wanted: dict[str, object]) -> None:
    for smiles, what in wanted.items():
        if isinstance(what, str) and ", which is " in what:
            assert str(found[smiles]).startswith(what)
        else:
            assert found[smiles] == what, smiles


def by_molecule(state) -> dict[str, object]:
    return {
        r.proposal.smiles: r.outcome.reason if isinstance(r.outcome, Failed) else r.outcome.values[0]
        for r in state.records
    }


def gone(process: int) -> bool:
    try:
        return Path(f"/proc/{process}/stat").read_text().rpartition(") ")[2].startswith("Z")
    except OSError:
        return True


@pytest.mark.parametrize("name", EXECUTORS)
def test_a_campaign_ends_with_a_reason_for_each_molecule(hostile, recipe, toy, space, tmp_path, rewind, name):
    executor, worse = EXECUTORS[name]
    names = [mood for mood, (_, wanted, *_) in hostile.MOODS.items() if wanted is not None or mood in worse]
    moods = dict(zip(toy.pool()[::3], names, strict=False))
    assert len(moods) == len(names)
    (tmp_path / "moods").write_text("".join(f"{smiles}\t{mood}\n" for smiles, mood in moods.items()))
    asked = recipe(
        objectives=[{"score": {"kind": "callable", "call": "hostile_here:score"}}],
        start={"kind": "given", "smiles": [*moods, *toy.pool()[1:30:3]]},
        budget={"evaluations": len(moods) + 14},
        executor=executor,
        method={"kind": "random"},  # quick
    )
    campaign = Campaign.open(asked, tmp_path / "run", space=space)
    state = campaign.run()
    assert (state.used, state.pending, state.round) == (len(moods) + 14, (), 1)
    found = by_molecule(state)
    check(found, expected(hostile, worse, moods))
    assert all(found[smiles] == len(smiles) for smiles in found if smiles not in moods)

    resumed = Campaign.open(asked, tmp_path / "run", space=space)
    assert by_molecule(resumed.run()) == found
    assert resumed.status()["failed"] == len(state.failed)
    assert resumed.export(tmp_path / "table.csv") == len(state.observed)
    if not worse:
        rewind(tmp_path / "run", tmp_path / "again", state, len(moods) // 2)
        assert by_molecule(Campaign.open(asked, tmp_path / "again", space=space).run()) == found

    programs = [int(line) for line in (tmp_path / "programs").read_text().split()] if worse else []
    assert len(programs) == len(worse)
    deadline = time.monotonic() + 5
    while not all(map(gone, programs)):
        assert time.monotonic() < deadline
        time.sleep(0.05)


def test_a_table_has_a_reason_for_each_molecule(hostile, toy, tmp_path):
    moods = dict(
        zip(toy.pool(), (m for m, (_, wanted, *_) in hostile.MOODS.items() if wanted is not None), strict=False)
    )
    (tmp_path / "moods").write_text("".join(f"{smiles}\t{mood}\n" for smiles, mood in moods.items()))
    table = score_table(pd.DataFrame({"SMILES": [*moods, "CC"]}), [named("hostile_here:score"), named("logp")])
    assert table["logP"].notna().all()
    reasons = [text.removeprefix("score: ") for text in table["failure"]]
    values = [value if math.isfinite(value) else why for value, why in zip(table["score"], reasons, strict=True)]
    check(dict(zip(table["SMILES"], values, strict=True)), {**expected(hostile, {}, moods), "CC": 2.0})
    assert os.path.exists(tmp_path / "forked")
