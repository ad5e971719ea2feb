"""The full evaluation of a model: every figure by which generative models of molecules are compared.

Each figure of decoded strings stands twice: by the decoder alone, and with the grammar that masks what may not follow.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from molvae.chem.fingerprints import nearest_similarity
from molvae.chem.molecule import Molecule, parse_or_none
from molvae.errors import UsageError
from molvae.folders import sha256
from molvae.vae.evaluation.distribution import PROPERTIES, FrechetChemNet, has_chemnet, measured
from molvae.vae.evaluation.metrics import (
    active_units,
    canonical,
    likelihood,
    marginal_kl,
    reconstruction,
    text_statistics,
    two_sample,
    validity,
)
from molvae.vae.folder import find_model, model_facts, save_model
from molvae.vae.model import Posterior, SmilesVAE
from molvae.vae.prior import Normal

NOISE = 0.5
"""Sd of the noise around encoded molecules, in sds of the prior: about what a campaign's moves amount to."""
ENCODINGS = DECODINGS = 10
"""Draws a molecule in the protocol of the JT-VAE (Jin et al. 2018, arXiv:1802.04364): 100 decodes in all."""
PROTOCOL_MOLECULES = 1000
"""Molecules it is measured on; with 100 decodes each the standard error of the share is about one in a hundred."""
SOME = 1000
"""Molecules, or pairs of them, that the slower figures are measured on."""
DISTANCES = (0.1, 0.25, 0.5, 1.0, 2.0)
"""Sds of the noise, in sds of the prior, at which decoded neighbours are compared with their molecule."""
ANCHORS, NEIGHBOURS = 200, 5
GRAMMARS = (False, True)

ENCODED, SAMPLED = "Encoded molecules", "Samples of the prior"
MATCH, LIKENESS = "Posterior and prior", "Samples against the molecules"
PROPERTY, NEAR = "Properties predicted from z", "Neighbours in latent space"

Progress = Callable[[int, int, str], object]


@dataclass(frozen=True)
class Figure:
    """One measured figure.

    Attributes:
        group: the heading it stands under.
        key: its stable name; ``<key>_grammar`` is that of the value with the grammar.
        words: what it is.
        unit: "%" for a share, which ``value`` has between 0 and 1.
        value: by the decoder alone, where it is about decoded strings.
        grammar: the same with the grammar, where that makes a difference.
    """

    group: str
    key: str
    words: str
    unit: str
    value: float
    grammar: float | None = None


@dataclass(frozen=True)
class Bench:
    """What all measurements share: the model, the molecules and their posterior, and chance."""

    vae: SmilesVAE
    smiles: tuple[str, ...]
    posterior: Posterior
    samples: int
    seed: int

    def noise(self, stream: int, *shape: int) -> Tensor:
        """Standard normal noise; another one for each ``stream``."""
        return torch.randn(*shape, generator=torch.Generator().manual_seed(derived(self.seed, stream)))

    def decode(self, z: Tensor) -> tuple[list[str], list[str]]:
        """Greedy decodes by the decoder alone, and with the grammar."""
        raw, constrained = (self.vae.decode(z, grammar=grammar) for grammar in GRAMMARS)
        return raw, constrained

    @cached_property
    def drawn(self) -> tuple[list[str], list[str]]:
        """Such decodes of samples of the prior."""
        return self.decode(self.vae.prior.sample(self.samples, self.seed))


def report(
    vae: SmilesVAE, smiles: Sequence[str], samples: int, seed: int = 0, progress: Progress | None = None
) -> list[Figure]:
    """Every figure of a model; some minutes for 10,000 samples and as many molecules on two cores.

    Args:
        vae: the model.
        smiles: canonical SMILES it was not trained on and can read, two or more; or none, for the samples alone.
        samples: of the prior, 2 or more.
        seed: of all chance.
        progress: called before each part with the parts done, all parts and what comes now.

    Raises:
        UsageError: a single molecule, or a single sample.
    """
    if len(smiles) == 1 or samples < 2:
        raise UsageError("an evaluation needs 2 or more samples, and 2 or more molecules or none")
    bench = Bench(vae, tuple(smiles), vae.encode_texts(smiles), samples, seed)
    parts: dict[str, Callable[[Bench], Iterator[Figure]]] = {"samples": _samples}
    if smiles:
        parts |= {
            "reconstruction": _encoded,
            "sampled reconstruction": _protocol,
            "posterior and prior": _match,
            "likeness": _likeness,
            "properties": _properties,
            "neighbours": _neighbours,
        }
    figures: list[Figure] = []
    for k, (name, measure) in enumerate(parts.items()):
        if progress is not None:
            progress(k, len(parts), name)
        figures += measure(bench)
    return figures


def as_values(figures: Sequence[Figure]) -> dict[str, float]:
    """The figures by their keys, those with the grammar as ``<key>_grammar``."""
    values: dict[str, float] = {}
    for figure in figures:
        values[figure.key] = figure.value
        if figure.grammar is not None:
            values[f"{figure.key}_grammar"] = figure.grammar
    return values


def as_rows(figures: Sequence[Figure]) -> dict[str, list[dict[str, str]]]:
    """Tables for people, by their headings, with the columns "figure", "value", "with grammar" and "unit"."""
    tables: dict[str, list[dict[str, str]]] = {}
    for figure in figures:
        shown = [_shown(value, figure.unit) for value in (figure.value, figure.grammar)]
        row = {"figure": figure.words, "value": shown[0], "with grammar": shown[1], "unit": figure.unit}
        tables.setdefault(figure.group, []).append(row)
    return tables


def put_on_card(
    model: str | Path, vae: SmilesVAE, figures: Sequence[Figure], source: Path | None, samples: int, seed: int
) -> Path:
    """Write the figures into the model's facts and card; its weights stay as they are. Gives the card's path.

    Args:
        model: the folder or name that ``vae`` was loaded from.
        vae: that model.
        figures: of `report`.
        source: the file of the molecules, where there were any.
        samples, seed: as `report` was given them.
    """
    folder = find_model(model)
    molecules = None if source is None else {"name": source.name, "sha256": sha256(source)}
    measured_on = {"n": samples, "seed": seed, "molecules": molecules}
    evaluation = {**measured_on, "figures": as_values(figures), "tables": as_rows(figures)}
    save_model(folder, vae, {**model_facts(folder), "evaluation": evaluation})
    return folder / "card.md"


def _shown(value: float | None, unit: str) -> str:
    if value is None:
        return ""
    if unit == "%":
        return f"{100 * value:.2f}"
    return f"{value:.0f}" if unit in ("molecules", "dimensions", "1 yes, 0 no") else f"{value:.3f}"


def _samples(bench: Bench) -> Iterator[Figure]:
    vae = bench.vae
    yield Figure(SAMPLED, "samples", "samples", "molecules", bench.samples)
    raw, constrained = (text_statistics(texts, vae.known) for texts in bench.drawn)
    for key, name, words in (
        ("validity_prior", "validity", "valid"),
        ("unique", "unique", "unique, of the valid"),
        ("novel", "novel", "not a training molecule, of the unique"),
    ):
        if name in raw and name in constrained:
            yield Figure(SAMPLED, key, words, "%", raw[name], constrained[name])
    if not isinstance(vae.prior, Normal):
        normal = bench.decode(bench.noise(1, bench.samples, vae.latent))
        yield Figure(SAMPLED, "validity_normal", "valid, of points of N(0, I)", "%", *map(validity, normal))
    again = [come_back(vae, readable(vae, bench.drawn[grammar][:SOME]), grammar) for grammar in GRAMMARS]
    yield Figure(SAMPLED, "consistency", "the same after encoding and decoding, of the valid", "%", *again)


def come_back(vae: SmilesVAE, smiles: Sequence[str], grammar: bool = False) -> float:
    """Share of canonical SMILES that are the same molecule after encoding and greedy decoding; 0 of none."""
    return reconstruction(smiles, vae.decode(vae.encode_texts(smiles).mean, grammar=grammar)) if smiles else 0.0


def readable(vae: SmilesVAE, texts: Sequence[str]) -> list[str]:
    """The molecules among the texts that the model can encode, canonical, each once, in order."""
    return list(dict.fromkeys(s for s in canonical(texts) if s is not None and vae.reads(s)))


def derived(seed: int, stream: int) -> int:
    """Another seed for each stream, under 1000, of chance; one that torch takes."""
    return (1000 * seed + stream) % 2**63


def prior_sd(vae: SmilesVAE) -> Tensor:
    """Standard deviation of the prior in each dimension, ``(latent,)``, from samples."""
    return vae.prior.sample(10_000, 0).std(0)


def _encoded(bench: Bench) -> Iterator[Figure]:
    vae, mean = bench.vae, bench.posterior.mean
    nll, kl = likelihood(vae, bench.smiles, bench.seed)
    yield Figure(ENCODED, "molecules", "molecules", "molecules", len(mean))
    yield Figure(ENCODED, "nll", "−log p(x | z)", "nats a molecule", nll)
    yield Figure(ENCODED, "kl", "KL of the posterior to N(0, I)", "nats a molecule", kl)
    yield Figure(ENCODED, "active_units", f"active units, of {vae.latent}", "dimensions", active_units(mean))
    decoded = bench.decode(mean)
    same = (reconstruction(bench.smiles, texts) for texts in decoded)
    yield Figure(ENCODED, "reconstruction", "the same molecule, greedy, from the posterior mean", "%", *same)
    yield Figure(ENCODED, "validity_decoded", "valid, posterior mean", "%", *map(validity, decoded))
    moved = bench.decode(mean + NOISE * prior_sd(vae) * bench.noise(2, *mean.shape))
    words = f"valid, posterior mean with noise of {NOISE} prior sd"
    yield Figure(ENCODED, "validity_near", words, "%", *map(validity, moved))
    between = bench.decode((mean[:SOME] + mean[:SOME].roll(1, 0)) / 2)
    yield Figure(ENCODED, "validity_between", "valid, midpoints of two molecules", "%", *map(validity, between))


def _protocol(bench: Bench) -> Iterator[Figure]:
    smiles = bench.smiles[:PROTOCOL_MOLECULES]
    share = sampled_reconstruction(bench.vae, smiles, bench.seed)
    draws = f"{ENCODINGS} encodings × {DECODINGS} decodings drawn, {len(smiles)} molecules"
    yield Figure(ENCODED, "reconstruction_sampled", f"the same molecule, {draws}", "%", share)


def sampled_reconstruction(vae: SmilesVAE, smiles: Sequence[str], seed: int = 0) -> float:
    """Share of exact hits when each molecule is encoded by 10 draws, and each of them decoded by 10 at temperature 1.

    The protocol of Jin et al. 2018 (arXiv:1802.04364), by the decoder alone.
    """
    posterior, generator = vae.encode_texts(smiles), torch.Generator().manual_seed(seed)
    shares = []
    for encoding in range(ENCODINGS):
        z = posterior.sample(generator)
        for decoding in range(DECODINGS):
            draw = derived(seed, 100 + encoding * DECODINGS + decoding)
            shares.append(reconstruction(smiles, vae.decode(z, temperature=1.0, seed=draw, grammar=False)))
    return float(np.mean(shares))


def _match(bench: Bench) -> Iterator[Figure]:
    vae = bench.vae
    points = bench.posterior.sample(torch.Generator().manual_seed(bench.seed))
    prior = vae.prior.sample(max(2, len(points)), bench.seed + 1)
    words = "KL of the aggregate posterior to the prior, by moments"
    yield Figure(MATCH, "marginal_kl", words, "nats a dimension", marginal_kl(points, prior))
    apart = two_sample(points[:SOME], prior[:SOME])
    yield Figure(MATCH, "two_sample", "points whose nearest is of their own set (50: alike)", "%", apart)
    inside = float(vae.prior.log_prob(points).mean())
    yield Figure(MATCH, "log_prior", "log density of the prior at encoded molecules", "nats a molecule", inside)
    if not isinstance(vae.prior, Normal):
        normal = float(Normal(vae.latent).log_prob(points).mean())
        yield Figure(MATCH, "log_normal", "log density of N(0, I) at encoded molecules", "nats a molecule", normal)


def _likeness(bench: Bench) -> Iterator[Figure]:
    valid = [[smiles for smiles in canonical(texts) if smiles is not None] for texts in bench.drawn]
    data = measured(bench.smiles)
    sampled = [measured(smiles) for smiles in valid]
    for name in PROPERTIES:
        for key, words, statistic in (("mean", "mean", np.mean), ("sd", "standard deviation", np.std)):
            truth = float(statistic(data[name]))
            found = [float(statistic(values[name])) if len(values[name]) else 0.0 for values in sampled]
            unit = {"logP": "log10 ratio", "SAS": "1 to 10", "QED": "0 to 1"}[name]
            yield Figure(LIKENESS, f"{name}_{key}_data", f"{name}, {words}: the molecules", unit, truth)
            yield Figure(LIKENESS, f"{name}_{key}", f"{name}, {words}: samples", unit, *found)
            apart = (value - truth for value in found)
            yield Figure(LIKENESS, f"{name}_{key}_difference", f"{name}, {words}: difference", unit, *apart)
    if has_chemnet() and all(len(smiles) > 1 for smiles in valid):
        chemnet = FrechetChemNet(bench.smiles)
        distances = (chemnet.distance(smiles) for smiles in valid)
        yield Figure(LIKENESS, "fcd", "Fréchet ChemNet distance of the valid samples", "", *distances)


def _properties(bench: Bench) -> Iterator[Figure]:
    names = bench.vae.properties
    if not names:
        return
    predicted = bench.vae.predict(bench.posterior.mean).cpu().numpy()
    truth = measured(bench.smiles, names)
    for column, name in enumerate(names):
        if name in truth:
            error = float(np.abs(predicted[:, column] - truth[name]).mean())
            blind = float(np.abs(truth[name] - truth[name].mean()).mean())
            yield Figure(PROPERTY, f"mae_{name}", f"{name}, mean absolute error", "of the property", error)
            yield Figure(PROPERTY, f"mae_{name}_of_mean", f"{name}, if the mean is predicted", "of the property", blind)


def _neighbours(bench: Bench) -> Iterator[Figure]:
    anchors = [Molecule.parse(smiles) for smiles in bench.smiles[:ANCHORS]]
    mean = bench.posterior.mean[:ANCHORS].repeat(NEIGHBOURS, 1)
    unit, alike = "Tanimoto, Morgan 2, 2048 bits", []
    for k, distance in enumerate(DISTANCES):
        moved = bench.decode(mean + distance * prior_sd(bench.vae) * bench.noise(10 + k, *mean.shape))
        alike.append([_similarity(anchors * NEIGHBOURS, texts) for texts in moved])
        words = f"a molecule and its decoded neighbours, noise of {distance} prior sd"
        yield Figure(NEAR, f"similarity_{distance}", words, unit, *alike[-1])
    others = [molecule.smiles for molecule in anchors[1:] + anchors[:1]]
    yield Figure(NEAR, "similarity_others", "two molecules of the file", unit, _similarity(anchors, others))
    falls = [float(all(near > far for near, far in pairwise(values))) for values in zip(*alike, strict=True)]
    yield Figure(NEAR, "similarity_falls", "the farther, the less alike, at each distance", "1 yes, 0 no", *falls)


def _similarity(molecules: Sequence[Molecule], texts: Sequence[str]) -> float:
    """Mean Tanimoto similarity of each molecule to the text beside it, where that is a molecule; 0 if none is."""
    pairs = zip(molecules, map(parse_or_none, texts), strict=True)
    found = [nearest_similarity([one], [other])[0] for one, other in pairs if other is not None]
    return float(np.mean(found)) if found else 0.0
