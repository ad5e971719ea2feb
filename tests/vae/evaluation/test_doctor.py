import re
from pathlib import Path

import pytest

from molvae.config import _models_at
from molvae.vae.evaluation.doctor import THRESHOLDS, Threshold, diagnose, quick_check
from molvae.vae.training.recipe import TrainRecipe


@pytest.fixture(scope="module")
def doubles(module_at):
    return module_at(Path(__file__).parents[1] / "doubles.py")


@pytest.fixture
def examine(doubles, molecules):
    def verdicts(kind: str, given: bool = True, latent: int = 8):
        diagnosis = diagnose(getattr(doubles, kind)(molecules, latent), molecules if given else ())
        return diagnosis, {check.key: check.verdict for check in diagnosis.checks}

    return verdicts


def test_a_verdict_is_by_two_limits_whichever_way_is_better():
    more = Threshold("share", ok=0.6, bad=0.2, reason="", advice="")
    less = Threshold("distance", ok=0.1, bad=0.5, reason="", advice="")
    assert [more.verdict(value) for value in (0.6, 0.59, 0.2, 0.19)] == ["ok", "weak", "weak", "bad"]
    assert [less.verdict(value) for value in (0.1, 0.11, 0.5, 0.51)] == ["ok", "weak", "weak", "bad"]


def test_advice_names_settings_that_there_are():
    names = {name for threshold in THRESHOLDS.values() for name in re.findall(r"(?:train|net)[.\w]+", threshold.advice)}
    assert "prior" in TrainRecipe.model_fields
    assert {"train.loss.beta.end", "train.loss.latent_noise.share", "net.latent"} <= names
    for name in names:
        *parents, last = name.removesuffix(".").split(".")
        assert any(last in model.model_fields for model in _models_at(TrainRecipe, tuple(parents))), name


def test_a_perfect_model_is_fit(examine):
    diagnosis, verdicts = examine("Perfect")
    assert set(verdicts) == set(THRESHOLDS)
    assert verdicts.pop("unique") != "ok"  # a thousand samples of two hundred molecules
    assert set(verdicts.values()) == {"ok"}
    assert diagnosis.molecules == "200 given molecules"


def test_without_molecules_its_own_samples_serve(examine):
    diagnosis, verdicts = examine("Perfect", given=False)
    assert set(verdicts) == set(THRESHOLDS) - {"reconstruction"}
    assert "of its own" not in diagnosis.molecules
    assert diagnosis.molecules.endswith("different molecules among its own prior samples")


def test_a_collapsed_model_is_not_fit_though_all_its_samples_are_valid(examine):
    for given in (True, False):
        diagnosis, verdicts = examine("Collapsed", given)
        assert verdicts["consistency"] == verdicts["active_share"] == "bad"
        assert verdicts["validity_prior"] == verdicts["validity_near"] == verdicts["marginal_kl"] == "ok"
        assert not diagnosis.fit
        assert diagnosis.verdict.startswith("not fit for campaigns:\n")
        assert "lower train.loss.beta.end, or a smaller net.latent" in diagnosis.verdict


def test_a_model_that_writes_one_molecule_is_not_fit(examine):
    for given in (True, False):
        diagnosis, verdicts = examine("Stuck", given)
        assert verdicts["unique"] == "bad"
        assert verdicts["validity_prior"] == "ok"
        assert not diagnosis.fit


def test_a_model_that_writes_no_molecule_is_not_fit(examine):
    for given in (True, False):
        diagnosis, verdicts = examine("Mute", given)
        assert verdicts["validity_prior"] == verdicts["consistency"] == "bad"
        assert not diagnosis.fit


def test_the_grammar_does_not_hide_what_the_decoder_lacks(examine):
    diagnosis, verdicts = examine("Sloppy")
    assert verdicts["validity_prior"] in ("ok", "weak")
    values = {check.key: check.value for check in diagnosis.checks}
    assert values["validity_prior"] == pytest.approx(0.5, abs=0.06)
    assert values["validity_near"] == pytest.approx(0.5, abs=0.12)


def test_molecules_in_a_corner_of_the_prior_are_told(examine):
    diagnosis, verdicts = examine("Shrunk")
    assert verdicts["marginal_kl"] == "bad"
    assert "a fitted prior" in diagnosis.verdict


def test_the_quick_check_warns_of_what_is_bad_only(doubles, molecules):
    assert quick_check(doubles.Perfect(molecules, 8)) == []
    told = quick_check(doubles.Collapsed(molecules, 8))
    assert any(line.startswith("active units, share of the dimensions: 0 (0.4 is good)") for line in told)
    assert len(quick_check(doubles.Mute(molecules))) >= 2


def test_chance_is_the_seeds_alone(doubles, molecules):
    model = doubles.Sloppy(molecules)
    assert diagnose(model, molecules, 4) == diagnose(model, molecules, 4) != diagnose(model, molecules, 5)
