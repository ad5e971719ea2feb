import math
from pathlib import Path

import numpy as np
import pytest
import torch
from rdkit import Chem
from rdkit.Chem import Crippen

from molvae.data.training_index import KnownMolecules
from molvae.errors import UsageError
from molvae.vae.evaluation import report as quality
from molvae.vae.evaluation.report import as_rows, as_values, report, sampled_reconstruction
from molvae.vae.prior import Normal

N = 40
KEYS = (
    "samples",
    "validity_prior",
    "unique",
    "validity_normal",
    "consistency",
    "molecules",
    "nll",
    "kl",
    "active_units",
    "reconstruction",
    "validity_decoded",
    "validity_near",
    "validity_between",
    "reconstruction_sampled",
    "marginal_kl",
    "two_sample",
    "log_prior",
    "log_normal",
    "logP_mean_data",
    "logP_mean",
    "logP_mean_difference",
    "logP_sd_data",
    "logP_sd",
    "logP_sd_difference",
    "SAS_mean_data",
    "SAS_mean",
    "SAS_mean_difference",
    "SAS_sd_data",
    "SAS_sd",
    "SAS_sd_difference",
    "QED_mean_data",
    "QED_mean",
    "QED_mean_difference",
    "QED_sd_data",
    "QED_sd",
    "QED_sd_difference",
    "mae_logP",
    "mae_logP_of_mean",
    "similarity_0.1",
    "similarity_0.25",
    "similarity_0.5",
    "similarity_1.0",
    "similarity_2.0",
    "similarity_others",
    "similarity_falls",
)


@pytest.fixture(scope="module")
def doubles(module_at):
    return module_at(Path(__file__).parents[1] / "doubles.py")


@pytest.fixture(autouse=True)
def small(monkeypatch):
    """Few neighbours, and no ChemNet: its distance takes seconds, and has its own test."""
    monkeypatch.setattr(quality, "ANCHORS", 12)
    monkeypatch.setattr(quality, "has_chemnet", lambda: False)


@pytest.fixture
def some(molecules):
    return molecules[:N]


@pytest.fixture
def measure(doubles, some):
    def values(kind: str, n: int = 20, **changes):
        model = getattr(doubles, kind)(some)
        for name, value in changes.items():
            setattr(model, name, value)
        return as_values(report(model, some, n))

    return values


def test_a_perfect_model_has_perfect_figures(measure):
    found = measure("Perfect", n=60)
    for key in ("reconstruction", "validity_prior", "validity_decoded", "validity_near", "validity_between"):
        assert found[key] == found[f"{key}_grammar"] == 1
    assert found["consistency"] == found["reconstruction_sampled"] == 1
    assert (found["nll"], found["kl"], found["active_units"], found["molecules"]) == (3, 2, 4, N)
    assert found["similarity_0.1"] > 0.95
    assert found["similarity_2.0"] < 0.3
    assert found["similarity_falls"] == 1
    assert found["marginal_kl"] < 0.1
    assert 0.3 < found["two_sample"] < 0.7


def test_the_keys_are_stable(measure):
    found = [key for key in measure("Perfect") if not key.endswith("_grammar")]
    assert tuple(found) == KEYS


def test_a_collapsed_posterior_shows_though_every_sample_is_good(measure):
    found = measure("Collapsed")
    assert found["reconstruction"] == 1 / N  # all decode to the molecule nearest to the prior's middle
    assert found["active_units"] == 0
    assert found["reconstruction_sampled"] < 0.1
    assert found["validity_prior"] == 1
    assert found["marginal_kl"] < 0.1


def test_a_decoder_that_writes_one_molecule_is_valid_and_not_unique(measure, some):
    found = measure("Stuck")
    assert found["validity_prior"] == 1
    assert found["unique"] == 1 / 20
    assert found["reconstruction"] == 1 / N
    assert found["consistency"] == 1
    assert found["logP_sd"] == pytest.approx(0)
    assert found["logP_mean"] == pytest.approx(Crippen.MolLogP(Chem.MolFromSmiles(some[0])))
    assert found["similarity_falls"] == 0


def test_a_decoder_that_writes_no_molecule_gets_figures_all_the_same(measure):
    found = measure("Mute")
    for key in ("validity_prior", "unique", "reconstruction", "consistency", "similarity_0.1", "logP_sd"):
        assert found[key] == 0
    assert all(math.isfinite(value) for value in found.values())


def test_both_decoders_stand_side_by_side(measure, doubles, some):
    found = measure("Sloppy", n=60)
    first = doubles.Wide(4).sample(60)[:, 0]
    assert found["validity_prior"] == pytest.approx(float((first >= 1).float().mean()))
    points = doubles.Perfect(some).points
    assert found["reconstruction"] == pytest.approx(float((points[:, 0] >= 1).float().mean()))
    assert found["validity_prior_grammar"] == found["reconstruction_grammar"] == found["consistency_grammar"] == 1


def test_the_protocol_counts_every_draw(doubles, some):
    """Half of the draws go wrong, by their seeds."""
    assert sampled_reconstruction(doubles.Unsteady(some), some) == 0.5


def test_densities_are_means_over_the_molecules(measure, doubles, some):
    points = doubles.Perfect(some).points.double()
    found = measure("Perfect", n=10)
    wide = (-0.5 * ((points - 1) / 2).square() - math.log(2) - 0.5 * math.log(2 * math.pi)).sum(1).mean()
    normal = (-0.5 * points.square() - 0.5 * math.log(2 * math.pi)).sum(1).mean()
    assert found["log_prior"] == pytest.approx(float(wide), abs=1e-4)
    assert found["log_normal"] == pytest.approx(float(normal), abs=1e-4)


def test_a_standard_normal_prior_is_not_compared_with_itself(measure):
    found = measure("Perfect", n=10, prior=Normal(4))
    assert not {"validity_normal", "log_normal"} & set(found)


def test_properties_are_compared_with_those_of_rdkit(measure, some):
    found = measure("Perfect", n=10)
    logp = np.array([Crippen.MolLogP(Chem.MolFromSmiles(smiles)) for smiles in some])
    assert found["mae_logP"] == pytest.approx(0.5, abs=1e-6)
    assert found["mae_logP_of_mean"] == pytest.approx(np.abs(logp - logp.mean()).mean())
    assert found["logP_mean_data"] == pytest.approx(logp.mean())
    assert found["logP_sd_data"] == pytest.approx(logp.std())
    assert found["logP_mean_difference"] == pytest.approx(found["logP_mean"] - logp.mean())
    assert "mae_logP" not in measure("Perfect", n=10, properties=())


def test_novelty_is_against_what_the_model_knows(measure, some):
    assert measure("Perfect", known=KnownMolecules.of(some))["novel"] == 0
    assert measure("Perfect", known=KnownMolecules.of(["CCO"]))["novel"] == 1


def test_without_molecules_the_samples_alone_are_measured(doubles, some):
    found = as_values(report(doubles.Perfect(some), [], 50))
    assert [key for key in found if not key.endswith("_grammar")] == [*KEYS[:5]]


def test_the_noise_around_molecules_is_in_sds_of_the_prior(doubles, some):
    class Counting(doubles.Perfect):
        seen: tuple = ()

        def decode(self, z, temperature=None, seed=0, grammar=True):
            self.seen = (*self.seen, z)
            return super().decode(z, temperature, seed, grammar)

    model = Counting(some)
    report(model, some, 10)
    offsets = [float((z - model.points).std()) for z in model.seen if z.shape == model.points.shape]
    assert any(offset == pytest.approx(0.5 * 2, rel=0.1) for offset in offsets)


def test_progress_names_what_comes(doubles, some):
    told = []
    report(doubles.Perfect(some), some, 10, progress=lambda *what: told.append(what))
    assert [(done, parts) for done, parts, _ in told] == [(k, 7) for k in range(7)]
    assert told[0][2] == "samples"


@pytest.mark.parametrize(("n", "samples"), [(1, 10), (0, 1)])
def test_too_few_are_refused(doubles, some, n, samples):
    with pytest.raises(UsageError, match="2 or more"):
        report(doubles.Perfect(some), some[:n], samples)


def test_tables_show_percent_and_leave_blank_what_there_is_not(doubles, some):
    tables = as_rows(report(doubles.Sloppy(some), some, 10, seed=1))
    first = float((doubles.Wide(4).sample(10, 1)[:, 0] >= 1).float().mean())
    assert tables["Samples of the prior"][0] == {
        "figure": "samples",
        "value": "10",
        "with grammar": "",
        "unit": "molecules",
    }
    assert tables["Samples of the prior"][1]["value"] == f"{100 * first:.2f}"
    assert tables["Samples of the prior"][1]["with grammar"] == "100.00"
    assert tables["Encoded molecules"][1]["value"] == "3.000"


def test_chance_is_the_seeds_alone(doubles, some):
    model = doubles.Sloppy(some)
    first, second, other = (as_values(report(model, some, 30, seed)) for seed in (5, 5, 2**62))
    assert first == second != other


def test_chemnet_is_asked_where_it_is_installed(measure, monkeypatch):
    class Distance:
        def __init__(self, smiles):
            self.n = len(smiles)

        def distance(self, smiles):
            return self.n + len(smiles) / 1000

    monkeypatch.setattr(quality, "has_chemnet", lambda: True)
    monkeypatch.setattr(quality, "FrechetChemNet", Distance)
    found = measure("Sloppy", n=50)
    assert found["fcd_grammar"] == N + 0.05
    assert N < found["fcd"] < N + 0.05
    assert "fcd" not in measure("Mute", n=50)


def test_noise_differs_between_its_uses(doubles, some):
    bench = quality.Bench(doubles.Perfect(some), (), None, 2, 3)
    assert torch.equal(bench.noise(1, 2, 3), bench.noise(1, 2, 3))
    assert not torch.equal(bench.noise(1, 2, 3), bench.noise(2, 2, 3))
