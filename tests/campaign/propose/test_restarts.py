"""When a search begins again: the rule by hand, a round that begins again, whole campaigns of the toy space."""

import json
import shutil

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from molvae.bo.surrogates import AdditiveGP
from molvae.campaign.campaign import Campaign
from molvae.campaign.propose.restarts import Restarts
from molvae.campaign.recipe import CampaignRecipe
from molvae.campaign.record.merit import merits
from molvae.campaign.record.state import RESTART, Failed, Observed, Proposal, State, fold
from molvae.campaign.rounds import as_proposals, context_of, next_round, start_set
from molvae.chem.molecule import Molecule
from molvae.config import parse_recipe

LOGP = {"score": {"kind": "logp"}}
DOWN = {"score": {"kind": "sas"}, "direction": "minimize"}
AT_MOST = {"score": {"kind": "sas"}, "direction": "at most", "bound": 3.0}
Z = np.zeros(2, dtype=np.float32)


def course(*values, again=()):
    """A start set of two, then rounds of two, those at the calls ``again`` restarts; None fails."""
    rows = [value if value is None or isinstance(value, tuple) else (value,) for value in values]
    moves = {0: "prior"} | {(call - 1) // 2: RESTART for call in again}
    numbers = [k // 2 for k in range(len(rows))]
    proposals = [Proposal(k + 1, n, "C" * (k + 1), Z, None, moves.get(n, "noise")) for k, n in enumerate(numbers)]
    outcomes = [Failed("no", 0.0) if row is None else Observed(tuple(map(float, row)), 0.0) for row in rows]
    return fold(proposals, dict(enumerate(outcomes, 1)))


def restart(asked, space, state):
    """A round that begins again, whether it is due or not."""
    context = context_of(asked, space, state)
    return as_proposals(state, context.round, space, asked.method.begun_again(context), 0.0)


def due_in(state, asked):
    left = asked.budget.evaluations - len(state.records)
    return asked.method.restarts.due(state.episode, merits(state.episode, asked), left)


def due(state, *objectives, patience=4, gain=0.1, left=100):
    asked = parse_recipe({"objectives": list(objectives or (LOGP,))}, CampaignRecipe)
    return Restarts(patience=patience, gain=gain).due(state.episode, merits(state.episode, asked), left)


class TestRule:
    @pytest.mark.parametrize(
        ("values", "expected"),
        [
            ((0, 2, 5, 4, 0, 0), False),
            ((0, 2, 11, 11, 11, 12, 12, 0), True),  # the two best, as there are two start molecules: 1, 11, 12
            ((0, 2, 11, 11, 0, 12, 0, 13), False),  # 1, 11, 12.5
            ((0, 2, 11, 11, 0, 12, 0, 13, 0, 0, 0, 0), True),
            ((3, 3, 3, 3, 3), False),  # shorter than a start set and the patience
            ((3, 3, 3, 3, 3, 3), True),  # nothing gained at all
            ((3, None, 4, None, None, None, None), True),  # failures are calls, too; one start molecule, so the best
            ((3, None, 4, None, None, 5, None), False),
        ],
    )
    def test_by_hand(self, values, expected):
        assert due(course(*values)) == expected

    @pytest.mark.parametrize(("ones", "expected"), [((13, 14), True), ((13, 15, 16), False), ((16,), False)])
    def test_the_ten_best_count_where_there_were_as_many_to_begin_with(self, ones, expected):
        proposals = [Proposal(call, int(call > 12), "C" * call, Z) for call in range(1, 17)]
        outcomes = {call: Observed((float(call in ones),), 0.0) for call in range(1, 17)}
        assert due(fold(proposals, outcomes), patience=2, gain=0.5) == expected

    def test_each_episode_is_judged_by_its_own_records(self):
        first = (0, 2, 11, 11, 11, 12)
        assert not due(course(*first, 0, 0, 5, 0, 0, again=(7,)))
        assert not due(course(*first, 0, 0, 1, 1, 2, 2, again=(7,)))
        assert due(course(*first, 0, 0, 0, 0, 0, 0, again=(7,)))
        assert due(course(*first, 5, 5, 9, 9, 9, 9, 9, 9, again=(7,)))

    @pytest.mark.parametrize(("left", "expected"), [(5, False), (6, True)])
    def test_what_is_left_has_to_be_enough_for_an_episode(self, left, expected):
        assert due(course(*[3] * 9), left=left) == expected

    def test_no_patience_no_restarts(self):
        assert not due(course(*[3] * 90), patience=0)

    @given(
        st.lists(st.integers(-60, 60) | st.none(), min_size=6, max_size=20),
        st.integers(-9, 9),
        st.integers(-500, 500),
    )
    def test_neither_unit_nor_zero_of_an_objective_matters(self, values, power, shift):
        values = [0, *values]
        changed = [None if value is None else 2.0**power * (value + shift) for value in values]
        assert due(course(*values)) == due(course(*changed))

    @pytest.mark.parametrize(("x", "expected"), [(10, True), (21, False), (22, False)])
    def test_several_objectives_by_hypervolume(self, x, expected):
        """Above (−1, −11), a tenth of the range below the start molecules: 121, then 11 (x + 1)."""
        assert due(course((0, 10), (10, 0), (10, 0), (9, 0), (x, 0), (0, 0)), LOGP, DOWN) == expected

    @pytest.mark.parametrize(("x", "expected"), [(22, True), (23, False)])
    def test_of_what_was_gained_a_share(self, x, expected):
        """121, 242, then 253 or 264."""
        rows = [(0, 10), (10, 0), (21, 0), (0, 0), (x, 0), (0, 0), (0, 0), (0, 0)]
        assert due(course(*rows), LOGP, DOWN) == expected
        assert due(course(*[(1000 * a - 7, b) for a, b in rows]), LOGP, DOWN) == expected

    @pytest.mark.parametrize(
        ("values", "expected"),
        [
            (((1, 9), (1, 8), (1, 7), (1, 6), (1, 5), (1, 4)), False),  # as long as none is feasible, less violation
            (((1, 9), (1, 8), (5, 9), (6, 9), (7, 9), (8, 9)), True),  # and nothing else
            (((1, 9), (1, 2), (1, 9), (1, 9), (1, 9), (2, 2)), False),  # a second feasible one, and better
            (((1, 2), (1, 2), (8, 9), (9, 9), (9, 9), (9, 9)), True),
            (((1, 2), (1, 2), (8, 9), (9, 9), (2, 2), (2, 2)), False),
        ],
    )
    def test_constraints(self, values, expected):
        assert due(course(*values), LOGP, AT_MOST) == expected
        assert (
            due(course(*[(x, x, bound) for x, bound in values]), LOGP, {"score": {"kind": "qed"}}, AT_MOST) == expected
        )


class TestEpisode:
    def test_without_restarts_it_is_all_there_is(self):
        state = course(1, 2, 3, 4)
        assert state.episode is state
        assert state.restarts == ()

    def test_it_begins_at_the_latest_restart(self):
        state = course(1, 2, 3, 4, 5, 6, 7, 8, 9, again=(3, 7))
        assert [record.proposal.call for record in state.episode.records] == [7, 8, 9]
        assert state.restarts == (3, 7)
        assert [record.proposal.call for record in state.records if record.proposal.start] == [1, 2, 3, 4, 7, 8]

    def test_one_whose_molecules_all_failed_does_not_count(self):
        assert course(1, 2, 3, 4, None, None, 7, 8, again=(5,)).episode.records[0].proposal.call == 1
        assert course(1, 2, 3, 4, None, 6, 7, 8, again=(5,)).episode.records[0].proposal.call == 5


def told(recipe, proposals, state=None):
    """The state with these proposals, and their values."""
    records = [*(record.proposal for record in (state.records if state else ())), *proposals]
    [logp] = recipe.objectives
    return fold(records, {p.call: Observed((logp.evaluate(Molecule.parse(p.smiles)),), 0.0) for p in records})


class TestRound:
    def test_it_has_new_molecules_as_many_as_the_start_set(self, recipe, open_space):
        asked = recipe(budget={"evaluations": 99})
        state = told(asked, start_set(asked, open_space)[0])
        proposals, made, _ = restart(asked, open_space, state)
        assert [(p.call, p.round, p.move, p.parent, p.mean) for p in proposals] == [
            (call, 1, RESTART, None, None) for call in range(7, 13)
        ]
        assert len(state.proposed | {p.smiles for p in proposals}) == 12
        assert [p.z.tolist() for p in proposals] == [open_space.encode([p.smiles])[0].tolist() for p in proposals]
        assert (made.round, made.decoded, made.valid, made.new) == (1, 6, 6, 6)
        again, later = (
            restart(asked, open_space, state)[0],
            restart(asked, open_space, told(asked, proposals, state))[0],
        )
        assert again == proposals
        assert not {p.smiles for p in later} & {p.smiles for p in proposals}

    def test_the_budget_bounds_it(self, recipe, open_space):
        asked = recipe(budget={"evaluations": 8})
        assert len(restart(asked, open_space, told(asked, start_set(asked, open_space)[0]))[0]) == 2

    def test_a_file_is_read_on_and_what_it_lacks_the_prior_gives(self, recipe, open_space, tmp_path):
        (tmp_path / "start.smi").write_text("\n".join(open_space.smiles[:10]) + "\n")
        start = {"kind": "file", "path": str(tmp_path / "start.smi"), "n": 6}
        asked = recipe(start=start, budget={"evaluations": 99})
        first, *_ = start_set(asked, open_space)
        assert [p.smiles for p in first] == open_space.smiles[:6]
        second, *_ = restart(asked, open_space, told(asked, first))
        assert [p.smiles for p in second[:4]] == open_space.smiles[6:10]
        assert len({p.smiles for p in second} - set(open_space.smiles[:10])) == 2

    def test_given_molecules_are_made_up_for_by_the_prior(self, recipe, open_space):
        asked = recipe(start={"kind": "given", "smiles": open_space.smiles[:4]}, budget={"evaluations": 99})
        proposals, *_ = restart(asked, open_space, told(asked, start_set(asked, open_space)[0]))
        assert len({p.smiles for p in proposals} - set(open_space.smiles[:4])) == 4

    def test_of_the_training_set_others_are_drawn(self, recipe, open_space, tmp_path):
        (tmp_path / "train.smi").write_text("\n".join(open_space.smiles[:12]) + "\n")
        asked = recipe(start={"kind": "training", "path": str(tmp_path), "n": 6}, budget={"evaluations": 99})
        state = told(asked, start_set(asked, open_space)[0])
        assert {p.smiles for p in restart(asked, open_space, state)[0]} == set(open_space.smiles[:12]) - state.proposed

    def test_the_next_round_knows_what_was_observed_since_and_proposes_nothing_known(
        self, recipe, open_space, monkeypatch
    ):
        seen, fit = [], AdditiveGP.__call__
        monkeypatch.setattr(AdditiveGP, "__call__", lambda self, X, Y, *rest: seen.append(Y) or fit(self, X, Y, *rest))
        asked = recipe(budget={"evaluations": 99}, search={"generations": 1, "children": 60})
        state = told(asked, start_set(asked, open_space)[0])
        state = told(asked, next_round(asked, open_space, state)[0], state)
        state = told(asked, restart(asked, open_space, state)[0], state)
        proposals, made, _ = next_round(asked, open_space, state)
        assert sorted(seen[-1][:, 0].tolist()) == sorted(state.values[-6:, 0].tolist())
        assert (made.round, [p.call for p in proposals]) == (3, [17, 18, 19, 20])
        assert not {p.smiles for p in proposals} & state.proposed
        life = {record.proposal.smiles for record in state.records[-6:]}
        assert {p.parent for p in proposals} <= life


OFTEN = {
    "restarts": {"patience": 8, "gain": 0.99},
    "budget": {"evaluations": 50},
    "search": {"generations": 2, "children": 30},
}


@pytest.fixture(scope="module")
def whole(recipe, open_space, tmp_path_factory):
    """A campaign that began again, never stopped: its recipe, folder and final state."""
    asked, out = recipe(**OFTEN), tmp_path_factory.mktemp("whole")
    return asked, out, Campaign.open(asked, out, space=open_space).run()


def course_of(state):
    return [(r.proposal, r.proposal.z.tolist(), r.outcome.values) for r in state.records]


def test_a_campaign_begins_again_as_long_as_there_is_budget_for_it(whole):
    _, out, state = whole
    assert len(state.restarts) > 1
    assert (state.used, len(state.proposed)) == (50, 50)
    lives = np.diff([1, *state.restarts])
    assert min(lives) >= 6 + 8
    assert state.restarts[-1] <= 50 - 13
    told = Campaign.read(out).status()
    assert told["restarts"] == list(state.restarts)
    assert sum(record.proposal.move == RESTART for record in state.records) == 6 * len(state.restarts)


def test_until_it_begins_again_it_is_the_campaign_without_restarts(whole, recipe, open_space, tmp_path):
    _, _, state = whole
    first = state.restarts[0]
    never = recipe(**OFTEN | {"restarts": {"patience": 0}, "budget": {"evaluations": first + 3}})
    plain = Campaign.open(never, tmp_path, space=open_space).run()
    assert course_of(plain)[: first - 1] == course_of(state)[: first - 1]
    assert plain.restarts == ()


@pytest.mark.parametrize("after", [-1, 2, 5])
def test_resumed_anywhere_around_a_restart_it_ends_the_same(whole, open_space, tmp_path, after, rewind):
    asked, out, state = whole
    kept = state.restarts[-1] + after
    rewind(out, tmp_path / "run", state, kept)
    assert course_of(Campaign.open(asked, tmp_path / "run", space=open_space).run()) == course_of(state)


def test_where_there_is_nothing_new_to_begin_with_it_goes_on(recipe, open_space, tmp_path, monkeypatch):
    monkeypatch.setattr(type(open_space), "sample", lambda self, n, seed: self.smiles[:6])
    asked = recipe(**OFTEN | {"budget": {"evaluations": 32}})
    state = Campaign.open(asked, tmp_path, space=open_space).run()
    assert any(due_in(State(state.records[:calls]), asked) for calls in (14, 18))
    assert (state.used, state.restarts) == (32, ())


def test_a_plateau_ends_it_all_the_same(recipe, open_space, tmp_path):
    asked = recipe(**OFTEN | {"budget": {"evaluations": 50, "plateau": 3}})
    campaign = Campaign.open(asked, tmp_path, space=open_space)
    assert campaign.run().used < 50
    assert campaign.status()["stopped"] == "plateau: nothing better in 3 rounds"


def test_a_campaign_of_a_time_without_restarts_can_be_read(whole, tmp_path):
    _, out, state = whole
    shutil.copytree(out, tmp_path / "run")
    path = tmp_path / "run/recipe.json"
    table = json.loads(path.read_text())
    del table["method"]["restarts"]
    path.write_text(json.dumps(table))
    assert Campaign.read(tmp_path / "run").status()["used"] == state.used
