import shutil
import signal
import sqlite3
import subprocess
import sys

import numpy as np
import pytest

from molvae.bo.pareto import hypervolume
from molvae.campaign import campaign as module
from molvae.campaign.campaign import Campaign
from molvae.campaign.propose.inner_loop import MOVES
from molvae.campaign.record.merit import utilities
from molvae.campaign.record.state import Failed, Observed
from molvae.campaign.record.store import FILE, Store
from molvae.chem.molecule import Molecule
from molvae.chem.objectives import Objective
from molvae.data.tables import read_table
from molvae.data.training_index import KnownMolecules
from molvae.errors import CampaignError, FolderBusy, ObjectiveError, RecipeError
from molvae.folders import only_writer

QED = {"score": {"kind": "qed"}}
SAS = {"score": {"kind": "sas"}}


def course(state):
    """Everything that a campaign found, times left out."""
    return [
        (r.proposal, r.proposal.z.tolist(), r.outcome.values if isinstance(r.outcome, Observed) else r.outcome)
        for r in state.records
    ]


@pytest.fixture(scope="module")
def space(open_space):
    return open_space


@pytest.fixture(scope="module")
def whole(recipe, space, tmp_path_factory):
    """A campaign that was never stopped, with every move: its recipe, folder and final state."""
    asked = recipe(budget={"evaluations": 13}, search={"generations": 2, "children": 40})
    out = tmp_path_factory.mktemp("whole")
    return asked, out, Campaign.open(asked, out, space=space).run()


def test_a_campaign_uses_its_budget_on_different_molecules(whole, space):
    _, out, state = whole
    assert (state.used, len(state.proposed), state.round) == (13, 13, 2)
    for record in state.records:
        proposal = record.proposal
        assert Molecule.parse(proposal.smiles).smiles == proposal.smiles
        if proposal.round == 0:
            assert (proposal.move, proposal.parent, proposal.mean) == ("prior", None, None)
        else:
            assert proposal.move in MOVES
            assert space.can_encode(proposal.parent)  # observed, or a candidate of an earlier generation
            assert len(proposal.mean) == len(proposal.sd) == 1
            assert proposal.sd[0] > 0
    status = Campaign.read(out).status()
    assert status["stopped"] == "budget of 13 evaluations used"
    assert (status["used"], status["budget"], status["pending"], status["failed"]) == (13, 13, 0, 0)
    assert status["best"] == {"logP": max(state.values[:, 0])}
    assert len(status["molecules"]) == 10


def test_running_a_finished_campaign_again_changes_nothing(whole, space):
    recipe, out, state = whole
    assert course(Campaign.open(recipe, out, space=space).run()) == course(state)
    assert Campaign.read(out).state() == state


@pytest.mark.parametrize("kept", range(14))
def test_resumed_after_any_outcome_it_ends_the_same(whole, space, tmp_path, kept):
    recipe, out, state = whole
    shutil.copytree(out, tmp_path / "run")
    rounds = max((r.proposal.round for r in state.records[: max(kept, 1)]), default=0)
    with sqlite3.connect(tmp_path / "run" / FILE) as connection:
        connection.execute("DELETE FROM outcomes WHERE call > ?", (kept,))
        connection.execute("DELETE FROM proposals WHERE round > ?", (rounds,))
        connection.execute("DELETE FROM rounds WHERE round > ?", (rounds,))
        connection.execute("DELETE FROM meta WHERE key = 'stopped'")
        if kept == 0:  # before the first step
            for table in ("proposals", "rounds"):
                connection.execute(f"DELETE FROM {table}")
            connection.execute("DELETE FROM meta WHERE key = 'model'")
    resumed = Campaign.open(recipe, tmp_path / "run", space=space).run()
    assert course(resumed) == course(state)


def test_outcomes_may_come_in_any_order_by_ask_and_tell(whole, space, tmp_path):
    recipe, _, state = whole
    campaign = Campaign.open(recipe, tmp_path, space=space)
    while proposals := campaign.ask():
        assert campaign.ask() == proposals
        for proposal in reversed(proposals):
            value = recipe.objectives[0].evaluate(Molecule.parse(proposal.smiles))
            campaign.tell({proposal.call: Observed((value,), 1.0)})
    assert course(campaign.state()) == course(state)


def test_tell_refuses_what_does_not_fit(recipe, space, tmp_path):
    campaign = Campaign.open(recipe(), tmp_path, space=space)
    campaign.ask()
    with pytest.raises(CampaignError, match="call 9 is not pending"):
        campaign.tell({1: Observed((1.0,), 0.0), 9: Observed((1.0,), 0.0)})
    with pytest.raises(CampaignError, match="has 1 finite values"):
        campaign.tell({1: Observed((1.0,), 0.0), 2: Observed((1.0, 2.0), 0.0)})
    assert campaign.state().used == 0
    assert campaign.tell({1: Failed("no assay", 0.0)}).used == 1


def test_ctrl_c_leaves_a_whole_store_and_the_rest_is_done_later(whole, space, tmp_path, monkeypatch):
    recipe, _, state = whole
    campaign = Campaign.open(recipe, tmp_path, space=space)
    evaluate, seen = Objective.evaluate, []

    def stop(objective, molecule):
        seen.append(molecule)
        if len(seen) == 9:
            signal.raise_signal(signal.SIGINT)
        return evaluate(objective, molecule)

    monkeypatch.setattr(Objective, "evaluate", stop)
    with pytest.raises(KeyboardInterrupt):
        campaign.run()
    assert (campaign.state().used, len(campaign.state().pending)) == (8, 2)
    assert course(campaign.run()) == course(state)
    assert len(seen) == 14  # the one that was interrupted is done again, no other


def test_progress_is_told_after_each_evaluation(whole, space, tmp_path):
    recipe, _, state = whole
    events: list[module.Event] = []
    Campaign.open(recipe, tmp_path, space=space).run(events.append)
    assert [event.used for event in events] == list(range(1, 14))
    assert events[-1].best == ("logP", max(state.values[:, 0]))
    assert events[-1].made.round == 2
    assert events[-1].made.decoded >= events[-1].made.valid >= events[-1].made.new >= 3


def test_failures_count_are_kept_and_do_not_stop_it(recipe, space, tmp_path, monkeypatch):
    evaluate = Objective.evaluate

    def picky(objective, molecule):
        if "N" in molecule.smiles:
            raise ValueError("no nitrogen")
        return evaluate(objective, molecule)

    monkeypatch.setattr(Objective, "evaluate", picky)
    state = Campaign.open(recipe(), tmp_path, space=space).run()
    assert state.used == 14
    assert state.failed
    assert {record.outcome.reason for record in state.failed} == {"ValueError: no nitrogen"}
    assert all("N" not in record.proposal.smiles for record in state.observed)


def test_a_start_set_that_fails_whole_is_an_error(recipe, space, tmp_path, monkeypatch):
    def fail(*_):
        raise ValueError("no assay today")

    monkeypatch.setattr(Objective, "evaluate", fail)
    for _ in range(2):
        with pytest.raises(CampaignError, match=r"none of the 6 start molecules .* no assay today"):
            Campaign.open(recipe(), tmp_path, space=space).run()


def test_a_missing_objective_module_is_known_before_the_first_molecule(recipe, space, tmp_path):
    asked = recipe(objectives=[{"score": {"kind": "callable", "call": "no_such_module:f"}}])
    with pytest.raises(ObjectiveError, match="no_such_module"):
        Campaign.open(asked, tmp_path, space=space).run()


def test_a_second_writer_is_told_who_the_first_is(recipe, space, tmp_path):
    campaign = Campaign.open(recipe(), tmp_path, space=space)
    with only_writer(tmp_path, "this campaign"):
        for act in (campaign.run, campaign.ask, lambda: campaign.tell({})):
            with pytest.raises(FolderBusy, match="this campaign is running in process"):
                act()


def test_a_changed_recipe_is_refused_with_the_keys(recipe, space, tmp_path):
    Campaign.open(recipe(), tmp_path, space=space)
    with pytest.raises(RecipeError, match=r"q: 4 → 7") as caught:
        Campaign.open(recipe(q=7, budget={"evaluations": 15}), tmp_path, space=space)
    assert "budget.evaluations: 14 → 15" in str(caught.value)
    assert "seed" not in str(caught.value)


def test_another_model_of_the_same_name_is_refused(recipe, space, toy, tmp_path):
    campaign = Campaign.open(recipe(), tmp_path, space=space)
    state = campaign.tell({proposal.call: Observed((1.0,), 0.0) for proposal in campaign.ask()})
    with pytest.raises(CampaignError, match=r"another model called 'toy' .*weights toy, now other"):
        Campaign.open(recipe(), tmp_path, space=toy.ToySpace("other")).run()
    assert Campaign.read(tmp_path).state() == state


def test_a_folder_without_campaign(tmp_path):
    with pytest.raises(CampaignError, match="there is no campaign in"):
        Campaign.read(tmp_path)


def test_a_run_of_another_version(recipe, space, tmp_path):
    Campaign.open(recipe(), tmp_path, space=space)
    path = tmp_path / "recipe.json"
    path.write_text(path.read_text().replace('"iterations"', '"gears"'))
    with pytest.raises(
        RecipeError, match=r"additive.gears: unknown key(.|\n)*begun by another version.*nothing is lost"
    ):
        Campaign.read(tmp_path)


def test_several_objectives_run_with_a_reference_in_raw_values(recipe, space, tmp_path):
    asked = recipe(objectives=[QED, SAS], reference_point=[0.2, 6.0])
    campaign = Campaign.open(asked, tmp_path, space=space)
    state = campaign.run()
    assert all(len(r.proposal.mean) == len(r.proposal.sd) == 2 for r in state.records if r.proposal.round)
    expected = hypervolume(utilities(state, asked), np.array([0.2, -6.0]))
    assert campaign.status()["best"] == {"hypervolume": expected}


def test_an_exhausted_search_stops_with_a_reason(recipe, space, tmp_path):
    class Few(type(space)):
        def __init__(self):
            super().__init__()
            self.smiles, self.points = self.smiles[:9], self.points[:9]
            self.rows = {smiles: k for k, smiles in enumerate(self.smiles)}

        def sample(self, n, seed):
            return self.smiles[:6]

    campaign = Campaign.open(recipe(), tmp_path, space=Few())
    state = campaign.run()
    assert state.used <= 9
    assert campaign.status()["stopped"].startswith("search exhausted: 80 texts")


def test_target_and_plateau_stop_a_run(recipe, space, tmp_path):
    target = Campaign.open(recipe(budget={"evaluations": 100, "target": 1.0}), tmp_path / "a", space=space)
    assert target.run().used < 100
    assert target.status()["stopped"] == "target 1 reached"
    plateau = Campaign.open(recipe(budget={"evaluations": 100, "plateau": 1}), tmp_path / "b", space=space)
    assert plateau.run().used < 100
    assert plateau.status()["stopped"] == "plateau: nothing better in 1 round"


@pytest.mark.slow
def test_it_beats_random_choice(recipe, space, tmp_path):
    """Over two seeds, 30 calls each: the mean of the best five, and the best."""
    asked = {"objectives": [{"score": {"kind": "qed_sas"}}], "budget": {"evaluations": 30}, "q": 6}
    objective = recipe(**asked).objectives[0]
    everything = np.array([objective.evaluate(Molecule.parse(smiles)) for smiles in space.smiles])
    ours, random = [], []
    for seed in range(2):
        campaign = Campaign.open(recipe(seed=seed, **asked), tmp_path / str(seed), space=space)
        ours.append(np.sort(campaign.run().values[:, 0])[-5:])
        drawn = np.random.default_rng(seed).choice(everything, 30, replace=False)
        random.append(np.sort(drawn)[-5:])
    assert np.mean(ours) > np.mean(random) + 0.2
    assert np.mean([row[-1] for row in ours]) > np.mean([row[-1] for row in random])


@pytest.mark.slow
def test_a_pareto_campaign_beats_random_hypervolume(recipe, space, tmp_path):
    asked = recipe(objectives=[QED, SAS], budget={"evaluations": 30}, q=6)
    table = [[o.utility(o.evaluate(Molecule.parse(s))) for o in asked.objectives] for s in space.smiles]
    everything, reference = np.array(table), np.array([0.2, -6.0])
    state = Campaign.open(asked, tmp_path, space=space).run()
    ours = hypervolume(utilities(state, asked), reference)
    random = [
        hypervolume(everything[np.random.default_rng(seed).choice(len(everything), 30, replace=False)], reference)
        for seed in range(20)
    ]
    assert ours > np.mean(random)
    assert all(len(r.proposal.mean) == 2 for r in state.records if r.proposal.round)


def test_the_table_has_a_row_a_molecule_and_is_the_same_after_reading(whole, space, tmp_path):
    _, out, state = whole
    table = Campaign.read(out, space).table()
    assert table.columns[0] == "SMILES"
    assert table["logP"].tolist() == sorted(state.values[:, 0], reverse=True)
    assert table["in_training"].isna().all()
    assert Campaign.read(out, space).export(tmp_path / "candidates.csv") == len(table) == 13
    assert read_table(tmp_path / "candidates.csv")["SMILES"].tolist() == table["SMILES"].tolist()


def test_novelty_is_told_against_the_recipes_reference_and_only_by_the_campaigns_own_model(
    recipe, space, toy, tmp_path, caplog
):
    (tmp_path / "known.smi").write_text("CCO\n" + space.smiles[0] + "\n")
    asked = recipe(reference=str(tmp_path / "known.smi"), budget={"evaluations": 6})
    space = toy.ToySpace()
    space.training_index = KnownMolecules.of(space.smiles[::2])
    campaign = Campaign.open(asked, tmp_path / "run", space=space)
    campaign.run()
    assert campaign.facts().reference == ["CCO", space.smiles[0]]
    table = campaign.table()
    assert table["in_training"].tolist() == [space.smiles.index(smiles) % 2 == 0 for smiles in table["SMILES"]]
    assert Campaign.read(tmp_path / "run", toy.ToySpace("other")).facts().known is None
    assert Campaign.read(tmp_path / "run").facts().known is None  # no model called toy is installed
    assert len([r for r in caplog.records if "not told apart" in r.getMessage()]) == 2


def test_reading_a_campaign_loads_no_torch(whole):
    code = (
        "import sys; from molvae.campaign.campaign import Campaign; "
        f"print(Campaign.read({str(whole[1])!r}).status()['used'], 'torch' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["13", "False"]


def test_the_store_keeps_how_each_round_was_made(whole):
    rounds = Store.read(whole[1]).rounds()
    assert [made.round for made in rounds] == [0, 1, 2]
    assert rounds[0].new == 6


def test_a_model_that_is_not_fit_is_said_at_the_start_alone(recipe, tmp_path, monkeypatch, caplog):
    """The check is the model's own, `molvae.vae.evaluation.doctor`; here it is about when it is asked."""
    asked = recipe(budget={"evaluations": 30}, model="zinc250k")
    monkeypatch.setattr("molvae.vae.evaluation.doctor.quick_check", lambda vae: ["too few samples are molecules"])
    for _ in range(2):
        Campaign.open(asked, tmp_path / "out").ask()
    said = [record.getMessage() for record in caplog.records if record.levelname == "WARNING"]
    assert said == ["the model zinc250k is not fit for campaigns: too few samples are molecules"]


AREA = {"score": {"kind": "descriptor", "name": "TPSA"}, "direction": "at least", "bound": 40.0}
POLAR = [AREA, {"score": {"kind": "logp"}}]


@pytest.mark.parametrize("acquisition", ["ucb", "logei", "thompson"])
def test_where_the_optimum_breaks_a_constraint_the_best_that_holds_it_is_found(recipe, toy, tmp_path, acquisition):
    """The greasiest molecules of the toy's pool have hardly any polar surface."""
    space = toy.ToySpace()
    logp, _, area = np.array([toy.descriptors(smiles)[:3] for smiles in space.smiles]).T
    polar = np.sort(logp[area >= 40])[::-1]
    assert logp.max() > polar[0] + 1.5
    budget = {"evaluations": 50}
    run = Campaign.open(
        recipe(objectives=POLAR, q=8, budget=budget, acquisition={"kind": acquisition}), tmp_path, space=space
    )
    run.run()
    status, frame = run.status(), run.table()
    assert status["best"]["logP"] >= polar[2]
    assert status["molecules"][0]["logP"] == status["best"]["logP"]
    shown = [one["feasible"] for one in status["molecules"]]
    assert shown == sorted(shown, reverse=True)
    assert status["feasible"] == frame["feasible"].mean()
    assert (frame["feasible"] == (frame["TPSA"] >= 40)).all()


@pytest.mark.parametrize(("method", "calls"), [("bayes", 48), ("cmaes", 48), ("genetic", 100)])
def test_a_start_set_without_a_feasible_molecule_is_left_behind(
    recipe, toy, space, open_space, tmp_path, method, calls
):
    space = open_space if method == "genetic" else space  # its children are hardly ever in the pool
    greasy = sorted(space.smiles, key=lambda smiles: toy.descriptors(smiles)[2])[:8]
    changes = {"start": {"kind": "given", "smiles": greasy}, "q": 8, "budget": {"evaluations": calls}}
    run = Campaign.open(recipe(objectives=POLAR, method={"kind": method}, **changes), tmp_path, space=space)
    run.ask()
    assert (run.status()["feasible"], run.status()["best"]) == (None, None)
    state = run.run()
    assert (state.values[:8, 0] < 40).all()
    assert run.status()["feasible"] > 0
