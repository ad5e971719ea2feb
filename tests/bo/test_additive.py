import numpy as np
import pytest
import torch
from botorch.acquisition.objective import ScalarizedPosteriorTransform
from botorch.models import SingleTaskGP
from botorch.models.transforms import Standardize
from gpytorch.means import ZeroMean
from scipy.stats import multivariate_normal

from molvae.bo import additive
from molvae.bo.additive import COUNTS, AdditiveModel
from molvae.bo.kernels import MinMaxKernel

NOISE = 0.05
ALONE = (1.0,)
"""Share of the fragments' kernel: then a row of features is counts and nothing else."""


@pytest.fixture(scope="module")
def observed():
    rng = np.random.default_rng(0)
    X = torch.from_numpy(rng.integers(0, 4, (12, 8)))
    return X, torch.from_numpy(rng.normal(size=(12, 2)) * [3.0, 0.1] + [-5.0, 100.0])


@pytest.fixture(scope="module")
def together():
    """Forty rows of counts, most of them zero, and points of three dimensions."""
    rng = np.random.default_rng(5)
    counts, points = rng.integers(0, 4, (40, COUNTS)) * (rng.random((40, COUNTS)) < 0.01), rng.normal(size=(40, 3))
    return torch.from_numpy(np.concatenate([counts, points], 1)).float()


def minmax(A, B):
    A, B = np.asarray(A, dtype=float), np.asarray(B, dtype=float)
    return np.minimum(A[:, None], B[None]).sum(-1) / np.maximum(A[:, None], B[None]).sum(-1)


def test_posterior_is_the_textbook_formula(observed):
    X, Y = observed[0], observed[1][:, :1]
    Z = torch.from_numpy(np.random.default_rng(1).integers(0, 9, (5, 8)))
    normal = AdditiveModel(X, Y, NOISE, ALONE).posterior(Z).distribution
    shift, spread = Y.numpy().mean(), Y.numpy().std(ddof=1)
    K = minmax(X, X) + NOISE * np.eye(len(X))
    mean = minmax(Z, X) @ np.linalg.solve(K, (Y.numpy() - shift) / spread)
    covariance = minmax(Z, Z) - minmax(Z, X) @ np.linalg.solve(K, minmax(X, Z))
    np.testing.assert_allclose(normal.mean, shift + spread * mean[:, 0], rtol=1e-12)
    np.testing.assert_allclose(normal.covariance_matrix, spread**2 * covariance, rtol=1e-10, atol=1e-12)


def squared_exponential(A, B):
    A, B = np.asarray(A, dtype=float), np.asarray(B, dtype=float)
    return np.exp(-((A[:, None] - B[None]) ** 2).sum(-1) / (2 * A.shape[1]))


def mixed(share, A, B):
    return share * minmax(A[:, :COUNTS], B[:, :COUNTS]) + (1 - share) * squared_exponential(
        A[:, COUNTS:], B[:, COUNTS:]
    )


@pytest.mark.parametrize("share", [0.0, 0.3, 1.0])
def test_with_points_it_is_the_textbook_formula_for_the_sum_of_both_kernels(together, share):
    X, Z = together[:30], together[30:]
    Y = torch.randn(30, 1, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    normal = AdditiveModel(X, Y, NOISE, (share,)).posterior(Z).distribution
    shift, spread = Y.numpy().mean(), Y.numpy().std(ddof=1)
    K, across = mixed(share, X, X) + NOISE * np.eye(30), mixed(share, Z, X)
    mean = across @ np.linalg.solve(K, (Y.numpy() - shift) / spread)
    covariance = mixed(share, Z, Z) - across @ np.linalg.solve(K, across.T)
    np.testing.assert_allclose(normal.mean, shift + spread * mean[:, 0], rtol=1e-6)
    np.testing.assert_allclose(normal.covariance_matrix, spread**2 * covariance, rtol=1e-6, atol=1e-8)


def test_each_outcome_has_the_share_of_the_highest_marginal_likelihood(together):
    shares = (0.0, 0.25, 0.5, 0.75, 1.0)
    rng = np.random.default_rng(2)
    Y = [
        rng.multivariate_normal(np.zeros(40), mixed(share, together, together) + 1e-6 * np.eye(40)) for share in (0, 1)
    ]
    model = AdditiveModel(together, torch.tensor(np.stack(Y, 1)), NOISE, shares)
    for found, y in zip(model.shares, Y, strict=True):
        y = (y - y.mean()) / y.std(ddof=1)
        kernels = [mixed(share, together, together) + NOISE * np.eye(40) for share in shares]
        likelihoods = [multivariate_normal(np.zeros(40), K).logpdf(y) for K in kernels]
        assert found == shares[int(np.argmax(likelihoods))]
    assert model.shares[0] < 0.5 < model.shares[1]


def test_several_outcomes_are_modelled_each_on_its_own_in_any_batch(together):
    Y = torch.randn(30, 2, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    both = AdditiveModel(together[:30], Y, NOISE, (0.0, 0.5, 1.0))
    Z = together[torch.tensor([[30, 31], [38, 39], [35, 35]])]
    for k in range(2):
        alone = AdditiveModel(together[:30], Y[:, k : k + 1], NOISE, (0.0, 0.5, 1.0)).posterior(Z)
        torch.testing.assert_close(both.posterior(Z).mean[..., k], alone.mean[..., 0])
        torch.testing.assert_close(both.posterior(Z).variance[..., k], alone.variance[..., 0])


def test_shares_are_judged_by_some_of_many_observations(together, monkeypatch):
    Y = together[:, COUNTS : COUNTS + 1].double()
    every_other = AdditiveModel(together[::2], Y[::2], NOISE, (0.0, 0.5, 1.0)).shares
    monkeypatch.setattr(additive, "JUDGED", 20)
    assert AdditiveModel(together, Y, NOISE, (0.0, 0.5, 1.0)).shares == every_other == [0.0]


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
    ours = AdditiveModel(observed[0], Y, NOISE, ALONE)
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
    small, large = AdditiveModel(X // 100, Y, NOISE, ALONE), AdditiveModel(X, Y, NOISE, ALONE)
    assert small.posterior(X[:1] // 100).mean.item() == pytest.approx(large.posterior(X[:1]).mean.item(), rel=1e-12)


def test_far_from_all_that_was_seen_it_believes_what_it_believed_before(observed):
    X, Y = observed
    posterior = AdditiveModel(torch.cat([X, torch.zeros_like(X[:, :1])], 1), Y, NOISE, ALONE).posterior(
        torch.tensor([[0] * 8 + [1]])
    )
    assert posterior.mean[0].tolist() == pytest.approx(Y.mean(0).tolist())
    assert posterior.variance[0].tolist() == pytest.approx(Y.var(0).tolist())


@pytest.mark.parametrize(("n", "value"), [(1, 7.0), (3, 7.0), (7, 0.1)])
def test_one_observation_or_equal_ones_say_their_value_and_leave_doubt(n, value):
    """The standard deviation of seven times 0.1 is not zero in floating point."""
    X = torch.eye(n + 1, dtype=torch.uint8)
    posterior = AdditiveModel(X[:n], torch.full((n, 1), value, dtype=torch.float64), NOISE, ALONE).posterior(X)
    assert posterior.mean[:, 0].tolist() == pytest.approx([value] * (n + 1))
    assert posterior.variance[-1].item() == pytest.approx(1.0)
    assert posterior.variance[0].item() == pytest.approx(NOISE / (1 + NOISE))
