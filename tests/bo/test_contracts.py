"""What every surrogate and every acquisition function promises: whatever is in a registry is tested here."""

import warnings
from typing import Annotated

import numpy as np
import pytest
import torch

from molvae.bo.acquisitions import ACQUISITIONS, SCREEN, Acquisition, Candidates
from molvae.bo.discrete_posterior import DiscretePosterior, moments
from molvae.bo.layout import FeatureLayout
from molvae.bo.observations import Observations
from molvae.bo.surrogates import SURROGATES, AdditiveGP, Surrogate
from molvae.config import Component, as_table, parse_recipe
from molvae.errors import CampaignError

LAYOUT = FeatureLayout((("counts", 8), ("descriptors", 4), ("latent", 3)))


class Parts(Component):
    surrogate: Annotated[Surrogate, SURROGATES] = SURROGATES.members[0]()
    acquisition: Annotated[Acquisition, ACQUISITIONS] = ACQUISITIONS.members[0]()


def each(registry):
    return pytest.mark.parametrize("kind", registry.members, ids=lambda kind: kind().kind)


@pytest.fixture(scope="module")
def rows():
    """Rows of features, thirty to be observed and ten more, and two smooth utilities of the thirty."""
    rng = np.random.default_rng(0)
    parts = rng.integers(0, 4, (40, 8)), rng.normal(10, 5, (40, 4)), rng.normal(size=(40, 3))
    X = torch.from_numpy(np.concatenate(parts, 1))
    return X, torch.stack([X[:30, 0] + 3 * X[:30, -1], 1e3 * X[:30, -2] - X[:30, 9]], 1)


@pytest.mark.parametrize("m", [1, 2])
@each(SURROGATES)
class TestSurrogate:
    def test_it_fits_and_predicts_whole_rows(self, kind, m, rows):
        X, Y = rows
        model = kind()(X[:30], Y[:, :m], LAYOUT)
        mean, sd = moments(model, X)
        assert model.num_outputs == m
        assert mean.shape == sd.shape == (40, m)
        assert mean.dtype == sd.dtype == torch.float64
        assert mean.isfinite().all()
        assert (sd.isfinite() & (sd >= 0)).all()
        for k in range(m):
            assert torch.stack([mean[:30, k], Y[:, k]]).corrcoef()[0, 1] > 0.5

    def test_its_posterior_is_joint_and_takes_batches(self, kind, m, rows):
        X, Y = rows
        model = kind()(X[:30], Y[:, :m], LAYOUT)
        with torch.no_grad():
            assert model.posterior(X[30:36].reshape(3, 2, -1)).mean.shape == (3, 2, m)
        joint = DiscretePosterior.of(model, torch.cat([X[30:33], X[30:31]]))
        correlation = joint.covariance[:, 0, 3] / joint.covariance[:, 0, 0]
        assert correlation.tolist() == pytest.approx([1.0] * m, abs=1e-3)  # a molecule and its twin

    def test_it_is_pure_and_quiet(self, kind, m, rows):
        X, Y = rows
        before, given = torch.random.get_rng_state(), (X.clone(), Y.clone())
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            first, again = (moments(kind()(X[:30], Y[:, :m], LAYOUT, 3), X) for _ in range(2))
        assert torch.equal(first[0], again[0])
        assert torch.equal(first[1], again[1])
        assert torch.equal(torch.random.get_rng_state(), before)
        assert torch.equal(X, given[0])
        assert torch.equal(Y, given[1])

    @pytest.mark.parametrize("n", [1, 2])
    def test_few_or_equal_observations_will_do(self, kind, m, n, rows):
        X = rows[0]
        mean, sd = moments(kind()(X[:n], torch.full((n, m), 7.0, dtype=torch.float64), LAYOUT), X)
        assert mean[:n].flatten().tolist() == pytest.approx([7.0] * n * m, abs=1e-3)
        assert sd.isfinite().all()


@each(SURROGATES)
def test_a_surrogate_says_how_many_observations_it_takes(kind):
    assert kind().most >= 2
    assert kind(most=7).most == 7


@pytest.mark.parametrize("name", ["surrogate", "acquisition"])
def test_settings_come_back_from_their_table(name):
    registry = {"surrogate": SURROGATES, "acquisition": ACQUISITIONS}[name]
    for kind in registry.members:
        asked = Parts(**{name: kind()})
        assert as_table(asked)[name]["kind"] == kind().kind
        assert parse_recipe(as_table(asked), Parts) == asked
        assert parse_recipe({name: {"kind": kind().kind}}, Parts) == asked


@pytest.fixture(scope="module")
def fragments(layout):
    """A hundred candidates of a Gaussian process on counts, with one objective or two, and perhaps a constraint."""
    rng = np.random.default_rng(0)
    X, C = (torch.from_numpy(rng.integers(0, 4, (n, 8)).astype(np.uint8)) for n in (15, 100))
    Y = torch.stack([X[:, 0] - X[:, 1], X[:, 2] * X[:, 3], 1.0 - X[:, 4]], dim=1).double()
    columns = {"one": [0], "two": [0, 1], "one, constrained": [0, 2], "two, constrained": [0, 1, 2]}

    def make(case, shift=0.0):
        outcomes = Y[:, columns[case]]
        constraints = (outcomes.shape[1] - 1,) if "constrained" in case else ()
        outcomes[:, list(constraints)] -= shift
        model = AdditiveGP(iterations=0)(X, outcomes, layout(counts=8))
        return model, Observations(X, outcomes, constraints=constraints), choices(model, C)

    return make


def choices(model, X):
    return Candidates(X, *moments(model, X), torch.ones(len(X), dtype=torch.float64))


@pytest.mark.parametrize("case", ["one", "two", "one, constrained", "two, constrained"])
@each(ACQUISITIONS)
class TestAcquisition:
    def test_a_batch_has_different_rows_and_finite_values(self, kind, case, fragments):
        choice = kind()(*fragments(case), 7)
        assert len(choice.rows) == len(choice.values) == len(set(choice.rows)) == 7
        assert set(choice.rows) <= set(range(100))
        assert np.isfinite(choice.values).all()

    def test_so_it_has_where_nothing_is_feasible(self, kind, case, fragments):
        model, seen, candidates = fragments(case, shift=10.0)
        assert seen.feasible.any() == ("constrained" not in case)
        choice = kind()(model, seen, candidates, 4)
        assert len(set(choice.rows)) == len(choice.values) == 4
        assert np.isfinite(choice.values).all()

    def test_it_is_pure_and_quiet(self, kind, case, fragments):
        model, seen, candidates = fragments(case)
        before, mean = torch.random.get_rng_state(), candidates.mean.clone()
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            found = [kind()(model, seen, candidates, 5, seed) for seed in (1, 1, 2)]
        assert found[0] == found[1] != found[2]
        assert torch.equal(torch.random.get_rng_state(), before)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(12345)
            assert kind()(model, seen, candidates, 5, 1) == found[0]
        assert torch.equal(candidates.mean, mean)

    @pytest.mark.parametrize("n", [1, 3])
    def test_fewer_candidates_than_q_are_all_taken(self, kind, case, n, fragments):
        model, seen, candidates = fragments(case)
        few = choices(model, candidates.X[:n])
        assert sorted(kind()(model, seen, few, 10).rows) == list(range(n))

    def test_more_than_are_screened_may_be_asked_for(self, kind, case, fragments):
        q = SCREEN + 3
        assert len(set(kind()(*fragments(case), q).rows)) == q

    def test_candidates_that_look_alike_are_candidates(self, kind, case, fragments):
        """Stereoisomers have the same counts."""
        model, seen, candidates = fragments(case)
        choice = kind()(model, seen, choices(model, candidates.X[:4].repeat(5, 1)), 8)
        assert len(set(choice.rows)) == 8
        assert np.isfinite(choice.values).all()

    def test_one_observation_is_enough(self, kind, case, fragments, layout):
        _, seen, candidates = fragments(case)
        one = Observations(seen.X[:1], seen.Y[:1], constraints=seen.constraints)
        model = AdditiveGP(iterations=0)(one.X, one.Y, layout(counts=8))
        assert len(set(kind()(model, one, choices(model, candidates.X), 3).rows)) == 3

    def test_it_scalarizes_for_the_search(self, kind, case, fragments):
        _, seen, candidates = fragments(case)
        first, again, other = (kind().scalarize(seen, np.random.default_rng(seed)) for seed in (1, 1, 2))
        scores = first(candidates.mean, candidates.sd)
        assert scores.shape == (100,)
        assert scores.isfinite().all()
        assert torch.equal(scores, again(candidates.mean, candidates.sd))
        assert not torch.equal(scores, other(candidates.mean, candidates.sd))


@pytest.mark.parametrize("kind", ["latent", "botorch"])
def test_a_failed_fit_says_so(kind, rows, monkeypatch):
    from botorch.exceptions import ModelFittingError

    def fail(*_, **__):
        raise ModelFittingError("All attempts to fit the model have failed.")

    monkeypatch.setattr("botorch.fit.fit_gpytorch_mll", fail)
    with pytest.raises(CampaignError, match="could not be fitted to 30 observations"):
        SURROGATES.find(kind)()(rows[0][:30], rows[1], LAYOUT)
