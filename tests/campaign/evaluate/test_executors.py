import multiprocessing
import os
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import numpy as np
import pytest

from molvae import workers
from molvae.campaign.evaluate.executors import Inline, Processes
from molvae.campaign.record.state import Failed, Observed, Proposal
from molvae.chem.objectives import Objective
from molvae.config import parse_recipe
from molvae.errors import WorkerError

MODULE = """
    import os, sys, time

    def moody(smiles):
        if smiles == "CF":
            os._exit(3)
        if smiles == "CS":
            os.kill(os.getpid(), 11)
        if smiles == "CI":
            time.sleep(60)
        if smiles == "CBr":
            raise ValueError("no bromine here")
        if smiles == "CCl":
            return float("nan")
        return float(len(smiles))

    def loaded(smiles):
        return float(sum(name in sys.modules for name in ("torch", "botorch", "pandas")))

    def process(smiles):
        return float(os.getpid())
"""


@pytest.fixture
def objective(tmp_path, monkeypatch):
    (tmp_path / "moods.py").write_text(textwrap.dedent(MODULE))
    monkeypatch.syspath_prepend(tmp_path)
    return lambda name: parse_recipe({"score": {"kind": "callable", "call": f"moods:{name}"}}, Objective)


def proposals(*smiles: str) -> list[Proposal]:
    z = np.zeros(2, dtype=np.float32)
    return [Proposal(call, 0, text, z) for call, text in enumerate(smiles, start=1)]


def outcomes(executor, objective, *smiles):
    with executor((objective,)) as evaluate:
        return dict(evaluate(proposals(*smiles)))


def test_inline_turns_exceptions_into_failures(objective):
    found = outcomes(Inline(), objective("moody"), "CC", "CBr", "CCl")
    assert isinstance(found[1], Observed)
    assert found[1].values == (2.0,)
    assert found[2].reason == "ValueError: no bromine here"
    assert found[3].reason.startswith("ObjectiveError: moody has no finite value for CCl: it returned nan")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("swallowed", [False, True])
def test_inline_lets_signals_through(objective, monkeypatch, number, swallowed):
    class Stopped(BaseException):
        pass

    def handle(*_):
        raise Stopped

    def stopped(*_):
        try:
            signal.raise_signal(number)
        except BaseException:
            if not swallowed:
                raise
        return 1.0

    monkeypatch.setattr(Objective, "evaluate", stopped)
    before = signal.signal(number, handle)
    try:
        with pytest.raises(Stopped):
            outcomes(Inline(), objective("moody"), "CC")
        assert signal.getsignal(number) is handle
    finally:
        signal.signal(number, before)


def test_a_handler_that_does_not_raise_changes_nothing(objective, monkeypatch):
    heard = []
    monkeypatch.setattr(Objective, "evaluate", lambda *_: float(signal.raise_signal(signal.SIGTERM) is None))
    before = signal.signal(signal.SIGTERM, lambda *_: heard.append(1))
    try:
        assert outcomes(Inline(), objective("moody"), "CC")[1].values == (1.0,)
    finally:
        signal.signal(signal.SIGTERM, before)
    assert heard == [1]


def test_a_handler_that_the_objective_sets_stays(objective, monkeypatch):
    def mine(*_):
        raise ValueError("too late")

    def limited(*_):
        signal.signal(signal.SIGTERM, mine)
        signal.raise_signal(signal.SIGTERM)

    monkeypatch.setattr(Objective, "evaluate", limited)
    before = signal.getsignal(signal.SIGTERM)
    try:
        assert outcomes(Inline(), objective("moody"), "CC")[1].reason == "ValueError: too late"
        assert signal.getsignal(signal.SIGTERM) is mine
    finally:
        signal.signal(signal.SIGTERM, before)


def test_crashes_and_hangs_cost_their_own_molecule(objective):
    smiles = ("CF", "CI", "CC", "CBr", "CS", "CCC", "CCCC")
    began = time.monotonic()
    found = outcomes(Processes(workers=2, timeout=3.0), objective("moody"), *smiles)
    assert time.monotonic() - began < 30
    reasons = {call: outcome.reason for call, outcome in found.items() if isinstance(outcome, Failed)}
    assert reasons == {
        1: "the worker process died with exit code 3",
        2: "took longer than 3 s",
        4: "ValueError: no bromine here",
        5: "the worker process died with signal 11",
    }
    values = {call: outcome.values for call, outcome in found.items() if isinstance(outcome, Observed)}
    assert values == {3: (2.0,), 6: (3.0,), 7: (4.0,)}


def test_workers_are_light_are_kept_for_all_rounds_and_end_with_the_block(objective):
    with Processes(workers=1)((objective("loaded"), objective("process"))) as evaluate:
        rounds = [dict(evaluate(proposals("C", "CC"))) for _ in range(2)]
        assert multiprocessing.active_children()
    values = [outcome.values for found in rounds for outcome in found.values()]
    assert {loaded for loaded, _ in values} == {0.0}
    assert len({process for _, process in values}) == 1
    assert not multiprocessing.active_children()


def test_workers_that_never_start_are_an_error_not_a_wait_without_end(objective, monkeypatch):
    monkeypatch.setattr(workers, "START_TIMEOUT", 0.0)
    with pytest.raises(WorkerError, match=r"no worker process was ready.*__main__"):
        outcomes(Processes(workers=1), objective("moody"), "C")


UNGUARDED = """
import sys
sys.path[:0] = [{folder!r}, {tests!r}]
from toy import ToySpace
from molvae import Campaign, CampaignRecipe
from molvae.campaign.evaluate.executors import Processes
from molvae.chem.objectives import named

recipe = CampaignRecipe(model="toy", objectives=(named("moods:moody"),), executor=Processes(workers=2))
Campaign.open(recipe, {out!r}, space=ToySpace()).run()
"""


@pytest.mark.slow
def test_a_script_without_a_guard_says_what_it_needs(objective, tmp_path):
    """Its workers would run it again as they start."""
    folders = {"folder": str(tmp_path), "tests": str(Path(__file__).parents[1]), "out": str(tmp_path / "run")}
    (tmp_path / "script.py").write_text(UNGUARDED.format(**folders))
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    command = [sys.executable, str(tmp_path / "script.py")]
    run = subprocess.run(command, capture_output=True, text=True, env=environment, timeout=120, check=False)
    assert run.returncode == 1
    last = run.stderr.rstrip().splitlines()[-1]
    assert "WorkerError: no worker process was ready: one died with exit code 1 while it started" in last
    assert "needs `if __name__ == '__main__':`" in last
