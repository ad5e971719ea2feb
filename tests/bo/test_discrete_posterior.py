from types import SimpleNamespace

import numpy as np
import pytest
import torch
from botorch.acquisition import qLogExpectedImprovement
from botorch.acquisition.multi_objective.logei import qLogNoisyExpectedHypervolumeImprovement
from botorch.acquisition.objective import ScalarizedPosteriorTransform
from botorch.posteriors import GPyTorchPosterior
from botorch.sampling import SobolQMCNormalSampler
from gpytorch.distributions import MultitaskMultivariateNormal

from molvae.bo import discrete_posterior as finite
from molvae.bo.discrete_posterior import DiscretePosterior, moments
from molvae.bo.surrogates import AdditiveGP, LatentGP


@pytest.fixture(scope="module", params=["additive", "latent"])
def surrogate(request):
    return {"additive": AdditiveGP(noise=0.1, iterations=0), "latent": LatentGP(iterations=5)}[request.param]


@pytest.fixture(scope="module")
def points():
    """Twenty points for either surrogate; the first twelve were observed."""
    return torch.from_numpy(np.random.default_rng(0).integers(0, 4, (20, 6))).double()


@pytest.fixture(scope="module")
def model(surrogate, points, layout):
    """With one outcome or two."""

    def fit(m):
        Y = torch.stack([points[:12, 0] - points[:12, 1] ** 2, 50 + 0.1 * points[:12, 2]], dim=1)
        where = layout(counts=6) if isinstance(surrogate, AdditiveGP) else layout(latent=6)
        return surrogate(points[:12], Y[:, :m], where)

    return {m: fit(m) for m in (1, 2)}


@pytest.mark.parametrize("m", [1, 2])
@pytest.mark.parametrize("rows", [[[3], [17], [3]], [[[0], [19]], [[5], [6]], [[13], [2]]]])
def test_at_its_rows_it_is_the_posterior_of_the_model(model, points, m, rows):
    one = DiscretePosterior.of(model[m], points)
    asked = torch.tensor(rows, dtype=torch.float64)
    with torch.no_grad():
        found, expected = one.posterior(asked), model[m].posterior(points[asked[..., 0].long()])
    assert (one.num_outputs, one.batch_shape, one.rows[:, 0].tolist()) == (m, (), list(range(20)))
    assert found.mean.shape == (*asked.shape[:-1], m)
    torch.testing.assert_close(found.mean, expected.mean, rtol=1e-8, atol=1e-8)
    torch.testing.assert_close(found.variance, expected.variance, rtol=1e-5, atol=1e-7)
    for k in range(m):
        only = ScalarizedPosteriorTransform(torch.eye(m, dtype=torch.float64)[k])
        with torch.no_grad():
            a = one.posterior(asked, posterior_transform=only).distribution
            b = model[m].posterior(points[asked[..., 0].long()], posterior_transform=only).distribution
            c = one.posterior(asked, output_indices=[k]).distribution
        torch.testing.assert_close(a.covariance_matrix, b.covariance_matrix, rtol=1e-5, atol=1e-7)
        torch.testing.assert_close(a.covariance_matrix, c.covariance_matrix)


@pytest.mark.parametrize("interleaved", [True, False])
def test_outcomes_are_told_apart_however_the_distribution_orders_them(interleaved):
    """Points within outcomes, or outcomes within points."""
    root = torch.randn(2, 3, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    each, mean = root @ root.mT, torch.arange(6.0, dtype=torch.float64).reshape(3, 2)
    joint = torch.block_diag(*each)
    if interleaved:
        order = [0, 3, 1, 4, 2, 5]
        joint = joint[order][:, order]
    normal = MultitaskMultivariateNormal(mean, joint, interleaved=interleaved)
    model = SimpleNamespace(posterior=lambda X: GPyTorchPosterior(normal))
    one = DiscretePosterior.of(model, torch.zeros(3, 1))
    torch.testing.assert_close(one.covariance, each)
    assert one.mean.tolist() == mean.tolist()


@pytest.mark.parametrize("m", [1, 2])
def test_moments_in_parts_are_those_at_once(model, points, m, monkeypatch):
    mean, sd = moments(model[m], points)
    with torch.no_grad():
        whole = model[m].posterior(points)
    assert mean.dtype == sd.dtype == torch.float64
    torch.testing.assert_close(mean, whole.mean, rtol=1e-8, atol=1e-8)
    torch.testing.assert_close(sd, whole.variance.sqrt(), rtol=1e-5, atol=1e-7)
    monkeypatch.setattr(finite, "AT_ONCE", 7)
    for found, expected in zip(moments(model[m], points), (mean, sd), strict=True):
        torch.testing.assert_close(found, expected, rtol=1e-8, atol=1e-8)


def test_conditioned_by_hand():
    mean = torch.tensor([[1.0], [2.0], [3.0]], dtype=torch.float64)
    covariance = torch.tensor([[4.0, 2.0, 0.0], [2.0, 2.0, 1.0], [0.0, 1.0, 9.0]], dtype=torch.float64)
    after = DiscretePosterior(mean, covariance[None]).conditioned(0)
    assert after.mean.tolist() == mean.tolist()
    assert after.covariance[0].tolist() == [[0, 0, 0], [0, 1, 1], [0, 1, 9]]
    assert after.sd[:, 0].tolist() == [0, 1, 3]
    assert after.conditioned(0).covariance.tolist() == after.covariance.tolist()


def test_draws_have_the_mean_and_the_covariance():
    """Of two outcomes, the first with a pair of twins."""
    mean = torch.tensor([[1.0, 0.0], [2.0, 0.0], [3.0, 5.0]], dtype=torch.float64)
    covariance = torch.tensor([[[4.0, 4, 1], [4, 4, 1], [1, 1, 9]], [[1, 0.5, 0], [0.5, 1, 0], [0, 0, 0]]]).double()
    draws = DiscretePosterior(mean, covariance).sample(20_000, 0)
    assert draws.shape == (20_000, 3, 2)
    torch.testing.assert_close(draws.mean(0), mean, atol=0.1, rtol=0)
    for k in range(2):
        torch.testing.assert_close(draws[..., k].T.cov(), covariance[k], atol=0.2, rtol=0)
    torch.testing.assert_close(draws[:, 0, 0] + 1, draws[:, 1, 0], atol=1e-6, rtol=0)
    across = torch.stack([draws[:, 0, 0], draws[:, 0, 1]]).corrcoef()[0, 1]
    assert abs(across.item()) < 0.03
    assert torch.equal(
        DiscretePosterior(mean, covariance).sample(5, 1), DiscretePosterior(mean, covariance).sample(5, 1)
    )


@pytest.mark.parametrize("scale", [1.0, 1e-9, 1e9])
def test_conditioned_is_the_process_with_one_more_observation_without_noise(points, layout, scale):
    X = points.numpy()
    K = np.minimum(X[:, None], X[None]).sum(-1) / np.maximum(X[:, None], X[None]).sum(-1)
    y = np.random.default_rng(3).normal(size=12)
    y = (y - y.mean()) / y.std(ddof=1)
    model = AdditiveGP(noise=0.1, iterations=0)(points[:12], torch.from_numpy(scale * y)[:, None], layout(counts=6))
    before = DiscretePosterior.of(model, points)
    for new in (15, 4):
        seen = [*range(12), new]
        noise = np.diag([0.1] * 12 + [0.0])
        values = np.append(y, before.mean[new, 0].item() / scale)
        gain = K[:, seen] @ np.linalg.inv(K[np.ix_(seen, seen)] + noise)
        after = before.conditioned(new)
        np.testing.assert_allclose(after.mean[:, 0] / scale, gain @ values, atol=1e-10)
        np.testing.assert_allclose(after.covariance[0] / scale**2, K - gain @ K[seen], atol=1e-10)


def test_two_outcomes_are_conditioned_each_on_its_own(model, points):
    both = DiscretePosterior.of(model[2], points)
    for k in range(2):
        alone = DiscretePosterior(both.mean[:, k : k + 1], both.covariance[k : k + 1]).conditioned(7)
        assert both.conditioned(7).covariance[k].tolist() == alone.covariance[0].tolist()


def test_expected_improvement_is_that_of_the_model(model, points):
    sampler = SobolQMCNormalSampler(torch.Size([64]), seed=0)
    batches = torch.tensor([[[0], [12]], [[13], [14]], [[18], [5]]])
    with torch.no_grad():
        expected = qLogExpectedImprovement(model[1], 0.5, sampler)(points[batches[..., 0]])
        found = qLogExpectedImprovement(DiscretePosterior.of(model[1], points), 0.5, sampler)(batches.double())
    torch.testing.assert_close(found, expected, rtol=1e-3, atol=1e-3)


def test_hypervolume_improvement_is_that_of_the_model(model, points):
    """Given batches of one point: for larger ones the base samples meet the roots in another order."""

    def values(model, baseline, batches):
        function = qLogNoisyExpectedHypervolumeImprovement(
            model,
            torch.tensor([-9.0, 49.9], dtype=torch.float64),
            baseline,
            sampler=SobolQMCNormalSampler(torch.Size([256]), seed=0),
            cache_root=False,
        )
        with torch.no_grad():
            return function(batches)

    one = DiscretePosterior.of(model[2], points)
    expected = values(model[2], points[:4], points[12:, None])
    found = values(one, one.rows[:4], one.rows[12:, None])
    torch.testing.assert_close(found, expected, rtol=0.05, atol=0.1)
