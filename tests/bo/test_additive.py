import numpy as np
import pytest
import torch
from botorch.acquisition.objective import ScalarizedPosteriorTransform
from botorch.models import SingleTaskGP
from botorch.models.transforms import Standardize
from gpytorch.means import ZeroMean
from scipy.stats import multivariate_normal, norm

from molvae.bo import additive
from molvae.bo.additive import AdditiveModel, Hyper
from molvae.bo.kernels import MinMaxKernel
from molvae.bo.layout import FeatureLayout

NOISE = 0.05
COUNTS, DESCRIPTORS = 12, 25
FRAGMENTS = FeatureLayout((("counts", 8), ("descriptors", 0), ("latent", 0)))
ALL = FeatureLayout((("counts", COUNTS), ("descriptors", DESCRIPTORS), ("latent", 3)))
NO_LATENT = FeatureLayout((("counts", COUNTS), ("descriptors", DESCRIPTORS), ("latent", 0)))


@pytest.fixture(scope="module")
def observed():
    rng = np.random.default_rng(0)
    X = torch.from_numpy(rng.integers(0, 4, (12, 8)))
    return X, torch.from_numpy(rng.normal(size=(12, 2)) * [3.0, 0.1] + [-5.0, 100.0])


@pytest.fixture(scope="module")
def together():
    """Forty rows of counts in twelve columns, descriptors in units of their own, and points of three dimensions."""
    rng = np.random.default_rng(5)
    counts = rng.integers(0, 4, (40, COUNTS))
    described = rng.normal(size=(40, DESCRIPTORS)) * rng.uniform(1, 50, DESCRIPTORS) + 100
    return torch.from_numpy(np.concatenate([counts, described, rng.normal(size=(40, 3))], 1))


def minmax(A, B):
    A, B = np.asarray(A, dtype=float), np.asarray(B, dtype=float)
    return np.minimum(A[:, None], B[None]).sum(-1) / np.maximum(A[:, None], B[None]).sum(-1)


def test_posterior_is_the_textbook_formula(observed):
    X, Y = observed[0], observed[1][:, :1]
    Z = torch.from_numpy(np.random.default_rng(1).integers(0, 9, (5, 8)))
    normal = AdditiveModel(X, Y, FRAGMENTS, NOISE, 0).posterior(Z).distribution
    shift, spread = Y.numpy().mean(), Y.numpy().std(ddof=1)
    K = minmax(X, X) + NOISE * np.eye(len(X))
    mean = minmax(Z, X) @ np.linalg.solve(K, (Y.numpy() - shift) / spread)
    covariance = minmax(Z, Z) - minmax(Z, X) @ np.linalg.solve(K, minmax(X, Z))
    np.testing.assert_allclose(normal.mean, shift + spread * mean[:, 0], rtol=1e-12)
    np.testing.assert_allclose(normal.covariance_matrix, spread**2 * covariance, rtol=1e-10, atol=1e-12)


def squared_exponential(A, B, lengths):
    return np.exp(-(((A[:, None] - B[None]) / lengths) ** 2).sum(-1) / (2 * A.shape[1]))


def mixed(hyper, X, A, B):
    """The kernel by definition; descriptors are measured in standard deviations of ``X``."""
    X, A, B = (np.asarray(rows) for rows in (X, A, B))
    parts = slice(COUNTS), slice(COUNTS, COUNTS + DESCRIPTORS), slice(COUNTS + DESCRIPTORS, None)
    units = X[:, parts[1]].std(0), 1.0
    kernels = [minmax(A[:, parts[0]], B[:, parts[0]])]
    for part, unit, lengths in zip(parts[1:], units, hyper.lengths, strict=True):
        kernels.append(squared_exponential(A[:, part] / unit, B[:, part] / unit, np.asarray(lengths)))
    return sum(float(share) * kernel for share, kernel in zip(hyper.shares, kernels, strict=True))


@pytest.mark.parametrize("iterations", [0, 15])
def test_with_all_parts_it_is_the_textbook_formula_for_the_sum_of_their_kernels(together, iterations):
    X, Z = together[:30], together[30:]
    Y = torch.randn(30, 1, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    model = AdditiveModel(X, Y, ALL, NOISE, iterations)
    [hyper] = model.hyper
    shift, spread = Y.numpy().mean(), Y.numpy().std(ddof=1)
    K, across = mixed(hyper, X, X, X) + float(hyper.noise) * np.eye(30), mixed(hyper, X, Z, X)
    mean = across @ np.linalg.solve(K, (Y.numpy() - shift) / spread)
    covariance = mixed(hyper, X, Z, Z) - across @ np.linalg.solve(K, across.T)
    normal = model.posterior(Z).distribution
    np.testing.assert_allclose(normal.mean, shift + spread * mean[:, 0], rtol=1e-6)
    np.testing.assert_allclose(normal.covariance_matrix, spread**2 * covariance, rtol=1e-6, atol=1e-8)


def test_before_any_iteration_hyper_parameters_are_the_medians_of_their_priors(together):
    [hyper] = AdditiveModel(together, together[:, :1].double(), ALL, NOISE, 0).hyper
    assert hyper.shares.tolist() == pytest.approx([1 / 3] * 3)
    assert torch.cat(hyper.lengths).tolist() == [1.0] * (DESCRIPTORS + 3)
    assert float(hyper.noise) == pytest.approx(NOISE)


def log_density(deviations, X, y):
    """Of the posterior, but for a constant; arguments in standard deviations of the priors from their medians."""
    shares = np.exp(2 * deviations[:3]) / np.exp(2 * deviations[:3]).sum()
    lengths = np.exp(deviations[3 : 3 + DESCRIPTORS]), np.exp(deviations[3 + DESCRIPTORS : -1])
    K = mixed(Hyper(shares, lengths, 0.0), X, X, X) + NOISE * np.exp(deviations[-1]) * np.eye(len(X))
    return multivariate_normal(np.zeros(len(X)), K).logpdf(y) + norm.logpdf(deviations).sum()


def test_hyper_parameters_are_at_the_highest_posterior_density(together):
    rng = np.random.default_rng(3)
    y = np.sin(np.asarray(together[:, COUNTS + 4] - 100)) + rng.normal(size=40) * 0.1
    [hyper] = AdditiveModel(together, torch.from_numpy(y)[:, None], ALL, NOISE, 500).hyper
    y = (y - y.mean()) / y.std(ddof=1)
    logits = np.log(hyper.shares) / 2
    free = [torch.cat(hyper.lengths).log().numpy(), [np.log(float(hyper.noise) / NOISE)]]
    found = np.concatenate([logits - logits.mean(), *free])
    highest = log_density(found, together, y)
    assert highest > log_density(np.zeros_like(found), together, y) + 1
    inside = np.abs(found) < 2.99
    for step in rng.normal(size=(50, len(found))) * np.where(inside, 0.02, 0.0):
        assert log_density(found + step, together, y) < highest


def test_each_outcome_has_most_of_the_kernel_that_it_hangs_on(together):
    rng = np.random.default_rng(2)
    lengths = [np.full(DESCRIPTORS, 2.0), np.ones(3)]
    kernels = [mixed(Hyper(share, lengths, 0.0), together, together, together) for share in np.eye(3)]
    Y = np.stack([rng.multivariate_normal(np.zeros(40), kernel + 1e-6 * np.eye(40)) for kernel in kernels], 1)
    model = AdditiveModel(together, torch.from_numpy(Y), ALL, NOISE, 15)
    assert [int(one.shares.argmax()) for one in model.hyper] == [0, 1, 2]


def test_a_descriptor_that_decides_has_the_shortest_length():
    rng = np.random.default_rng(1)
    X = torch.from_numpy(np.concatenate([np.zeros((60, COUNTS)), rng.normal(size=(60, DESCRIPTORS))], 1))
    [hyper] = AdditiveModel(X, torch.sin(2 * X[:, COUNTS + 7 : COUNTS + 8]), NO_LATENT, NOISE, 15).hyper
    [lengths] = hyper.lengths
    assert int(lengths.argmin()) == 7
    assert lengths[7] < 0.5 < lengths[torch.arange(DESCRIPTORS) != 7].min()


def test_a_descriptor_that_one_molecule_in_a_hundred_has_hardly_sets_it_apart():
    X = torch.zeros(100, COUNTS + DESCRIPTORS, dtype=torch.float64)
    X[0, -1] = 1
    posterior = AdditiveModel(
        X[1:], torch.linspace(0, 1, 99, dtype=torch.float64)[:, None], NO_LATENT, NOISE, 0
    ).posterior(X[:1])
    alike = np.exp(-((1 / 0.3) ** 2) / (2 * DESCRIPTORS))
    known = 99 / (99 + NOISE)  # of the variance, where 99 are wholly alike
    assert posterior.variance.item() / (99 * 100 / 12 / 98**2) == pytest.approx(1 - known * ((1 + alike) / 2) ** 2)


def test_several_outcomes_are_modelled_each_on_its_own_in_any_batch(together):
    Y = torch.randn(30, 2, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    both = AdditiveModel(together[:30], Y, ALL, NOISE, 5)
    Z = together[torch.tensor([[30, 31], [38, 39], [35, 35]])]
    for k in range(2):
        alone = AdditiveModel(together[:30], Y[:, k : k + 1], ALL, NOISE, 5).posterior(Z)
        torch.testing.assert_close(both.posterior(Z).mean[..., k], alone.mean[..., 0])
        torch.testing.assert_close(both.posterior(Z).variance[..., k], alone.variance[..., 0])


def test_hyper_parameters_are_fitted_by_one_thread_and_the_others_given_back(together, monkeypatch):
    before, threads = torch.get_num_threads(), []
    torch.set_num_threads(2)
    monkeypatch.setattr(additive, "minimize", lambda *_, **__: threads.append(torch.get_num_threads()) or 1 / 0)
    try:
        with pytest.raises(ZeroDivisionError):
            AdditiveModel(together, together[:, :1].double(), ALL, NOISE, 1)
        assert (threads, torch.get_num_threads()) == ([1], 2)
    finally:
        torch.set_num_threads(before)


def test_hyper_parameters_are_fitted_to_some_of_many_observations(together, monkeypatch):
    fitted, fit = [], additive._likeliest
    monkeypatch.setattr(additive, "_likeliest", lambda *given: fitted.append(given[2].tolist()) or fit(*given))
    monkeypatch.setattr(additive, "FIT_SUBSET", 14)
    Y = torch.arange(40.0, dtype=torch.float64)[:, None]
    AdditiveModel(together, Y, ALL, NOISE, 1)
    expected = ((Y - Y.mean()) / Y.std())[::3, 0]
    assert fitted == [expected.tolist()]  # of 40 the 1st, 4th, … 40th


@pytest.mark.parametrize("m", [1, 2])
@pytest.mark.parametrize("batch", [(), (3,), (2, 3)])
def test_it_is_botorchs_gaussian_process_with_this_kernel_and_noise(observed, m, batch):
    X, Y = observed[0].double(), observed[1][:, :m]
    theirs = SingleTaskGP(
        X,
        Y,
        train_Yvar=(NOISE * Y.var(0)).expand_as(Y),
        covar_module=MinMaxKernel(),
        mean_module=ZeroMean(),
        outcome_transform=Standardize(m),
    )
    ours = AdditiveModel(observed[0], Y, FRAGMENTS, NOISE, 0)
    Z = torch.randint(0, 6, (*batch, 4, 8), generator=torch.Generator().manual_seed(2))
    found, expected = ours.posterior(Z), theirs.posterior(Z.double())
    assert found.mean.shape == found.variance.shape == (*batch, 4, m)
    assert (found.mean.dtype, ours.num_outputs, ours.batch_shape) == (torch.float64, m, ())
    torch.testing.assert_close(found.mean, expected.mean.detach(), rtol=1e-6, atol=1e-8)
    torch.testing.assert_close(found.variance, expected.variance.detach(), rtol=1e-5, atol=1e-8)
    for k in range(m):
        only = ScalarizedPosteriorTransform(torch.eye(m, dtype=torch.float64)[k])
        one = ours.posterior(Z, posterior_transform=only).distribution
        other = theirs.posterior(Z.double(), posterior_transform=only).distribution
        torch.testing.assert_close(one.covariance_matrix, other.covariance_matrix.detach(), rtol=1e-5, atol=1e-8)
        alone = ours.posterior(Z, output_indices=[k]).distribution
        torch.testing.assert_close(alone.covariance_matrix, one.covariance_matrix)


def test_sums_of_counts_above_255_are_counted(observed):
    X = torch.full((2, 8), 200, dtype=torch.uint8)
    X[1] = 100
    Y = torch.tensor([[1.0], [2.0]], dtype=torch.float64)
    small, large = AdditiveModel(X // 100, Y, FRAGMENTS, NOISE, 0), AdditiveModel(X, Y, FRAGMENTS, NOISE, 0)
    assert small.posterior(X[:1] // 100).mean.item() == pytest.approx(large.posterior(X[:1]).mean.item(), rel=1e-12)


def test_far_from_all_that_was_seen_it_believes_what_it_believed_before(observed, layout):
    X, Y = observed
    posterior = AdditiveModel(torch.cat([X, torch.zeros_like(X[:, :1])], 1), Y, layout(counts=9), NOISE, 0).posterior(
        torch.tensor([[0] * 8 + [1]])
    )
    assert posterior.mean[0].tolist() == pytest.approx(Y.mean(0).tolist())
    assert posterior.variance[0].tolist() == pytest.approx(Y.var(0).tolist())


@pytest.mark.parametrize(("n", "value"), [(1, 7.0), (3, 7.0), (7, 0.1)])
def test_one_observation_or_equal_ones_say_their_value_and_leave_doubt(layout, n, value):
    """The standard deviation of seven times 0.1 is not zero in floating point."""
    X = torch.eye(n + 1, dtype=torch.uint8)
    posterior = AdditiveModel(
        X[:n], torch.full((n, 1), value, dtype=torch.float64), layout(counts=n + 1), NOISE, 0
    ).posterior(X)
    assert posterior.mean[:, 0].tolist() == pytest.approx([value] * (n + 1))
    assert posterior.variance[-1].item() == pytest.approx(1.0)
    assert posterior.variance[0].item() == pytest.approx(NOISE / (1 + NOISE))
