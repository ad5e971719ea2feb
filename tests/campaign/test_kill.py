"""Real processes, really killed."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from molvae.campaign.campaign import Campaign
from molvae.campaign.record.state import Observed
from molvae.campaign.record.store import FILE, Store
from molvae.errors import FolderBusy

HERE = Path(__file__).parent
SLOWLY = """
import os, pathlib, time

def score(smiles):
    (pathlib.Path(__file__).parent / "workers" / str(os.getpid())).touch()
    time.sleep(0.15)
    return len(smiles) + smiles.count("N") / 2
"""

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]


@pytest.fixture
def start(tmp_path):
    """Start a campaign process in a folder; the folder's objective notes which workers it ran in."""
    (tmp_path / "workers").mkdir()
    (tmp_path / "slowly.py").write_text(SLOWLY)

    def begin(folder: Path, *model: str) -> subprocess.Popen:
        environment = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(HERE.parents[1])}
        command = [sys.executable, str(HERE / "toy_run.py"), str(folder), str(tmp_path), *model]
        return subprocess.Popen(command, env=environment, stderr=subprocess.PIPE, text=True)

    return begin


def wait_for_calls(folder: Path, calls: int) -> None:
    for _ in range(2400):
        if (folder / FILE).is_file() and Store.read(folder).state().used >= calls:
            return
        time.sleep(0.05)
    raise AssertionError(f"{folder} did not come to {calls} calls")


def course(folder: Path) -> list[object]:
    records = Store.read(folder).state().records
    return [(r.proposal, r.proposal.z.tolist(), isinstance(r.outcome, Observed) and r.outcome.values) for r in records]


def alive(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    return True


def test_killed_again_and_again_it_ends_like_one_never_stopped(start, tmp_path):
    undisturbed, killed = tmp_path / "undisturbed", tmp_path / "killed"
    assert start(undisturbed).wait(280) == 0
    (again, *_) = Store.read(undisturbed).state().restarts
    for calls in (3, again - 1, again + 4):
        process = start(killed)
        wait_for_calls(killed, calls)
        process.send_signal(signal.SIGKILL)
        assert process.wait(10) == -signal.SIGKILL
        assert calls <= Store.read(killed).state().used < 40
    assert start(killed).wait(280) == 0
    assert course(killed) == course(undisturbed)
    assert len(course(killed)) == 40
    time.sleep(1.0)
    assert not any(alive(int(path.name)) for path in (tmp_path / "workers").iterdir())


def test_killed_in_the_middle_of_lessons_it_ends_like_one_never_stopped(start, tmp_path, model_folder):
    undisturbed, killed = tmp_path / "undisturbed", tmp_path / "killed"
    assert start(undisturbed, str(model_folder)).wait(280) == 0
    for lesson in ("0001", "0003"):
        process = start(killed, str(model_folder))
        while process.poll() is None and not (killed / "models" / lesson).exists():
            time.sleep(0.002)
        process.send_signal(signal.SIGKILL)
        assert process.wait(10) == -signal.SIGKILL
    assert start(killed, str(model_folder)).wait(280) == 0
    assert course(killed) == course(undisturbed)
    assert [made.weights for made in Store.read(killed).rounds()] == [
        made.weights for made in Store.read(undisturbed).rounds()
    ]
    assert len({made.weights for made in Store.read(killed).rounds()}) == 4


def test_ctrl_c_and_a_second_writer(start, tmp_path):
    folder = tmp_path / "run"
    process = start(folder)
    wait_for_calls(folder, 3)
    with pytest.raises(FolderBusy, match=f"this campaign is running in process {process.pid}"):
        Campaign.read(folder).run()
    process.send_signal(signal.SIGINT)
    _, error = process.communicate(timeout=20)
    assert process.returncode != 0
    assert error.rstrip().endswith("KeyboardInterrupt")
    state = Store.read(folder).state()
    assert 3 <= state.used < 40
    assert not any(alive(int(path.name)) for path in (tmp_path / "workers").iterdir())
    assert Campaign.read(folder).status()["stopped"] is None
