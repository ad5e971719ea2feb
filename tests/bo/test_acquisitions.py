import math

import numpy as np
import pytest
import torch
from botorch.acquisition import LogExpectedImprovement
from botorch.utils.multi_objective.hypervolume import infer_reference_point

from molvae.bo.acquisitions import SCREEN, UCB, Candidates, LogEI, Thompson
from molvae.bo.discrete_posterior import DiscretePosterior, moments
from molvae.bo.observations import Observations
from molvae.bo.scalarization import Scalarization, log_feasibility
from molvae.bo.surrogates import AdditiveGP, LatentGP
from molvae.config import parse_recipe
from molvae.errors import RecipeError

ALWAYS_0 = (1e-12, 1e-12)
ALWAYS_1 = (1.0, 1.0)
ALWAYS_1000 = (1e3, 1e3)
STANDARD = torch.tensor([[-1.0], [1.0]], dtype=torch.float64)


def column(*values):
    return torch.tensor(values, dtype=torch.float64)[:, None]


def normal(mean, covariance):
    """A model whose points go by their numbers, and all of them as candidates."""
    model = DiscretePosterior(torch.tensor(mean, dtype=torch.float64), torch.tensor(covariance, dtype=torch.float64))
    return model, Candidates(model.rows, model.mean, model.sd, torch.ones(len(model.mean), dtype=torch.float64))


def independent(mean, sd):
    """One outcome."""
    return normal([[value] for value in mean], [np.diag(np.square(sd)).tolist()])


def choices(model, X):
    return Candidates(X, *moments(model, X), torch.ones(len(X), dtype=torch.float64))


@pytest.fixture(scope="module")
def line(layout):
    """f(x) = −x², seen at seven points of a line."""
    X = column(-3.0, -2.0, -1.5, 1.5, 2.0, 2.5, 3.0)
    return LatentGP()(X, -(X**2), layout(latent=1)), Observations(X, -(X**2))


@pytest.fixture(scope="module")
def compromise(layout):
    """Two objectives that pull x to −1 and to 1."""
    X = column(-3.0, -2.0, 0.0, 2.0, 3.0)
    Y = torch.cat([-((X + 1) ** 2), -((X - 1) ** 2)], dim=1)
    return LatentGP()(X, Y, layout(latent=1)), Observations(X, Y)


@pytest.fixture(scope="module")
def fragments(layout):
    """A hundred candidates of a Gaussian process on counts, with one objective or two."""
    rng = np.random.default_rng(0)
    X, C = (torch.from_numpy(rng.integers(0, 4, (n, 8)).astype(np.uint8)) for n in (15, 100))
    Y = torch.stack([X[:, 0] - X[:, 1], X[:, 2] * X[:, 3]], dim=1).double()

    def make(m):
        model = AdditiveGP(iterations=0)(X, Y[:, :m], layout(counts=8))
        return model, Observations(X, Y[:, :m]), choices(model, C)

    return make


class TestScalarization:
    def test_by_hand(self):
        two = {"reference": torch.zeros(2), "spread": torch.tensor([1.0, 2.0]), "weights": torch.tensor([0.6, 0.8])}
        mean, sd = torch.tensor([[3.0, 8.0], [3.0, 4.0], [-3.0, 8.0]]), torch.tensor([[0.0, 1.0], [0.3, 2.0], [0, 0]])
        assert Scalarization(0.0, **two)(mean, sd).tolist() == pytest.approx([5.0, 2.5, -5.0])
        assert Scalarization(2.0, **two)(mean, sd).tolist() == pytest.approx([5.0, 5.0, -5.0])

    def test_of_one_objective_the_order_is_that_of_the_upper_confidence_bound(self):
        mean, sd = torch.randn(2, 30, 1, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
        seen = Observations(column(0.0, 1.0, 2.0), column(5.0, 9.0, -40.0))
        for seed in range(5):
            drawn = UCB().scalarize(seen, np.random.default_rng(seed))
            expected = (mean + drawn.exploration * sd.abs())[:, 0].argsort()
            assert drawn(mean, sd.abs()).argsort().tolist() == expected.tolist()

    def test_weights_are_drawn_log_uniformly(self):
        seen, rng = Observations(column(0.0, 1.0), column(0.0, 1.0)), np.random.default_rng(0)
        weights = np.log10([UCB(weights=(0.1, 10.0)).scalarize(seen, rng).exploration for _ in range(2000)])
        assert weights.min() > -1
        assert weights.max() < 1
        assert np.histogram(weights, 4, (-1, 1))[0] / 2000 == pytest.approx([0.25] * 4, abs=0.04)

    def test_objectives_are_measured_from_the_reference_in_their_spread(self):
        Y = torch.tensor([[1.0, 30.0], [2.0, 20.0], [0.0, 0.0]], dtype=torch.float64)
        drawn = UCB().scalarize(Observations(Y, Y), np.random.default_rng(0))
        assert drawn.reference.tolist() == infer_reference_point(Y[:2]).tolist()
        assert drawn.spread.tolist() == Y.std(0).tolist()
        point = torch.tensor([7.0, 8.0], dtype=torch.float64)
        assert UCB().scalarize(Observations(Y, Y, point), np.random.default_rng(0)).reference is point
        one = UCB().scalarize(Observations(Y, Y[:, :1]), np.random.default_rng(0))
        assert (one.reference.tolist(), one.weights.tolist()) == ([0.0], [1.0])

    @pytest.mark.parametrize("Y", [column(3.0), column(3.0, 3.0), column(*[0.1] * 7)])
    def test_equal_outcomes_have_a_spread_of_1(self, Y):
        assert UCB().scalarize(Observations(Y, Y), np.random.default_rng(0)).spread.tolist() == [1.0]

    @pytest.mark.parametrize("m", [2, 3])
    def test_over_many_draws_the_mth_power_is_the_hypervolume(self, m):
        """Of points above the reference: the theorem that weights are drawn for, times a constant of the sphere."""
        Y = torch.rand(6, m, dtype=torch.float64, generator=torch.Generator().manual_seed(m)) + 0.3
        seen, rng = Observations(Y, Y, torch.zeros(m, dtype=torch.float64)), np.random.default_rng(0)
        draws = [UCB(weights=ALWAYS_0).scalarize(seen, rng) for _ in range(5_000)]
        assert all(drawn.weights.norm().item() == pytest.approx(1) for drawn in draws[:10])
        scores = torch.stack([drawn(Y, Y) for drawn in draws])
        constant = math.pi ** (m / 2) / 2**m / math.gamma(m / 2 + 1)
        volumes = (Y / draws[0].spread).prod(1)
        assert ((scores**m).mean(0) * constant).tolist() == pytest.approx(volumes.tolist(), rel=0.06)


class TestUCB:
    seen = Observations(STANDARD, STANDARD)

    def test_without_exploration_the_highest_mean_comes_first(self):
        model, candidates = independent([1.0, 3.0, 2.0, -1.0], [9.0, 0.1, 5.0, 20.0])
        assert UCB(weights=ALWAYS_0)(model, self.seen, candidates, 3).rows == (1, 2, 0)

    def test_with_much_of_it_the_most_doubtful_does(self):
        model, candidates = independent([1.0, 3.0, 2.0, -1.0], [9.0, 0.1, 5.0, 20.0])
        assert UCB(weights=ALWAYS_1000)(model, self.seen, candidates, 3).rows == (3, 0, 2)

    def test_values_by_hand(self):
        """Upper confidence bounds above the least that was seen (−1), in units of the spread (√2)."""
        model, candidates = independent([1.0, 3.0, 2.0], [4.0, 1.0, 2.5])
        choice = UCB(weights=ALWAYS_1)(model, self.seen, candidates, 3)
        assert choice.rows == (0, 2, 1)
        assert choice.values == pytest.approx([6 / math.sqrt(2), 5.5 / math.sqrt(2), 5 / math.sqrt(2)])

    def test_a_twin_of_what_was_chosen_has_no_more_doubt(self):
        twins = [[1.0, 1.0, 0.0], [1.0, 1.0, 0.0], [0.0, 0.0, 1.0]]
        model, candidates = normal([[1.0], [1.0], [0.5]], [twins])
        choice = UCB(weights=ALWAYS_1)(model, self.seen, candidates, 3)
        assert choice.rows == (0, 2, 1)
        assert choice.values == pytest.approx([3 / math.sqrt(2), 2.5 / math.sqrt(2), 2 / math.sqrt(2)])

    def test_twins_throughout_are_taken_once_each(self):
        model, candidates = normal([[1.0]] * 5, [np.ones((5, 5)).tolist()])
        choice = UCB(weights=ALWAYS_1)(model, self.seen, candidates, 9)
        assert sorted(choice.rows) == [0, 1, 2, 3, 4]
        assert choice.values == pytest.approx([3 / math.sqrt(2)] + [math.sqrt(2)] * 4)

    def test_a_batch_of_several_weights_has_sure_gains_and_long_shots(self):
        """A sure gain of 3 beats a doubt of ±1 by the weights below 3."""
        sure, doubtful = 40, 40
        model, candidates = independent([3.0] * sure + [0.0] * doubtful, [0.0] * sure + [1.0] * doubtful)
        rows = UCB(weights=(0.3, 30.0))(model, self.seen, candidates, 30).rows
        assert 5 < sum(row < sure for row in rows) < 25

    def test_weights_decide_between_objectives(self):
        """Two specialists and an all-rounder, between which no draw is sure: each is some batch's first."""
        mean = [[2.0, 0.1], [0.1, 2.0], [1.0, 1.0], [0.05, 0.05]]
        model, candidates = normal(mean, [np.zeros((4, 4)).tolist()] * 2)
        seen = Observations(model.mean, model.mean, torch.zeros(2, dtype=torch.float64))
        first = [UCB()(model, seen, candidates, 1, seed).rows[0] for seed in range(60)]
        assert set(first) == {0, 1, 2}
        assert first.count(2) > max(first.count(0), first.count(1))

    def test_the_reference_decides_which_end_counts(self):
        mean = [[-1.0, -4.0], [-4.0, -1.0]]
        model, candidates = normal(mean, [np.zeros((2, 2)).tolist()] * 2)
        for reference, best in (([-2.0, -5.0], 0), ([-5.0, -2.0], 1)):
            seen = Observations(model.mean, model.mean, torch.tensor(reference, dtype=torch.float64))
            assert {UCB()(model, seen, candidates, 1, seed).rows for seed in range(20)} == {(best,)}

    @pytest.mark.parametrize(("m", "scale"), [(1, 2.0**-30), (1, 2.0**30), (2, 2.0**-15), (2, 2.0**30)])
    def test_whatever_unit_utilities_have_the_choice_is_the_same(self, fragments, layout, m, scale):
        """Of several, BoTorch's reference point asks for ranges above 1e-7."""
        model, seen, candidates = fragments(m)
        expected = UCB()(model, seen, candidates, 6)
        scaled = Observations(seen.X, scale * seen.Y)
        other = AdditiveGP(iterations=0)(scaled.X, scaled.Y, layout(counts=8))
        found = UCB()(other, scaled, choices(other, candidates.X), 6)
        assert found.rows == expected.rows
        assert found.values == pytest.approx(expected.values)

    @pytest.mark.parametrize("weights", [[0, 1], [-1, 1], [3, 2]])
    def test_weights_that_cannot_be_drawn_are_refused(self, weights):
        with pytest.raises(RecipeError, match="0 < least ≤ largest"):
            parse_recipe({"weights": weights}, UCB)


class TestLogEI:
    def test_one_alone_is_the_argmax_of_log_expected_improvement(self, line):
        model, seen = line
        X = torch.linspace(-2.9, 2.9, 30, dtype=torch.float64).unsqueeze(1)
        with torch.no_grad():
            scores = LogExpectedImprovement(model, seen.Y.max())(X.unsqueeze(1))
        choice = LogEI(samples=512)(model, seen, choices(model, X), q=1)
        assert abs(choice.rows[0] - int(scores.argmax())) <= 1
        assert choice.values[0] == pytest.approx(scores.max().item(), abs=0.05)
        assert abs(X[choice.rows[0]].item()) < 0.5

    def test_of_independent_ones_it_is_the_best_by_the_formula(self):
        """EI = sd·(φ(u) + u·Φ(u)), u = (mean − best) / sd; here 0.40, 0.71, 1.08, 0.5."""
        model, candidates = independent([0.0, -0.3, 1.0, 0.5], [1.0, 2.5, 1.0, 1e-4])
        seen = Observations(STANDARD, column(0.0, -5.0))
        choice = LogEI(samples=2048)(model, seen, candidates, 1)
        assert choice.rows == (2,)
        assert choice.values[0] == pytest.approx(math.log(1.0833), abs=0.02)

    def test_several_objectives_seek_the_pareto_set(self, compromise):
        model, seen = compromise
        candidates = choices(model, column(-2.9, -1.0, 1.0, 2.9))
        assert set(LogEI()(model, seen, candidates, q=2, seed=1).rows) == {1, 2}

    def test_the_reference_decides_which_end_counts(self, compromise):
        model, seen = compromise
        candidates = choices(model, column(-1.0, 1.0))
        for reference, best in (([-0.5, -5.0], 0), ([-5.0, -0.5], 1)):
            point = torch.tensor(reference, dtype=torch.float64)
            assert LogEI()(model, Observations(seen.X, seen.Y, point), candidates, 1).rows == (best,)

    def test_its_scalarization_is_that_of_the_upper_confidence_bound(self, compromise):
        found, expected = (kind.scalarize(compromise[1], np.random.default_rng(3)) for kind in (LogEI(), UCB()))
        assert found.exploration == expected.exploration
        assert found.weights.tolist() == expected.weights.tolist()


def phi(x):
    """Of the standard normal: how much is below."""
    return 0.5 * (1 + math.erf(x / math.sqrt(2)))


def bounded(mean, sd):
    """Independent candidates; the second outcome is a constraint."""
    sd = np.array(sd, dtype=float)
    return normal(mean, [np.diag(np.square(sd[:, k])).tolist() for k in range(sd.shape[1])])


class TestThompson:
    seen = Observations(STANDARD, STANDARD)

    def test_each_is_chosen_as_often_as_it_is_the_best(self):
        """P(a > b) = Φ((1 − 0) / √(1² + 2²)), or, correlated by 0.5, Φ(1 / √(1 + 4 − 2·0.5·2))."""
        for between, expected in ((0.0, phi(1 / math.sqrt(5))), (1.0, phi(1 / math.sqrt(3)))):
            model, candidates = normal([[0.0], [1.0]], [[[1.0, between], [between, 4.0]]])
            first = [Thompson()(model, self.seen, candidates, 1, seed).rows[0] for seed in range(300)]
            assert np.mean(first) == pytest.approx(expected, abs=0.05)

    def test_a_batch_is_of_as_many_draws(self):
        """Of twenty alike, each is the best of some draws; a twentieth as good never is."""
        model, candidates = independent([0.0] * 20 + [-9.0], [1.0] * 21)
        rows = [Thompson()(model, self.seen, candidates, 5, seed).rows for seed in range(40)]
        assert {row for batch in rows for row in batch} == set(range(20))

    def test_a_factor_shrinks_what_a_candidate_may_turn_out_to_be(self):
        model, candidates = independent([0.0, -1.0], [0.01, 5.0])
        shrunk = Candidates(candidates.X, candidates.mean, candidates.sd, torch.tensor([1.0, 0.1]).double())
        often, hardly = (
            np.mean([Thompson()(model, self.seen, of, 1, seed).rows[0] for seed in range(150)])
            for of in (candidates, shrunk)
        )
        assert often == pytest.approx(phi(-1 / 5), abs=0.07)
        assert hardly == pytest.approx(phi(-1 / 0.5), abs=0.03)

    def test_with_a_constraint_the_best_of_those_that_hold_it_in_the_draw(self):
        """The better one holds with Φ(0.5); else the other, which always holds."""
        model, candidates = bounded([[5.0, 0.5], [0.0, 9.0]], [[0.0, 1.0], [0.0, 0.0]])
        seen = Observations(STANDARD, torch.tensor([[0.0, 1.0], [1.0, -1.0]]).double(), constraints=(1,))
        first = [Thompson()(model, seen, candidates, 1, seed).rows[0] for seed in range(300, 600)]
        assert 1 - np.mean(first) == pytest.approx(phi(0.5), abs=0.06)

    def test_where_none_holds_the_least_violation_in_units_of_the_spread(self):
        """Violations of 1 and 9, or of 2 and 1, where the second counts in hundreds."""
        Y = torch.tensor([[0.0, 1.0, 100.0], [1.0, -1.0, -100.0]], dtype=torch.float64)
        seen = Observations(STANDARD, Y, constraints=(1, 2))
        model, candidates = bounded([[0.0, -1.0, -9.0], [9.0, -2.0, -1.0]], [[0.0] * 3] * 2)
        choice = Thompson()(model, seen, candidates, 2)
        assert choice.rows == (0, 1)


class TestConstraints:
    """A column that has to be at least 0."""

    seen = Observations(STANDARD, torch.tensor([[-5.0, 1.0], [-9.0, -1.0]], dtype=torch.float64), constraints=(1,))
    none = Observations(STANDARD, torch.tensor([[-5.0, -2.0], [-9.0, -1.0]], dtype=torch.float64), constraints=(1,))

    def test_feasible_are_those_that_hold_all(self):
        Y = torch.tensor([[9.0, 0.0, 1.0], [9.0, -0.1, 1.0], [9.0, 1.0, -1.0]])
        assert Observations(Y, Y, constraints=(1, 2)).feasible.tolist() == [True, False, False]
        assert Observations(Y, Y).feasible.all()
        assert Observations(Y, Y, constraints=(0, 2)).improved == [1]

    def test_probability_by_hand(self):
        mean = torch.tensor([[1.0, 0.0], [-2.0, 9.0], [1.0, 3.0], [-1.0, 0.0], [0.0, 0.0]], dtype=torch.float64)
        sd = torch.tensor([[1.0, 1.0], [0.5, 1.0], [0.0, 0.0], [0.0, 1.0], [0.0, 0.0]], dtype=torch.float64)
        found = log_feasibility(mean, sd).exp().tolist()
        assert found == pytest.approx([phi(1) / 2, phi(-4), 1, 0, 1], rel=1e-6)
        far = log_feasibility(column(-40.0, -1.0), column(1.0, 0.0))
        assert far.isfinite().all()
        assert far[0] == pytest.approx(-804.6, abs=0.1)

    def test_the_score_by_hand(self):
        """Best feasible −5; gains of 3 and −2 spreads, √8 each."""
        drawn = UCB(weights=ALWAYS_1).scalarize(self.seen, np.random.default_rng(0))
        unit = math.sqrt(8)
        mean = torch.tensor([[-6.0 + 3 * unit, 1.0], [-6.0 - 2 * unit, -1.0]], dtype=torch.float64)
        found = drawn(mean, torch.ones_like(mean)).tolist()
        expected = [phi(1) * math.log1p(math.exp(3)), phi(-1) * math.log1p(math.exp(-2))]
        assert found == pytest.approx([math.log(value) for value in expected])

    @pytest.mark.parametrize("level", [-100.0, -5.0, 100.0])
    def test_whatever_the_sign_of_the_score_more_probable_is_better_and_so_is_more(self, level):
        drawn = UCB().scalarize(self.seen, np.random.default_rng(0))
        mean = torch.tensor([[level, 0.5], [level, -0.5], [level - 1, 0.5]], dtype=torch.float64)
        scores = drawn(mean, torch.ones_like(mean))
        assert scores[0] > scores[1]
        assert scores[0] > scores[2]

    def test_before_any_is_feasible_the_probability_alone_counts(self):
        drawn = UCB().scalarize(self.none, np.random.default_rng(0))
        mean = torch.tensor([[0.0, -1.0], [99.0, -1.0], [-99.0, -0.5]], dtype=torch.float64)
        assert drawn(mean, torch.ones_like(mean)).exp().tolist() == pytest.approx([phi(-1), phi(-1), phi(-0.5)])

    def test_the_incumbent_is_the_best_feasible_by_the_same_weights(self):
        Y = torch.tensor([[1.0, 3.0, 1.0], [3.0, 1.0, 1.0], [9.0, 9.0, -1.0]], dtype=torch.float64)
        seen = Observations(Y, Y, torch.zeros(2, dtype=torch.float64), (2,))
        for seed in range(5):
            drawn = UCB().scalarize(seen, np.random.default_rng(seed))
            scores = (Y[:2, :2] / Y[:, :2].std(0) / drawn.weights).amin(1)
            assert drawn.incumbent == pytest.approx(scores.max().item())

    @pytest.mark.parametrize("acquisition", [UCB(), LogEI(), Thompson()], ids=["ucb", "logei", "thompson"])
    def test_a_sure_violation_is_chosen_last(self, acquisition):
        model, candidates = bounded([[-4.0, 2.0], [50.0, -2.0], [-4.5, 1.0]], [[1.0, 0.1]] * 3)
        assert acquisition(model, self.seen, candidates, 3).rows[-1] == 1

    @pytest.mark.parametrize("acquisition", [UCB(), LogEI(), Thompson()], ids=["ucb", "logei", "thompson"])
    def test_as_long_as_none_is_feasible_what_may_be_comes_first(self, acquisition):
        model, candidates = bounded([[50.0, -3.0], [-9.0, 0.5], [50.0, -2.0]], [[1.0, 0.5]] * 3)
        assert acquisition(model, self.none, candidates, 1).rows == (1,)

    def test_expected_improvement_is_multiplied_by_the_probability(self):
        """Of independent outcomes: EI = sd·(φ(u) + u·Φ(u)), u = (mean − best feasible) / sd."""
        model, candidates = bounded([[-4.0, 0.5], [-2.0, -1.0]], [[1.0, 1.0]] * 2)
        expected = [
            (math.exp(-(u**2) / 2) / math.sqrt(2 * math.pi) + u * phi(u)) * phi(c) for u, c in ((1, 0.5), (3, -1.0))
        ]
        choice = LogEI(samples=4096)(model, self.seen, candidates, 1)
        assert choice.rows == (0,)
        assert choice.values[0] == pytest.approx(math.log(expected[0]), abs=0.03)
        second = Candidates(*(part[1:] for part in vars(candidates).values()))
        assert LogEI(samples=4096)(model, self.seen, second, 1).values[0] == pytest.approx(
            math.log(expected[1]), abs=0.05
        )

    @pytest.mark.parametrize("acquisition", [UCB(), LogEI(), Thompson()], ids=["ucb", "logei", "thompson"])
    def test_several_objectives_and_a_constraint_between_them(self, acquisition):
        """Only the third is both feasible and beyond the front."""
        Y = torch.tensor([[1.0, 1.0, 3.0], [3.0, 1.0, 1.0], [9.0, -1.0, 9.0]], dtype=torch.float64)
        mean = torch.tensor([[2.0, 3.0, 0.5], [9.0, -3.0, 9.0], [4.0, 2.0, 4.0], *Y.tolist()], dtype=torch.float64)
        model = DiscretePosterior(mean, 0.01 * torch.eye(6, dtype=torch.float64).expand(3, 6, 6))
        seen = Observations(model.rows[3:], Y, torch.zeros(2, dtype=torch.float64), (1,))
        factor = torch.ones(3, dtype=torch.float64)
        candidates = Candidates(model.rows[:3], model.mean[:3], model.sd[:3], factor)
        assert acquisition(model, seen, candidates, 1).rows == (2,)
        infeasible = Observations(seen.X[2:], seen.Y[2:], seen.reference, (1,))
        assert acquisition(model, infeasible, candidates, 1).rows in ((0,), (2,))


def test_without_exploration_as_many_as_one_likes_may_be_asked_for(fragments):
    """Though the scalarizations agree on which are best."""
    q = 2 * SCREEN + 5
    assert len(set(UCB(weights=ALWAYS_0)(*fragments(1), q).rows)) == q
