"""A round as a pure function of records, recipe and model."""

import numpy as np
import pytest
import torch

from molvae.bo import scalarization
from molvae.bo.acquisitions import UCB, LogEI
from molvae.bo.pareto import fronts
from molvae.bo.surrogates import AdditiveGP, LatentGP
from molvae.campaign.propose import belief as module
from molvae.campaign.propose.belief import CachedPosterior
from molvae.campaign.propose.inner_loop import MOVES
from molvae.campaign.propose.method import draws
from molvae.campaign.record.merit import merits, utilities
from molvae.campaign.record.state import Failed, Observed, fold
from molvae.campaign.rounds import context_of, next_round, start_set
from molvae.chem import features
from molvae.chem.features import Featurizer
from molvae.chem.molecule import Molecule

LOGP = {"score": {"kind": "logp"}}
DOWN = {"score": {"kind": "sas"}, "direction": "minimize"}
AT_MOST, NEVER = ({"score": {"kind": "sas"}, "direction": "at most", "bound": bound} for bound in (2.5, 0.0))
EVERY_MOVE = {"generations": 2, "children": 40}


def begun(recipe, space):
    """The start set with its values, the third molecule a failure."""
    proposals, *_ = start_set(recipe, space)
    outcomes = {
        p.call: Observed(tuple(o.evaluate(Molecule.parse(p.smiles)) for o in recipe.objectives), 0.0) for p in proposals
    }
    return fold(proposals, outcomes | {3: Failed("no assay", 0.0)})


def same(a, b):
    return a[0] == b[0] and [p.z.tolist() for p in a[0]] == [p.z.tolist() for p in b[0]]


@pytest.fixture
def fitted(monkeypatch):
    """What surrogates were fitted to, and the models."""
    calls = []
    for kind in (AdditiveGP, LatentGP):

        def fit(self, X, Y, layout, seed=0, before=kind.__call__):
            calls.append((X, Y, before(self, X, Y, layout, seed)))
            return calls[-1][-1]

        monkeypatch.setattr(kind, "__call__", fit)
    return calls


def test_the_start_set_is_the_recipes(recipe, space):
    asked = recipe()
    proposals, made, _ = start_set(asked, space)
    assert [p.smiles for p in proposals] == asked.start(space, 14, int(draws(0, 0).integers(2**31)))
    assert [(p.call, p.round, p.move) for p in proposals] == [(k, 0, "prior") for k in range(1, 7)]
    assert (made.round, made.new) == (0, 6)
    assert len(start_set(recipe(start={"kind": "given", "smiles": space.smiles[:3]}), space)[0]) == 3


@pytest.mark.parametrize("surrogate", ["additive", "latent"])
@pytest.mark.parametrize("acquisition", ["ucb", "logei", "thompson"])
@pytest.mark.parametrize(
    "objectives", [[LOGP], [DOWN, LOGP], [AT_MOST, LOGP], [LOGP, NEVER]], ids=["one", "two", "some", "none"]
)
def test_a_round_of_each_kind(recipe, open_space, fitted, monkeypatch, surrogate, acquisition, objectives):
    monkeypatch.setattr("botorch.acquisition.multi_objective.logei._try_load_fused_kernel", lambda: None)
    kinds = {"surrogate": {"kind": surrogate}, "acquisition": {"kind": acquisition}}
    asked = recipe(objectives=objectives, search=EVERY_MOVE, **kinds)
    state = begun(asked, open_space)
    proposals, made, _ = next_round(asked, open_space, state)
    [(X, Y, model)] = fitted

    smiles = [record.proposal.smiles for record in state.observed]

    def described(smiles):
        points, molecules = open_space.encode(smiles), [Molecule.parse(text) for text in smiles]
        return np.concatenate([*Featurizer()(molecules), points], 1)

    expected = described(smiles)
    assert X.shape[1] == 2048 + 25 + open_space.latent
    pairs = list(zip(expected.tolist(), utilities(state, asked).tolist(), strict=True))
    assert sorted(zip(X.tolist(), Y.tolist(), strict=True)) == sorted(pairs)
    merit = dict(zip(map(tuple, utilities(state, asked).tolist()), merits(state, asked), strict=True))
    order = fronts(np.stack([merit[tuple(row)] for row in Y.tolist()])).tolist()
    assert order == sorted(order)

    assert [p.call for p in proposals] == [7, 8, 9, 10]
    assert {p.round for p in proposals} == {made.round} == {1}
    assert not state.proposed & {p.smiles for p in proposals}
    assert len({p.smiles for p in proposals}) == 4
    assert made.decoded >= made.valid >= made.new >= 4
    for p in proposals:
        assert p.z.tolist() == open_space.encode([p.smiles])[0].tolist()
        assert p.move in MOVES
        with torch.no_grad():
            posterior = model.posterior(torch.from_numpy(described([p.smiles]).astype(float)))
        assert p.mean == pytest.approx(posterior.mean[0].tolist(), rel=1e-6)
        assert p.sd == pytest.approx(posterior.variance.sqrt()[0].tolist(), rel=1e-4)
        assert np.isfinite(p.acquisition)


def test_it_is_pure_and_leaves_the_global_generators_alone(recipe, open_space):
    asked = recipe(search=EVERY_MOVE)
    state = begun(asked, open_space)
    before = torch.random.get_rng_state(), np.random.get_state()[1].tolist()
    first, again = (next_round(asked, open_space, state) for _ in range(2))
    assert same(first, again)
    other = recipe(search=EVERY_MOVE, seed=1)
    assert not same(first, next_round(other, open_space, state))
    assert torch.equal(torch.random.get_rng_state(), before[0])
    assert np.random.get_state()[1].tolist() == before[1]


def test_no_more_is_asked_for_than_the_budget_has_left(recipe, space):
    asked = recipe(budget={"evaluations": 8})
    assert [p.call for p in next_round(asked, space, begun(asked, space))[0]] == [7, 8]


def test_where_nothing_new_is_found_nothing_is_proposed(recipe, space):
    class Closed(type(space)):
        def decode(self, z):
            return ["C1CC("] * len(z)

    asked = recipe()
    proposals, made, _ = next_round(asked, Closed(), begun(asked, space))
    assert (proposals, made.decoded, made.valid, made.new) == ((), 80, 0, 0)


def test_the_model_is_asked_once_for_each_molecule(recipe, open_space, monkeypatch):
    """However many generations keep it among the best."""
    asked_for, moments = [], module.moments

    def count(model, X):
        asked_for.extend(map(tuple, X.tolist()))
        return moments(model, X)

    monkeypatch.setattr(module, "moments", count)
    asked = recipe(search={"generations": 4, "children": 30}, surrogate={"kind": "latent"})
    state = begun(asked, open_space)
    _, made, _ = next_round(asked, open_space, state)
    assert len(asked_for) == made.new + len(state.observed)


@pytest.mark.parametrize("acquisition", [UCB(), LogEI()], ids=["ucb", "logei"])
def test_each_generation_has_a_scalarization_of_its_own(recipe, open_space, monkeypatch, acquisition):
    weights, draw = [], scalarization.draw_scalarization

    def keep(seen, exploration, rng):
        weights.append(draw(seen, exploration, rng).exploration)
        return draw(seen, exploration, np.random.default_rng(0))

    monkeypatch.setattr(scalarization, "draw_scalarization", keep)
    table = acquisition.model_dump(mode="json")
    asked = recipe(search={"generations": 3, "children": 20}, acquisition=table)
    next_round(asked, open_space, begun(asked, open_space))
    assert len(set(weights[:3])) == 3


def test_a_given_reference_is_measured_from_in_utilities(recipe, space, monkeypatch):
    seen = []
    draw = UCB.scalarize
    keep = lambda self, given, rng: seen.append(given.reference) or draw(self, given, rng)  # noqa: E731
    monkeypatch.setattr(UCB, "scalarize", keep)
    asked = recipe(objectives=[DOWN, LOGP], reference_point=[6.0, 0.5])
    next_round(asked, space, begun(asked, space))
    assert {tuple(reference.tolist()) for reference in seen} == {(-6.0, 0.5)}


@pytest.mark.parametrize("factor", [0.0, 0.25, 1.0])
def test_out_of_distribution_less_of_the_deviation_counts(recipe, toy, factor):
    """The toy's decoder writes its pool alone, so whatever an edit makes is out of its distribution."""
    space = toy.OpenSpace()
    asked = recipe(search=EVERY_MOVE, method={"kind": "bayes", "ood_sd_factor": factor})
    state = begun(asked, space)
    Y = utilities(state, asked)
    observed, context = [record.proposal.smiles for record in state.observed], context_of(asked, space, state)
    belief = CachedPosterior(asked.method.surrogate, context, space, observed, Y, 0, factor)
    new = [Molecule.parse(text) for text in ("CCCCCCCCBr", "c1ccc2ccccc2c1", space.smiles[-1])]
    mean, sd, shares = belief(new)
    assert shares.tolist() == [factor, factor, 1.0]
    assert sd[:2].min() > 0.5  # what is stored is the model's own
    drawn = asked.method.acquisition.scalarize(belief.seen, np.random.default_rng(0))
    proposals, *_ = next_round(asked, space, state)
    assert proposals
    if factor == 0.0:
        assert drawn(mean, sd * shares[:, None])[0] == pytest.approx(drawn(mean, 0 * sd)[0].item())


def test_what_is_unknown_out_of_distribution_is_hardly_proposed(recipe, toy):
    space = toy.OpenSpace()

    def share(factor):
        asked = recipe(
            search=EVERY_MOVE, q=8, budget={"evaluations": 50},
            method={"kind": "bayes", "ood_sd_factor": factor}, acquisition={"weights": [5.0, 10.0]},
        )  # fmt: skip
        proposals, *_ = next_round(asked, space, begun(asked, space))
        return sum(p.smiles in space.rows for p in proposals) / len(proposals)

    assert share(0.0) > share(1.0)


def test_beyond_what_the_surrogate_takes_the_best_and_some_others_are_seen(recipe, open_space, fitted):
    asked = recipe(surrogate={"kind": "additive", "most": 4})
    state = begun(asked, open_space)
    next_round(asked, open_space, state)
    [(X, Y, _)] = fitted
    assert len(X) == len(Y) == 4 < len(state.observed)
    best = sorted(utilities(state, asked)[:, 0].tolist(), reverse=True)
    assert Y[:2, 0].tolist() == best[:2]
    assert set(Y[2:, 0].tolist()) <= set(best[2:])
    assert len({tuple(row) for row in X.tolist()}) == 4


def test_one_more_descriptor_is_a_descriptor_to_the_surrogate(recipe, open_space, fitted, monkeypatch):
    monkeypatch.setattr(features, "PROPERTIES", (*features.PROPERTIES, "NumHeavyAtoms"))
    asked = recipe(search=EVERY_MOVE)
    next_round(asked, open_space, begun(asked, open_space))
    [(X, _, model)] = fitted
    assert X.shape[1] == 2048 + 26 + open_space.latent
    [hyper] = model.hyper
    assert [len(lengths) for lengths in hyper.lengths] == [26, open_space.latent]


def test_features_are_made_once_in_a_campaign(recipe, open_space, monkeypatch):
    made, make = [], Featurizer._make
    monkeypatch.setattr(Featurizer, "_make", lambda self, one: made.append(one.smiles) or make(self, one))
    asked = recipe(search=EVERY_MOVE)
    state, featurizer = begun(asked, open_space), Featurizer()
    first = next_round(asked, open_space, state, featurizer=featurizer)
    assert len(made) == len(set(made)) > 0
    made.clear()
    assert same(next_round(asked, open_space, state, featurizer=featurizer), first)
    assert made == []
