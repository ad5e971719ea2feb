import math
import warnings

import numpy as np
import pytest
import torch

from molvae.bo.layout import FeatureLayout
from molvae.bo.surrogates import LatentGP, fit_subset

POINTS = FeatureLayout((("counts", 0), ("descriptors", 0), ("latent", 5)))


@pytest.fixture
def observed():
    generator = torch.Generator().manual_seed(3)
    X = torch.randn(20, 5, dtype=torch.float64, generator=generator)
    Y = torch.stack([X[:, 0] + X[:, 1].sin(), 100 - X[:, 2] ** 2], dim=1)
    return X, Y


def test_posterior_is_the_textbook_formula(observed):
    X, Y = observed[0], observed[1][:, :1]
    model = LatentGP()(X, Y, POINTS)
    Z = torch.linspace(-1, 1, 15, dtype=torch.float64).reshape(3, 5)
    posterior = model.posterior(Z)

    scale = model.covar_module.lengthscale.detach().numpy()[0]
    noise, constant = model.likelihood.noise.item(), model.mean_module.constant.item()
    shift, spread = Y.mean().item(), Y.std().item()

    def kernel(A, B):
        A, B = (A.numpy() + 3) / 6 / scale, (B.numpy() + 3) / 6 / scale
        return np.exp(-0.5 * ((A[:, None] - B[None]) ** 2).sum(-1))

    K = kernel(X, X) + noise * np.eye(len(X))
    y = (Y.numpy() - shift) / spread - constant
    mean = constant + kernel(Z, X) @ np.linalg.solve(K, y)
    covariance = kernel(Z, Z) - kernel(Z, X) @ np.linalg.solve(K, kernel(X, Z))
    assert posterior.mean.detach().numpy() == pytest.approx(shift + spread * mean, rel=1e-6)
    expected = spread**2 * np.diag(covariance)
    assert posterior.variance.detach().numpy()[:, 0] == pytest.approx(expected, rel=1e-5)


def test_length_scales_have_the_prior_that_grows_with_the_dimension(observed):
    prior = LatentGP()(*observed, POINTS).covar_module.lengthscale_prior
    assert prior.loc.item() == pytest.approx(math.sqrt(2) + math.log(5) / 2)
    assert prior.scale.item() == pytest.approx(math.sqrt(3))


def test_several_objectives_are_modelled_each_on_its_own(observed):
    X, Y = observed
    both = LatentGP(iterations=200)(X, Y, POINTS).posterior(X[:4]).mean
    for k in range(2):
        alone = LatentGP(iterations=200)(X, Y[:, k : k + 1], POINTS).posterior(X[:4]).mean
        assert both[:, k].tolist() == pytest.approx(alone[:, 0].tolist(), rel=1e-2, abs=1e-2)
    assert both.dtype == torch.float64


def test_fit_is_quiet_repeatable_and_leaves_the_global_generator_alone(observed):
    before = torch.random.get_rng_state()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        a, b = LatentGP()(*observed, POINTS), LatentGP()(*observed, POINTS)
    assert torch.equal(torch.random.get_rng_state(), before)
    assert torch.equal(a.posterior(observed[0]).mean, b.posterior(observed[0]).mean)


@pytest.mark.parametrize("n", [1, 3])
def test_few_or_equal_observations_can_be_fitted(n, layout):
    X = torch.arange(n * 2, dtype=torch.float64).reshape(n, 2) / 10
    Y = torch.full((n, 1), 7.0, dtype=torch.float64)
    mean = LatentGP()(X, Y, layout(latent=2)).posterior(X).mean
    assert mean[:, 0].tolist() == pytest.approx([7.0] * n, abs=1e-6)


def test_of_a_whole_row_it_reads_the_latent_point_alone(observed, layout):
    """The same bits as of the points alone."""
    points, Y = observed
    others = torch.rand(20, 7, dtype=torch.float64, generator=torch.Generator().manual_seed(4))
    whole = layout(counts=4, descriptors=3, latent=5)
    rows = torch.cat([others, points], 1)
    model, alone = LatentGP()(rows, Y, whole), LatentGP()(points, Y, POINTS)
    with torch.no_grad():
        found, expected = model.posterior(rows[:4]), alone.posterior(points[:4])
    assert torch.equal(found.mean, expected.mean)
    assert torch.equal(found.variance, expected.variance)
    assert torch.equal(model.covar_module.lengthscale, alone.covar_module.lengthscale)


class TestFitSubset:
    n = 20

    @pytest.mark.parametrize("most", [2, 7, 8, 19])
    def test_the_best_half_is_kept_and_others_are_drawn(self, most):
        kept = fit_subset(self.n, most, 0).tolist()
        assert len(kept) == len(set(kept)) == most
        assert kept == sorted(kept)
        assert kept[: most // 2] == list(range(most // 2))

    @pytest.mark.parametrize("most", [20, 21])
    def test_as_many_as_the_model_takes_are_all_kept(self, most):
        assert fit_subset(self.n, most, 0).tolist() == list(range(self.n))

    def test_the_draw_is_by_seed_and_leaves_the_global_generator_alone(self):
        before = torch.random.get_rng_state()
        draws = [fit_subset(self.n, 8, seed).tolist() for seed in (1, 1, 2, 3)]
        assert draws[0] == draws[1]
        assert len({tuple(draw) for draw in draws}) == 3
        assert set().union(*(fit_subset(self.n, 8, seed).tolist() for seed in range(40))) == set(range(self.n))
        assert torch.equal(torch.random.get_rng_state(), before)
