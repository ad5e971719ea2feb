"""Priors: densities that integrate, samples that follow them, fits that find what is there, and an exact way back."""

import math

import pytest
import torch
from safetensors.torch import load, save
from torch.distributions import MultivariateNormal

from molvae.errors import RecipeError, UsageError
from molvae.vae.prior import PRIORS, Flow, Mixture, Normal, StandardNormal, prior_settings, prior_table

FLOW = Flow(layers=4, hidden=16, steps=150, batch=128, learning_rate=2e-2, width=1.0)
TWO = Mixture(components=2, rounds=15)
COVARIANCE = torch.tensor([[0.26, 0.0, 0.25], [0.0, 0.26, 0.0], [0.25, 0.0, 0.51]])
"""Of either cluster."""


def clusters(n=3000, seed=0):
    """Posteriors around (−2, −2, 0) and, three times as often, (2, 2, 0), the third dimension following the first."""
    generator = torch.Generator().manual_seed(seed)
    side = torch.where(torch.rand(n, generator=generator) < 0.25, -2.0, 2.0)
    spread = 0.5 * torch.randn(n, 3, generator=generator)
    mean = torch.stack([side, side, torch.zeros(n)], 1) + spread
    mean[:, 2] += spread[:, 0]
    return mean, torch.full((n, 3), math.log(0.01))


@pytest.fixture(scope="module")
def flow():
    return FLOW.fit(*clusters(), seed=0)


SMALL = {Mixture: TWO, Flow: FLOW}
"""Settings by which a fit takes a moment; else those by default."""


@pytest.fixture(scope="module", params=[*PRIORS.members, "narrow mixture", "narrow flow"])
def fitted(request, flow):
    """Of each kind, and of two kinds with a width."""
    if request.param in (Flow, "narrow flow"):
        width = 1.0 if request.param is Flow else 0.8
        return FLOW.model_copy(update={"width": width}).restore(flow.tensors())
    narrow = request.param == "narrow mixture"
    settings = TWO.model_copy(update={"width": 0.7}) if narrow else SMALL.get(request.param, request.param())
    return settings.fit(*clusters(), seed=0)


def test_samples_are_a_function_of_the_seed(fitted):
    z = fitted.sample(500, seed=1)
    assert (z.shape, z.dtype, z.device.type) == ((500, 3), torch.float32, "cpu")
    assert not z.requires_grad
    assert torch.equal(z, fitted.sample(500, seed=1))
    assert not torch.equal(z, fitted.sample(500, seed=2))
    assert fitted.sample(0, seed=1).shape == (0, 3)


def test_the_density_integrates_to_one(fitted):
    step = 0.25
    axis = torch.arange(-7, 7, step)
    density = fitted.log_prob(torch.cartesian_prod(axis, axis, axis)).exp()
    assert float(density.sum()) * step**3 == pytest.approx(1, abs=0.01)


def test_samples_follow_the_density(fitted):
    """E over p of q/p is 1 for any density q, if p is what was sampled; and the mean of log p is the entropy."""
    z = fitted.sample(20_000, seed=3)
    other = MultivariateNormal(z.mean(0), 0.5 * torch.cov(z.t()))
    ratio = (other.log_prob(z) - fitted.log_prob(z)).exp()
    assert float(ratio.mean()) == pytest.approx(1, abs=5 * float(ratio.std()) / math.sqrt(len(z)) + 0.01)


def test_it_is_restored_bit_for_bit(fitted):
    settings = prior_settings(prior_table(fitted.settings), "model.json")
    assert settings == fitted.settings
    back = settings.restore(load(save(fitted.tensors())))
    z = fitted.sample(50, seed=4)
    assert torch.equal(back.sample(50, seed=4), z)
    assert torch.equal(back.log_prob(z), fitted.log_prob(z))
    assert back.tensors().keys() == fitted.tensors().keys()


@pytest.mark.parametrize("settings", [Mixture(components=3, rounds=2), Flow(layers=2, hidden=8, steps=5)])
def test_the_fit_is_a_function_of_the_seed(settings):
    a, b, other = (settings.fit(*clusters(200), seed).tensors() for seed in (1, 1, 2))
    assert all(torch.equal(a[name], b[name]) for name in a)
    assert not all(torch.equal(a[name], other[name]) for name in a)


def test_the_standard_normal_is_one():
    z = torch.randn(20, 5)
    expected = MultivariateNormal(torch.zeros(5), torch.eye(5)).log_prob(z)
    torch.testing.assert_close(Normal(5).log_prob(z), expected)
    assert torch.equal(Normal(5).sample(9, 2), torch.randn(9, 5, generator=torch.Generator().manual_seed(2)))


def test_a_mixture_of_one_is_the_gaussian_with_the_moments():
    mean, logvar = clusters(4000)
    prior = Mixture(components=1, rounds=3).fit(mean, logvar, seed=0)
    covariance = torch.cov(mean.t()) + 0.01 * torch.eye(3)
    torch.testing.assert_close(prior.centers[0], mean.mean(0), atol=0.15, rtol=0)
    torch.testing.assert_close(prior.factors[0] @ prior.factors[0].t(), covariance, atol=0.2, rtol=0.1)
    z = prior.sample(50, seed=0)
    expected = MultivariateNormal(prior.centers[0], scale_tril=prior.factors[0]).log_prob(z)
    torch.testing.assert_close(prior.log_prob(z), expected)


def test_a_mixture_finds_the_clusters_their_weights_and_correlations():
    prior = TWO.fit(*clusters(), seed=0)
    rare, often = prior.weights.argsort().tolist()
    assert prior.weights[rare] == pytest.approx(0.25, abs=0.03)
    assert prior.centers[rare].tolist() == pytest.approx([-2, -2, 0], abs=0.1)
    assert prior.centers[often].tolist() == pytest.approx([2, 2, 0], abs=0.1)
    covariance = prior.factors[often] @ prior.factors[often].t()
    torch.testing.assert_close(covariance, COVARIANCE, atol=0.04, rtol=0)


def test_the_nearer_a_density_the_likelier_are_new_points(flow):
    """One Gaussian cannot follow two clusters, a flow can in part, a mixture of two is the truth."""
    truth = Mixture(components=2).restore(
        {
            "weights": torch.tensor([0.25, 0.75]),
            "centers": torch.tensor([[-2.0, -2.0, 0.0], [2.0, 2.0, 0.0]]),
            "factors": torch.linalg.cholesky(COVARIANCE).repeat(2, 1, 1),
        }
    )
    z = truth.sample(5000, seed=1)
    fits = [settings.fit(*clusters(), seed=0) for settings in (StandardNormal(), Mixture(components=1, rounds=3))]
    score = [float(prior.log_prob(z).mean()) for prior in (*fits, flow, TWO.fit(*clusters(), seed=0), truth)]
    assert score[0] + 1 < score[1]
    assert score[1] + 0.3 < score[2] < score[3]
    assert score[3] == pytest.approx(score[4], abs=0.02)


def test_a_width_scales_each_gaussian():
    wide = TWO.fit(*clusters(), seed=0)
    narrow = TWO.model_copy(update={"width": 0.5}).restore(wide.tensors())
    spread = [prior.sample(20_000, seed=0) for prior in (wide, narrow)]
    sd = [z[z[:, 0] > 0].std(0) for z in spread]
    assert (sd[1] / sd[0]).tolist() == pytest.approx([0.5] * 3, abs=0.03)


def test_a_width_scales_where_a_flow_begins(flow):
    narrow = FLOW.model_copy(update={"width": 0.5}).restore(flow.tensors())
    base = [prior.couplings(prior.sample(1000, seed=0))[0] for prior in (flow, narrow)]
    torch.testing.assert_close(base[1], 0.5 * base[0], atol=1e-3, rtol=0)


@pytest.mark.parametrize("settings", [Mixture(), Flow()])
@pytest.mark.parametrize(("n", "latent"), [(19, 3), (50, 1), (0, 3)])
def test_too_little_to_fit_is_said(settings, n, latent):
    with pytest.raises(UsageError, match=rf'these are {n} molecules and {latent} dimensions: .* the kind "normal"'):
        settings.fit(torch.zeros(n, latent), torch.zeros(n, latent), seed=0)


def test_more_components_than_molecules_and_dead_dimensions_do_no_harm():
    mean = torch.zeros(25, 3)
    mean[:, 0] = torch.arange(25.0)
    for settings in (Mixture(components=40, rounds=3), Flow(layers=2, hidden=8, steps=5)):
        prior = settings.fit(mean, torch.full((25, 3), -30.0), seed=0)
        assert prior.sample(100, seed=0).isfinite().all()
        assert prior.log_prob(prior.sample(100, seed=0)).isfinite().all()


def test_settings_come_from_a_recipe():
    assert prior_settings({"kind": "flow", "layers": 2}, "the recipe") == Flow(layers=2)
    with pytest.raises(RecipeError, match=r"(?s)my words.*there is no kind 'mixtures'; did you mean 'mixture'"):
        prior_settings({"kind": "mixtures"}, "my words")
    with pytest.raises(RecipeError, match="width"):
        prior_settings({"kind": "flow", "width": 0.0}, "my words")
