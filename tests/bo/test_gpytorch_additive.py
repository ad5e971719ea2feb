"""The slower twin of the additive model is the same model, and one that BoTorch can do everything with."""

import copy
import math
import pickle
import warnings

import numpy as np
import pytest
import torch
from botorch.acquisition import qLogExpectedImprovement
from botorch.sampling import SobolQMCNormalSampler
from gpytorch.mlls import ExactMarginalLogLikelihood
from linear_operator.utils.warnings import NumericalWarning

from molvae.bo.additive import AdditiveModel
from molvae.bo.discrete_posterior import moments
from molvae.bo.gpytorch_additive import additive_gp, additive_kernel
from molvae.bo.layout import FeatureLayout
from molvae.bo.surrogates import AdditiveGP, BotorchGP

LAYOUT = FeatureLayout((("counts", 12), ("descriptors", 4), ("latent", 3)))
NOISE = 0.05


@pytest.fixture(scope="module")
def rows():
    """Forty rows of counts, descriptors in units of their own, and points."""
    rng = np.random.default_rng(5)
    described = rng.normal(size=(40, 4)) * [1, 10, 30, 0.01] + 100
    parts = [rng.integers(0, 4, (40, 12)), described, rng.normal(size=(40, 3))]
    return torch.from_numpy(np.concatenate(parts, 1))


@pytest.fixture(scope="module")
def outcomes(rows):
    noise = torch.randn(30, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    return torch.stack([rows[:30, 0] - rows[:30, 1] + 0.1 * noise, 50 + 9 * rows[:30, -1].sin()], 1)


def give(model, hyper):
    """Hyper-parameters of the fast one to its twin."""
    kernels = model.covar_module.kernels
    model.covar_module.initialize(logits=hyper.shares.log() - hyper.shares.log().mean())
    for kernel, lengths in zip(kernels[1:], hyper.lengths, strict=True):
        kernel.lengthscale = lengths * math.sqrt(len(lengths))
    model.likelihood.noise = hyper.noise
    return model


@pytest.mark.parametrize("iterations", [0, 15])
@pytest.mark.parametrize("m", [1, 2])
@pytest.mark.parametrize("batch", [(), (2, 3)])
def test_at_the_same_hyper_parameters_it_predicts_the_same(rows, outcomes, m, batch, iterations):
    X, Y = rows[:30], outcomes[:, :m]
    fast, slow = AdditiveModel(X, Y, LAYOUT, NOISE, iterations), additive_gp(X, Y, LAYOUT, NOISE).eval()
    for model, hyper in zip(getattr(slow, "models", [slow]), fast.hyper, strict=True):
        give(model, hyper)
    Z = rows[torch.randint(0, 40, (*batch, 4), generator=torch.Generator().manual_seed(2))]
    with torch.no_grad():
        found, expected = slow.posterior(Z), fast.posterior(Z)
    assert found.mean.shape == (*batch, 4, m)
    torch.testing.assert_close(found.mean, expected.mean, rtol=1e-6, atol=1e-8)
    torch.testing.assert_close(found.variance, expected.variance, rtol=1e-6, atol=1e-8)


@pytest.mark.parametrize("blocks", [{"counts": 12}, {"counts": 12, "latent": 3}])
def test_before_any_iteration_it_is_the_fast_one_whatever_blocks_there_are(rows, outcomes, layout, blocks):
    where, columns = layout(**blocks), [*range(12), *range(16, 16 + blocks.get("latent", 0))]
    models = [kind(iterations=0)(rows[:30, columns], outcomes, where) for kind in (AdditiveGP, BotorchGP)]
    for found, expected in zip(*(moments(model, rows[:, columns]) for model in models), strict=True):
        torch.testing.assert_close(found, expected, rtol=1e-6, atol=1e-7)


def test_what_it_maximises_is_the_posterior_density_of_the_fast_one(rows, outcomes):
    """Between two sets of hyper-parameters: what the fast one wins in its own density, its twin wins in BoTorch's."""
    X, Y = rows[:30], outcomes[:, :1]
    [first], [second] = (AdditiveModel(X, Y, LAYOUT, NOISE, iterations).hyper for iterations in (0, 7))
    y = ((Y - Y.mean()) / Y.std())[:, 0]

    def density(hyper):
        """ln p(y) + ln p(hyper), but for a constant."""
        model = give(additive_gp(X, Y, LAYOUT, NOISE), hyper)
        C = model.covar_module(model.transform_inputs(X)).to_dense() + hyper.noise * torch.eye(30)
        normal = torch.distributions.MultivariateNormal(torch.zeros(30, dtype=torch.float64), C)
        logits = hyper.shares.log() - hyper.shares.log().mean()
        logs = torch.cat([*hyper.lengths, hyper.noise / NOISE]).log()
        sds = torch.tensor([1.0] * 7 + [1.5])
        likelihood = normal.log_prob(y).detach()
        return float(likelihood - (logits / 2).square().sum() / 2 - (logs / sds).square().sum() / 2)

    def objective(hyper):
        model = give(additive_gp(X, Y, LAYOUT, NOISE), hyper).train()
        mll = ExactMarginalLogLikelihood(model.likelihood, model)
        return 30 * mll(model(*model.train_inputs), model.train_targets).item()

    gain = density(second) - density(first)
    assert gain > 1
    assert objective(second) - objective(first) == pytest.approx(gain, rel=1e-4)


def test_fitted_for_long_both_find_the_same(rows, outcomes):
    fast, slow = (kind(noise=NOISE, iterations=500)(rows[:30], outcomes, LAYOUT) for kind in (AdditiveGP, BotorchGP))
    for model, hyper in zip(slow.models, fast.hyper, strict=True):
        assert model.covar_module.shares.tolist() == pytest.approx(hyper.shares.tolist(), abs=0.02)
    for found, expected in zip(moments(slow, rows), moments(fast, rows), strict=True):
        torch.testing.assert_close(found, expected, rtol=0.05, atol=0.05)


def test_blocks_have_kernels_of_their_own_with_bounds():
    kernel = additive_kernel(LAYOUT)
    assert [part.active_dims.tolist() for part in kernel.kernels] == [[*range(12)], [*range(12, 16)], [16, 17, 18]]
    assert kernel.shares.tolist() == pytest.approx([1 / 3] * 3)
    constraint = kernel.kernels[2].raw_lengthscale_constraint
    assert (constraint.upper_bound / constraint.lower_bound).item() == pytest.approx(math.exp(6), rel=1e-5)


def test_a_kernel_of_ones_own_can_be_added(rows, outcomes):
    from gpytorch.kernels import LinearKernel

    model = additive_gp(rows[:30], outcomes[:, :1], LAYOUT, NOISE).eval()
    before = model.posterior(rows[30:]).mean
    model.covar_module = model.covar_module + LinearKernel(active_dims=[16]).double()
    assert not torch.allclose(model.eval().posterior(rows[30:]).mean, before)


class TestBotorch:
    @pytest.fixture(scope="class")
    def model(self, rows, outcomes):
        return BotorchGP(noise=NOISE)(rows[:30], outcomes[:, :1], LAYOUT)

    def test_what_is_pending_takes_the_gain_from_what_is_alike(self, model, rows, outcomes):
        """A candidate that is pending itself promises nothing more, others do."""
        sampler = SobolQMCNormalSampler(torch.Size([256]), seed=0)

        def gains(pending):
            function = qLogExpectedImprovement(model, outcomes[:, 0].mean(), sampler, X_pending=pending)
            with torch.no_grad(), warnings.catch_warnings():
                warnings.simplefilter("ignore", NumericalWarning)  # twins
                return function(rows[30:, None]).exp()

        plain = gains(None)
        best = int(plain.argmax())
        after = gains(rows[30 + best : 31 + best]) - plain[best]  # of both together, beyond the pending one
        assert after[best].item() == pytest.approx(0.0, abs=0.1 * plain[best].item())
        assert after.max().item() > 0.2 * plain.sort().values[-2].item()

    def test_fantasies_are_models_that_know_one_more(self, model, rows):
        new = rows[33:34]
        fantasies = model.fantasize(new, SobolQMCNormalSampler(torch.Size([8]), seed=0))
        with torch.no_grad():
            before, after = model.posterior(new), fantasies.posterior(new)
        assert after.mean.shape == (8, 1, 1)
        assert after.variance.max() < 0.5 * before.variance.min()
        assert after.mean.std() > 0

    def test_conditioned_on_observations_it_is_the_model_of_all(self, model, rows, outcomes):
        """With the same units, mean and spread of the outcome."""
        Y = torch.tensor([[2.0]], dtype=torch.float64)
        with torch.no_grad():
            model.posterior(rows[:1])  # which makes what the conditioned one begins from
            found = model.condition_on_observations(rows[30:31], Y).posterior(rows[31:])
            X = model.transform_inputs(torch.cat([rows[:31]]))
            y = (torch.cat([outcomes[:, :1], Y]) - outcomes[:, 0].mean()) / outcomes[:, 0].std()
            K = model.covar_module(X).to_dense() + model.likelihood.noise * torch.eye(31)
            across = model.covar_module(model.transform_inputs(rows[31:]), X).to_dense()
            expected = outcomes[:, 0].mean() + outcomes[:, 0].std() * (across @ torch.linalg.solve(K, y))
        torch.testing.assert_close(found.mean, expected, rtol=1e-6, atol=1e-6)

    def test_several_outcomes_make_fantasies_too(self, rows, outcomes):
        model = BotorchGP(iterations=1)(rows[:30], outcomes, LAYOUT)
        fantasies = model.fantasize(rows[30:32], SobolQMCNormalSampler(torch.Size([4]), seed=0))
        assert fantasies.posterior(rows[:3]).mean.shape == (4, 3, 2)

    def test_it_can_be_copied_and_sent(self, model, rows):
        with torch.no_grad():
            expected = model.posterior(rows[:5]).mean
            for other in (copy.deepcopy(model), pickle.loads(pickle.dumps(model))):
                torch.testing.assert_close(other.posterior(rows[:5]).mean, expected)


@pytest.mark.parametrize(("n", "value"), [(1, 7.0), (3, 7.0), (7, 0.1), (3, 0.0)])
def test_one_observation_or_equal_ones_say_their_value_and_leave_doubt(layout, n, value):
    X = torch.eye(n + 1, dtype=torch.float64)
    Y = torch.full((n, 1), value, dtype=torch.float64)
    mean, sd = moments(BotorchGP(iterations=0, noise=NOISE)(X[:n], Y, layout(counts=n + 1)), X)
    assert mean[:, 0].tolist() == pytest.approx([value] * (n + 1), abs=1e-9)
    assert sd[-1].item() == pytest.approx(1.0)
