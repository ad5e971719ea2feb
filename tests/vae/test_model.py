import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from molvae.errors import InvalidSmiles, SmilesError, UnknownCharacter, UsageError
from molvae.vae.model import Posterior


def test_encoding_does_not_depend_on_the_company(vae, molecules):
    together = vae.encode(molecules)
    assert together.mean.shape == together.logvar.shape == (len(molecules), vae.latent)
    assert together.mean.dtype == together.logvar.dtype == torch.float32
    assert together.mean.std(0).min() > 0.01  # molecules differ, so order shows
    for row in range(0, len(molecules), 23):
        alone = vae.encode([molecules[row]])
        torch.testing.assert_close(alone.mean[0], together.mean[row], atol=1e-5, rtol=0)
        torch.testing.assert_close(alone.logvar[0], together.logvar[row], atol=1e-5, rtol=0)


def test_order_is_kept_across_lengths_and_batches(vae, molecules, monkeypatch):
    together = vae.encode(molecules).mean
    monkeypatch.setattr("molvae.vae.model.ENCODE_BATCH", 3)
    shuffled = np.random.default_rng(0).permutation(len(molecules))
    torch.testing.assert_close(vae.encode([molecules[k] for k in shuffled]).mean, together[shuffled])


def test_any_spelling_of_a_molecule_has_one_encoding(vae):
    posterior = vae.encode(["OCCCCC", "C(CCCC)O", " CCCCCO "])
    assert torch.equal(posterior.mean[0], posterior.mean[1])
    assert torch.equal(posterior.mean[0], posterior.mean[2])
    assert not torch.equal(vae.encode_texts(["OCCCCC"]).mean, vae.encode_texts(["CCCCCO"]).mean)


@pytest.mark.parametrize(
    ("smiles", "error", "said"),
    [
        ("", InvalidSmiles, "empty"),
        ("C1CC", InvalidSmiles, "unclosed ring at character 2"),
        ("CCC[Xe]", UnknownCharacter, "does not know the character 'X' at character 5"),
        ("C" * 21, SmilesError, "longer than the 20 characters this model reads"),
        ("C" * 2000, InvalidSmiles, "too long"),
    ],
)
def test_what_cannot_be_encoded_is_said(vae, smiles, error, said):
    with pytest.raises(error, match=said):
        vae.encode(["CCCO", smiles])


def test_an_empty_text_cannot_be_encoded(vae):
    with pytest.raises(SmilesError, match="empty"):
        vae.encode_texts(["CC", ""])


def test_nothing_in_nothing_out(vae):
    assert vae.encode([]).mean.shape == (0, vae.latent)
    assert vae.decode(torch.zeros(0, vae.latent)) == []
    assert vae.sample(0) == []


def test_decoding_takes_arrays_of_any_float(vae, molecules):
    z = vae.encode(molecules[:5]).mean
    texts = vae.decode(z)
    assert vae.decode(z.double().numpy()) == texts
    assert vae.decode(z.tolist()) == texts
    assert all(set(text) <= set(vae.vocab.characters) and len(text) <= vae.longest for text in texts)


@pytest.mark.parametrize("shape", [(3, 5), (4,), (2, 3, 4)])
def test_points_of_another_space_are_refused(vae, shape):
    with pytest.raises(UsageError, match=r"come as \(n, 4\) for this model; these are \("):
        vae.decode(torch.zeros(shape))


@pytest.mark.parametrize("temperature", [0.0, -1.0, math.nan, math.inf])
def test_a_temperature_is_a_positive_number(vae, temperature):
    with pytest.raises(UsageError, match="a temperature is at least"):
        vae.sample(3, temperature=temperature)


def test_the_seed_decides_what_is_sampled(vae):
    assert vae.sample(20, seed=1) == vae.sample(20, seed=1) != vae.sample(20, seed=2)
    z = torch.zeros(20, vae.latent)
    assert len(set(vae.decode(z))) == 1
    assert len(set(vae.decode(z, temperature=1.0))) > 1
    assert vae.decode(z, 1.0, seed=3) == vae.decode(z, 1.0, seed=3) != vae.decode(z, 1.0, seed=4)


def test_it_reads_what_it_can_encode(vae):
    assert vae.reads("CCO")
    assert not vae.reads("C" * 21)
    assert not vae.reads("[Xe]")


@given(st.floats(-3, 3), st.floats(-4, 2))
def test_posterior_samples_have_its_mean_and_variance(mean, logvar):
    n = 20_000
    posterior = Posterior(torch.full((n, 1), mean), torch.full((n, 1), logvar))
    drawn = posterior.sample(torch.Generator().manual_seed(0)).double()
    sd = math.exp(logvar / 2)
    assert float(drawn.mean()) == pytest.approx(mean, abs=5 * sd / math.sqrt(n) + 1e-5)
    assert float(drawn.var()) == pytest.approx(sd**2, rel=5 * math.sqrt(2 / n))


def test_samples_have_gradients_for_mean_and_variance():
    mean, logvar = torch.zeros(4, 2, requires_grad=True), torch.zeros(4, 2, requires_grad=True)
    drawn = Posterior(mean, logvar).sample(torch.Generator().manual_seed(0))
    drawn.sum().backward()
    assert torch.equal(mean.grad, torch.ones(4, 2))
    torch.testing.assert_close(logvar.grad, drawn.detach() / 2)  # d(ε exp(½ s))/ds = ½ ε at s = 0
