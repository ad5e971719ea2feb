"""Lessons: due when they should be, on the best there were, and the same however a campaign was stopped."""

import shutil
import sqlite3
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest

from molvae.campaign.campaign import Campaign
from molvae.campaign.propose.initial import FromTraining
from molvae.campaign.propose.restarts import Restarts
from molvae.campaign.propose.retrain import Retraining
from molvae.campaign.recipe import Budget
from molvae.campaign.record.state import RESTART, Failed, Observed, Proposal, fold
from molvae.campaign.record.store import FILE, Store
from molvae.campaign.space import LatentSpace
from molvae.errors import CampaignError, RecipeError
from molvae.folders import MANIFEST
from molvae.vae.folder import load_model, model_facts

RETRAIN = {"every": 4, "best": 5, "sampled": 30, "replay": 10, "learning_rate": 1e-2}


@pytest.fixture(scope="module")
def retrained(recipe, space, model_folder):
    """A campaign of two retrainings; the second is due when three calls are left."""
    start = {"kind": "given", "smiles": space.smiles[:60:10]}
    search = {"generations": 2, "children": 30}
    return recipe(model=str(model_folder), retrain=RETRAIN, start=start, search=search, budget={"evaluations": 17})


@pytest.fixture(scope="module")
def whole(retrained, tmp_path_factory):
    """It, never stopped: folder and final state."""
    out = tmp_path_factory.mktemp("whole")
    return out, Campaign.open(retrained, out).run()


def course(state):
    return [(r.proposal, r.proposal.z.tolist(), r.outcome.values) for r in state.records]


def observed(*values):
    """A state of a start set of two, then rounds of three; None for a failure."""
    z = np.zeros(2, dtype=np.float32)
    proposals = [Proposal(k + 1, (k + 1) // 3, "C" * (k + 1), z) for k in range(len(values))]
    outcomes = {k: Failed("no", 0.0) if v is None else Observed((v,), 0.0) for k, v in enumerate(values, 1)}
    return fold(proposals, outcomes)


def test_retrainings_are_due_by_proposals_after_the_start_set():
    states = [observed(*range(n)) for n in (2, 5, 8, 11)]
    assert [Retraining(every=3).latest(state) for state in states] == [0, 1, 2, 3]
    assert [Retraining(every=4).latest(state) for state in states] == [0, 0, 1, 2]
    assert [Retraining().latest(state) for state in states] == [0, 0, 0, 0]


def best(chosen, state, number):
    return chosen._best(SimpleNamespace(state=state, merits=state.values), number)


def test_a_retraining_is_about_the_best_there_were_when_it_was_due():
    state = observed(1.0, 5.0, None, 3.0, 4.0, 9.0, 8.0, 7.0)
    chosen = Retraining(every=4, best=3)
    assert best(chosen, state, 1) == ["C" * 6, "C" * 2, "C" * 5]
    earlier = observed(1.0, 5.0, None, 3.0, 4.0, 9.0)
    assert best(chosen, earlier, 1) == best(chosen, state, 1)


def test_a_search_that_began_again_is_retrained_only_on_what_it_found_since():
    """A start set of two, rounds of three, the third of which is a restart."""
    before = observed(1.0, 5.0, 2.0, 3.0, 4.0, 9.0, 8.0, 7.0, 6.0, 5.0, 4.0)
    moved = [replace(r.proposal, move=RESTART) if 6 <= r.proposal.call < 9 else r.proposal for r in before.records]
    states = [fold(moved[:n], {k: before.records[k - 1].outcome for k in range(1, n + 1)}) for n in (5, 8, 11)]
    assert [Retraining(every=3).latest(state) for state in states] == [1, 0, 2]
    assert [Retraining(every=4).latest(state) for state in states] == [0, 0, 1]
    state = states[-1]
    assert best(Retraining(every=3, best=9), state, 2) == ["C" * k for k in (6, 7, 8, 9, 10, 11)]
    assert best(Retraining(every=4, best=9), state, 1) == ["C" * k for k in (6, 7, 8, 9)]


@pytest.mark.slow
def test_it_begins_again_with_the_recipes_model_and_learns_anew(retrained, space, tmp_path, model_folder):
    (tmp_path / "train.smi").write_text("\n".join(space.smiles[::5]) + "\n")
    changes = {
        "start": FromTraining(path=str(tmp_path), n=6),
        "method": retrained.method.model_copy(update={"restarts": Restarts(patience=6, gain=0.99)}),
        "budget": Budget(evaluations=26),
    }
    asked = retrained.model_copy(update=changes)
    state = Campaign.open(asked, tmp_path / "run").run()
    began = {record.proposal.round for record in state.records if record.proposal.start}
    assert len(began) == 2
    base = load_model(model_folder).fingerprint
    weights = [made.weights for made in Store.read(tmp_path / "run").rounds()]
    assert [k for k, one in enumerate(weights) if one == base] == sorted({*began, *(k + 1 for k in began)})
    assert len(set(weights)) == 3


def test_it_reads_the_better_more_often_and_what_the_model_writes(space):
    chosen = Retraining(every=1, sampled=600, replay=40)
    texts = chosen._texts(space, space.smiles[:3], seed=1)
    often = [texts[:600].count(smiles) for smiles in space.smiles[:3]]
    assert often == pytest.approx([600 * 6 / 11, 600 * 3 / 11, 600 * 2 / 11], abs=50)
    assert sum(often) == 600
    assert texts[600:] == [text for text in space.sample(40, 1) if space.can_encode(text)]
    assert chosen._texts(space, space.smiles[:3], seed=1) == texts != chosen._texts(space, space.smiles[:3], seed=2)


def test_the_store_knows_which_weights_proposed_what(whole, retrained, model_folder):
    out, state = whole
    base, first, second = (load_model(folder) for folder in (model_folder, out / "models/0001", out / "models/0002"))
    assert len({base.fingerprint, first.fingerprint, second.fingerprint}) == 3
    assert [made.weights for made in Store.read(out).rounds()] == [
        base.fingerprint,
        base.fingerprint,
        first.fingerprint,
        second.fingerprint,
    ]
    by_round = [base, base, first, second]
    for record in state.records:
        proposal, vae = record.proposal, by_round[record.proposal.round]
        assert proposal.z == pytest.approx(LatentSpace(vae).encode([proposal.smiles])[0], abs=1e-6)
        if vae is not base:
            assert proposal.z != pytest.approx(LatentSpace(base).encode([proposal.smiles])[0], abs=1e-3)
    table = Campaign.read(out).table().sort_values("call")
    assert table["model"].tolist() == [
        f"{model_folder}@{by_round[r.proposal.round].fingerprint}" for r in state.records
    ]
    told = model_facts(out / "models/0001")
    assert {"recipe", "commit", "hardware", "seconds", "step"} <= told.keys()  # what a training from it will tell
    assert told["start"]["weights"] == base.fingerprint


@pytest.mark.parametrize(("kept", "models"), [(10, "lost"), (12, "there"), (13, "half"), (14, "lost"), (16, "half")])
def test_resumed_anywhere_it_ends_the_same(whole, retrained, tmp_path, kept, models, rewind):
    out, state = whole
    rewind(out, tmp_path / "run", state, kept)
    if models == "lost":
        shutil.rmtree(tmp_path / "run/models")
    if models == "half":
        for manifest in (tmp_path / "run/models").glob(f"*/{MANIFEST}"):
            manifest.unlink()
    assert course(Campaign.open(retrained, tmp_path / "run").run()) == course(state)


def test_other_weights_than_those_that_proposed_are_refused(whole, retrained, tmp_path):
    out, _ = whole
    shutil.copytree(out, tmp_path / "run")
    with sqlite3.connect(tmp_path / "run" / FILE) as connection:
        connection.execute("DELETE FROM outcomes WHERE call > 14")
        connection.execute("DELETE FROM proposals WHERE round > 2")
        connection.execute("DELETE FROM rounds WHERE round > 2")
    shutil.rmtree(tmp_path / "run/models/0002")
    shutil.copytree(out / "models/0001", tmp_path / "run/models/0002")
    with pytest.raises(CampaignError, match=r"went on with other weights after retraining 2 .* bring them back"):
        Campaign.open(retrained, tmp_path / "run").run()


def test_another_campaign_in_the_same_place_has_retrainings_of_its_own(whole, retrained, tmp_path):
    short = retrained.model_copy(update={"budget": Budget(evaluations=11)})
    for seed in (1, 2):
        shutil.rmtree(tmp_path / "run", ignore_errors=True)
        Campaign.open(short.model_copy(update={"seed": seed}), tmp_path / "run").run()
        kept = load_model(tmp_path / "run/models/0001").fingerprint
        assert Store.read(tmp_path / "run").rounds()[-1].weights == kept


def test_a_space_without_weights_cannot_learn(recipe, space, tmp_path):
    with pytest.raises(RecipeError, match=r"method\.retrain\.every is for models that can be trained"):
        Campaign.open(recipe(retrain={"every": 4}), tmp_path, space=space).run()
