import math

import pytest
import torch

from molvae.chem.molecule import parse_or_none
from molvae.errors import DataError
from molvae.vae.evaluation.metrics import (
    active_units,
    evaluate,
    likelihood,
    marginal_kl,
    reconstruction,
    text_statistics,
    two_sample,
    validity,
)


def test_active_units_vary_over_the_molecules():
    varying = torch.tensor([-0.5, 0.5, -0.5, 0.5])
    constant = torch.full((4,), 3.0)
    slight = 0.1 * varying  # variance 0.0033, under 0.01
    assert active_units(torch.stack([varying, constant, slight], 1)) == 1
    assert active_units(torch.stack([varying, varying], 1)) == 2
    assert active_units(torch.ones(1, 5)) == 0


def test_validity_is_a_share():
    assert validity(["CCO", "C1CC", "", "c1ccccc1"]) == 0.5
    assert validity([]) == 0.0


def test_likelihood_is_the_mean_over_molecules_not_over_batches(vae, molecules):
    """With no noise to draw (a variance of zero), each molecule can be computed alone."""
    with torch.no_grad():
        vae.net.encoder.posterior.weight[vae.latent :] = 0
        vae.net.encoder.posterior.bias[vae.latent :] = -60.0
    nll, kl = likelihood(vae, molecules)
    alone = [likelihood(vae, [smiles]) for smiles in molecules]
    assert nll == pytest.approx(sum(a for a, _ in alone) / len(alone), rel=1e-5)
    assert kl == pytest.approx(float(vae.encode_texts(molecules).kl().mean()), rel=1e-4)  # that may be in bfloat16


def test_an_ignorant_decoder_pays_the_logarithm_of_its_characters(vae):
    with torch.no_grad():
        for weights in vae.net.decoder.logits.parameters():
            weights.zero_()
    nll, _ = likelihood(vae, ["CCCC", "CCCCCCCC"])  # 5 and 9 characters with the end
    assert nll == pytest.approx(7 * math.log(len(vae.vocab)), rel=1e-6)


def test_an_evaluation_counts_what_it_says(vae, molecules):
    figures = evaluate(vae, molecules, 100, seed=3)
    decoded = vae.decode(vae.encode_texts(molecules).mean, grammar=False)
    assert figures.reconstruction == reconstruction(molecules, decoded)
    assert figures.validity_decoded == validity(decoded)
    assert figures.validity_prior == validity(vae.sample(100, 3, grammar=False))
    assert figures.active_units == vae.latent
    assert figures == evaluate(vae, molecules, 100, seed=3)


def test_a_molecule_is_reconstructed_however_it_is_spelled():
    assert reconstruction(["CCO", "CCN", "CCC", "CCCC"], ["OCC", "CCN", "C(C", "CCCCC"]) == 0.5
    assert reconstruction([], []) == 0.0


def test_nothing_cannot_be_evaluated(vae):
    with pytest.raises(DataError, match="no molecules"):
        evaluate(vae, [], 10)


def test_text_statistics_are_of_canonical_molecules(vae, molecules):
    texts = ["OCC", "CCO", "C1CC", molecules[0]]
    assert "CCO" not in molecules
    assert parse_or_none(molecules[0]).smiles == molecules[0]
    assert text_statistics(texts, vae.known) == {"validity": 0.75, "unique": 2 / 3, "novel": 0.5}


def test_novelty_is_unknown_where_the_training_set_is(vae):
    assert "novel" not in text_statistics(vae.sample(5), None)


def test_moments_of_posterior_and_prior_are_compared_by_their_kl():
    unit = torch.tensor([[-1.0], [1.0]]) / math.sqrt(2)  # mean 0, variance 1
    expected = torch.distributions.kl_divergence(
        torch.distributions.Normal(0.5, 0.25), torch.distributions.Normal(0.0, 1.0)
    )
    assert marginal_kl(0.25 * unit + 0.5, unit) == pytest.approx(float(expected), rel=1e-5)
    assert marginal_kl(unit, unit) == 0
    both = torch.cat([0.25 * unit + 0.5, unit], 1)
    assert marginal_kl(both, torch.cat([unit, unit], 1)) == pytest.approx(float(expected) / 2, rel=1e-5)
    assert math.isfinite(marginal_kl(torch.zeros(3, 1), unit))


def test_nearest_neighbours_tell_two_sets_apart():
    line = torch.arange(10.0)[:, None]
    assert two_sample(line, line + 100) == 1
    assert two_sample(2 * line, 2 * line + 0.9) == 0  # in pairs, each point beside one of the other set
    generator = torch.Generator().manual_seed(0)
    alike = two_sample(torch.randn(500, 3, generator=generator), torch.randn(700, 3, generator=generator))
    assert alike == pytest.approx(0.5, abs=0.05)
