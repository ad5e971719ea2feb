"""What is minimised: the two terms of the evidence lower bound, heads and latent noise; and what each loss owes."""

import math

import numpy as np
import pytest
import torch

from molvae.config import parse_recipe
from molvae.errors import RecipeError
from molvae.vae.nets.nets import GRUDecoder, GRUEncoder, Net, NetSettings, gaussian_kl
from molvae.vae.training.losses import ELBO, LOSSES, LatentNoise, LossBatch
from molvae.vae.training.recipe import TrainRecipe
from molvae.vae.training.schedules import LinearBeta

SIZES = NetSettings(
    latent=3, embedding=4, encoder=GRUEncoder(hidden=5), decoder=GRUDecoder(hidden=6), properties=("logP", "QED")
)


@pytest.fixture
def net() -> Net:
    torch.manual_seed(0)
    return Net(SIZES, 9)


@pytest.fixture
def batch() -> LossBatch:
    generator = torch.Generator().manual_seed(0)
    labels = torch.randn(7, 2, generator=generator)
    labels[3, 1] = math.nan
    return LossBatch(torch.randint(2, 9, (7, 11), generator=generator), labels)


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


@pytest.mark.parametrize("member", LOSSES.members)
@pytest.mark.parametrize("labelled", [True, False])
def test_each_loss_is_a_function_of_weights_batch_and_draws(member, labelled, net, batch):
    loss, batch = member(), batch if labelled else batch._replace(labels=None)
    terms, again, other = (loss(net, batch, rng(seed), 0.5) for seed in (1, 1, 2))
    assert all(value.shape == () and value.isfinite() for value in (terms.loss, terms.nll, terms.kl))
    assert terms.nll.item() > 0 < terms.kl.item()
    assert 0 <= terms.beta < math.inf
    assert terms.loss == again.loss != other.loss
    terms.loss.backward()
    still = [name for name, weights in net.named_parameters() if weights.grad is None or not weights.grad.any()]
    assert [name for name in still if labelled or "heads" not in name] == []


def test_the_evidence_lower_bound_is_nll_and_beta_times_kl(net, batch):
    loss = ELBO(beta=LinearBeta(start=0.2, end=0.6, over=1.0))
    terms = loss(net, batch._replace(labels=None), rng(), 0.5)
    mean, logvar = net.encoder(batch.tokens)
    noise = torch.from_numpy(rng().standard_normal((7, 3), dtype=np.float32))
    nll = net.nll(batch.tokens, mean + noise * torch.exp(logvar / 2)).mean()
    kl = gaussian_kl(mean, logvar).sum(1).mean()
    torch.testing.assert_close(terms.nll, nll)
    torch.testing.assert_close(terms.kl, kl)
    assert terms.beta == pytest.approx(0.4)
    torch.testing.assert_close(terms.loss, nll + 0.4 * kl)


def test_errors_of_the_heads_have_their_weights(net, batch):
    mean, _ = net.encoder(batch.tokens)
    logp, qed = net.heads.loss(mean, batch.labels)
    without, plain, heavy = (
        loss(net, labelled, rng(), 0.0).loss
        for loss, labelled in (
            (ELBO(), batch._replace(labels=None)),
            (ELBO(), batch),
            (ELBO(property_weights={"QED": 5.0}), batch),
        )
    )
    torch.testing.assert_close(plain - without, logp + qed)
    torch.testing.assert_close(heavy - without, logp + 5 * qed)


def test_latent_noise_falls_on_its_share_and_is_drawn_between_its_ends():
    sd = LatentNoise(share=0.3, sd=(0.5, 0.8)).draw(rng(), 10_000)
    noisy = sd[sd > 0]
    assert sd.shape == (10_000, 1)
    assert len(noisy) / 10_000 == pytest.approx(0.3, abs=0.02)
    assert noisy.min() >= 0.5
    assert noisy.max() <= 0.8
    assert noisy.mean() == pytest.approx(0.65, abs=0.01)
    assert not LatentNoise().draw(rng(), 100).any()


def test_molecules_with_latent_noise_weigh_as_much_as_asked(net, batch):
    """All of them, so the nll is theirs; its weight is a factor on it."""
    whole, half = (
        ELBO(latent_noise=LatentNoise(share=1.0, weight=weight))(net, batch, rng(), 0.0).nll for weight in (1.0, 0.5)
    )
    torch.testing.assert_close(half, 0.5 * whole)


OLD = {
    "corpus": "c",
    "net": {"encoder_hidden": 8, "decoder_hidden": 12, "properties": ["QED"]},
    "train": {
        "beta": {"kind": "linear", "end": 0.02},
        "astray": 0.2,
        "astray_noise": [0.3, 0.9],
        "astray_weight": 0.5,
        "property_weights": {"QED": 5.0},
        "free_bits": 0.0,
    },
    "hardware": {"nodes": 1},
}
"""A recipe of the release before."""


def test_a_recipe_of_the_release_before_is_read(caplog):
    now = parse_recipe(OLD, TrainRecipe)
    assert now.train.loss == ELBO(
        beta=LinearBeta(end=0.02),
        latent_noise=LatentNoise(share=0.2, sd=(0.3, 0.9), weight=0.5),
        property_weights={"QED": 5.0},
    )
    assert (now.net.encoder, now.net.decoder) == (GRUEncoder(hidden=8), GRUDecoder(hidden=12))
    for old, new in TrainRecipe.ALIASES.items():
        assert f"{old} is called {new} now" in caplog.text
    assert "free_bits" not in caplog.text


@pytest.mark.parametrize(("section", "key", "value"), [("train", "free_bits", 0.5), ("hardware", "nodes", 2)])
def test_what_was_removed_is_refused_where_it_asks_for_something(section, key, value):
    with pytest.raises(RecipeError, match=rf"{section}\.{key} was removed, and is {value} here; take it out"):
        parse_recipe({**OLD, section: {key: value}}, TrainRecipe)
