"""Is a model fit for campaigns? A few figures, each against a threshold, and what to change where one falls short."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from molvae.vae.evaluation.metrics import active_units, marginal_kl, text_statistics, two_sample, validity
from molvae.vae.evaluation.report import NOISE, come_back, derived, prior_sd, readable
from molvae.vae.model import SmilesVAE

PROBES = 1000
"""Prior samples, and at most so many molecules: a standard error of 1.6 % at worst, in some seconds."""
QUICK_PROBES = 200
"""The same for the check before a campaign: 3.5 % at worst, in about a second."""

Verdict = Literal["ok", "weak", "bad"]


@dataclass(frozen=True)
class Threshold:
    """What a figure should be, and why.

    Attributes:
        words: what is measured.
        ok: as good as this is good.
        bad: not even this makes a model unfit; more than ``ok`` where less is better.
        reason: what a campaign needs it for.
        advice: which setting of the training recipe to change.
    """

    words: str
    ok: float
    bad: float
    reason: str
    advice: str

    def verdict(self, value: float) -> Verdict:
        """Of a measured value."""
        sign = 1 if self.ok > self.bad else -1
        if sign * value >= sign * self.ok:
            return "ok"
        return "weak" if sign * value >= sign * self.bad else "bad"


BETTER_POSTERIOR = "lower train.loss.beta.end, more train.epochs, or a larger net.decoder.hidden"
SMOOTHER = "train.loss.latent_noise.share above 0, higher train.loss.beta.end, or more train.epochs"

THRESHOLDS: dict[str, Threshold] = {
    "reconstruction": Threshold(
        "the same molecule after encoding and decoding",
        ok=0.6,
        bad=0.2,
        reason="moves start at encoded molecules; where those do not come back, a campaign loses what it found",
        advice=BETTER_POSTERIOR,
    ),
    "consistency": Threshold(
        "the same molecule after encoding and decoding, of its own samples",
        ok=0.4,
        bad=0.1,
        reason="candidates are encoded again before they are judged; that should find the molecule that was decoded",
        advice=f"a fitted prior (prior.kind), {BETTER_POSTERIOR}",
    ),
    "validity_near": Threshold(
        f"valid around molecules, noise of {NOISE} prior sd, no grammar",
        ok=0.5,
        bad=0.15,
        reason="most candidates come from there; strings that only the grammar makes valid resemble nothing learned",
        advice=SMOOTHER,
    ),
    "validity_prior": Threshold(
        "valid prior samples, no grammar",
        ok=0.5,
        bad=0.1,
        reason="a campaign may start from the prior; low says that the latent space has holes",
        advice=f"a fitted prior (prior.kind), {SMOOTHER}",
    ),
    "unique": Threshold(
        "different molecules among the valid samples",
        ok=0.9,
        bad=0.1,
        reason="writing few molecules whatever the point leaves little to search; small corpora are weak here",
        advice="lower train.loss.beta.end, or more train.epochs",
    ),
    "active_share": Threshold(
        "active units, share of the dimensions",
        ok=0.4,
        bad=0.05,
        reason="idle dimensions are noise to the search; with hardly any active, the posterior has collapsed",
        advice="lower train.loss.beta.end, or a smaller net.latent",
    ),
    "marginal_kl": Threshold(
        "aggregate posterior against prior, nats a dimension",
        ok=0.05,
        bad=0.5,
        reason="distances are measured in sds of the prior: 0.05 is an sd 20 % off everywhere, 0.5 one of under half",
        advice="a fitted prior (prior.kind), or higher train.loss.beta.end",
    ),
    "two_sample": Threshold(
        "nearest neighbour of the same set, posterior and prior (0.5: alike)",
        ok=0.65,
        bad=0.95,
        reason="near 1, prior samples and molecules lie in different places",
        advice="a fitted prior (prior.kind), or higher train.loss.beta.end",
    ),
}


@dataclass(frozen=True)
class Check:
    """A figure and its threshold."""

    key: str
    value: float
    threshold: Threshold

    @property
    def verdict(self) -> Verdict:
        """ok, weak or bad."""
        return self.threshold.verdict(self.value)

    def __str__(self) -> str:
        words, reason, advice = self.threshold.words, self.threshold.reason, self.threshold.advice
        return f"{words}: {self.value:.3g} ({self.threshold.ok:g} is good); {reason}; to change: {advice}"


@dataclass(frozen=True)
class Diagnosis:
    """All checks of a model, and what they were measured on."""

    checks: tuple[Check, ...]
    molecules: str

    @property
    def fit(self) -> bool:
        """Whether no check is bad."""
        return all(check.verdict != "bad" for check in self.checks)

    @property
    def verdict(self) -> str:
        """In plain words, with what to change."""
        bad = [str(check) for check in self.checks if check.verdict == "bad"]
        weak = [str(check) for check in self.checks if check.verdict == "weak"]
        if bad:
            return "\n  ".join(["not fit for campaigns:", *bad])
        return "\n  ".join(["fit for campaigns, with weak spots:", *weak]) if weak else "fit for campaigns"


def diagnose(vae: SmilesVAE, smiles: Sequence[str] = (), seed: int = 0) -> Diagnosis:
    """Check a model, in 10 to 20 seconds.

    Args:
        vae: the model.
        smiles: canonical SMILES it can read, and better was not trained on. Without any, the molecules are those among
            its own prior samples, and "reconstruction" is left out: "consistency" is the same then.
        seed: of all chance.
    """
    return _diagnose(vae, smiles, PROBES, seed)


def quick_check(vae: SmilesVAE) -> list[str]:
    """What makes the model unfit for campaigns, by few of its own samples; empty where nothing does. About a second."""
    return [str(check) for check in _diagnose(vae, (), QUICK_PROBES, 0).checks if check.verdict == "bad"]


def _diagnose(vae: SmilesVAE, smiles: Sequence[str], probes: int, seed: int) -> Diagnosis:
    prior = vae.prior.sample(probes, seed)
    written = vae.decode(prior, grammar=False)
    statistics = text_statistics(written, None)
    own = readable(vae, written)
    found = {"validity_prior": statistics["validity"], "unique": statistics["unique"]}
    found["consistency"] = come_back(vae, own)
    molecules = list(smiles)[:probes] or own
    if smiles:
        found["reconstruction"] = come_back(vae, molecules)
    if len(molecules) > 1:
        found |= _around(vae, molecules, prior, seed)
    checks = tuple(Check(key, found[key], threshold) for key, threshold in THRESHOLDS.items() if key in found)
    source = "given molecules" if smiles else "different molecules among its own prior samples"
    return Diagnosis(checks, f"{len(molecules)} {source}")


def _around(vae: SmilesVAE, smiles: Sequence[str], prior: Tensor, seed: int) -> dict[str, float]:
    posterior, generator = vae.encode_texts(smiles), torch.Generator().manual_seed(derived(seed, 3))
    moved = posterior.mean + NOISE * prior_sd(vae) * torch.randn(posterior.mean.shape, generator=generator)
    points = posterior.sample(generator)
    return {
        "validity_near": validity(vae.decode(moved, grammar=False)),
        "active_share": active_units(posterior.mean) / vae.latent,
        "marginal_kl": marginal_kl(points, prior),
        "two_sample": two_sample(points, prior),
    }
