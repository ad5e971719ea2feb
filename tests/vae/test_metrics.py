import math

import pytest
import torch

from molvae.chem.molecule import parse_or_none
from molvae.errors import DataError
from molvae.vae.metrics import active_units, evaluate, likelihood, sample_statistics, validity


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
    assert kl == pytest.approx(float(vae.encode_texts(molecules).kl().mean()), rel=1e-5)


def test_an_ignorant_decoder_pays_the_logarithm_of_its_characters(vae):
    with torch.no_grad():
        for weights in vae.net.decoder.logits.parameters():
            weights.zero_()
    nll, _ = likelihood(vae, ["CCCC", "CCCCCCCC"])  # 5 and 9 characters with the end
    assert nll == pytest.approx(7 * math.log(len(vae.vocab)), rel=1e-6)


def test_an_evaluation_counts_what_it_says(vae, molecules):
    figures = evaluate(vae, molecules, 100, seed=3)
    decoded = vae.decode(vae.encode_texts(molecules).mean)
    assert figures.reconstruction == sum(a == b for a, b in zip(molecules, decoded, strict=True)) / len(molecules)
    assert figures.validity_decoded == validity(decoded)
    assert figures.validity_prior == validity(vae.sample(100, 3))
    assert figures.active_units == vae.latent
    assert figures == evaluate(vae, molecules, 100, seed=3)


def test_nothing_cannot_be_evaluated(vae):
    with pytest.raises(DataError, match="no molecules"):
        evaluate(vae, [], 10)


def test_sample_statistics_are_of_canonical_molecules(vae, monkeypatch, molecules):
    texts = ["OCC", "CCO", "C1CC", molecules[0]]
    monkeypatch.setattr(vae, "sample", lambda n, seed: texts)
    assert "CCO" not in molecules
    assert parse_or_none(molecules[0]).smiles == molecules[0]
    assert sample_statistics(vae, 4) == {"samples": 4.0, "validity": 0.75, "unique": 2 / 3, "novel": 0.5}


def test_novelty_is_unknown_where_the_training_set_is(vae):
    vae.known = None
    assert "novel" not in sample_statistics(vae, 5)
