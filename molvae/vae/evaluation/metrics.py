"""How good a latent space is: likelihood, active units, reconstruction, validity, novelty."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from molvae.arguments import checked
from molvae.chem.molecule import listed, parse_or_none
from molvae.data.corpus import LengthBatches
from molvae.data.training_index import KnownMolecules
from molvae.vae.model import SmilesVAE

ACTIVE = 0.01
"""A latent dimension is active when the variance of its posterior mean over the data exceeds this (Burda 2016)."""


@dataclass(frozen=True)
class Evaluation:
    """The figures of a training as it goes, by the decoder alone; shares are between 0 and 1.

    Attributes:
        nll: −log p(x | z) at one posterior sample, nats per molecule.
        kl: KL(q(z | x) ‖ N(0, I)), nats per molecule.
        active_units: latent dimensions that carry something.
        reconstruction: greedy decodes of the posterior mean that are the same molecule.
        validity_decoded: greedy decodes of the posterior mean that RDKit accepts.
        validity_prior: greedy decodes of prior samples that RDKit accepts.
    """

    nll: float
    kl: float
    active_units: int
    reconstruction: float
    validity_decoded: float
    validity_prior: float


@checked
def evaluate(vae: SmilesVAE, texts: str | Sequence[str], samples: int, seed: int = 0) -> Evaluation:
    """Evaluate on canonical SMILES the model has not seen, and on ``samples`` points of the prior.

    `molvae.vae.evaluation.report.report` measures the rest, in minutes.
    """
    texts = listed(texts)
    nll, kl = likelihood(vae, texts, seed)
    posterior = vae.encode_texts(texts)
    decoded = vae.decode(posterior.mean, grammar=False)
    return Evaluation(
        nll=nll,
        kl=kl,
        active_units=active_units(posterior.mean),
        reconstruction=reconstruction(texts, decoded),
        validity_decoded=validity(decoded),
        validity_prior=validity(vae.sample(samples, seed, grammar=False)),
    )


def likelihood(vae: SmilesVAE, texts: Sequence[str], seed: int = 0) -> tuple[float, float]:
    """Mean nll and mean KL, nats per molecule, with one posterior sample a molecule."""
    generator = torch.Generator().manual_seed(seed)
    nll, kl, count = 0.0, 0.0, 0
    for batch in LengthBatches(tuple(texts), vae.vocab, 512).epoch(seed, 0):
        tokens = torch.from_numpy(batch.tokens).long().to(vae.device)
        noise = torch.randn(len(tokens), vae.latent, generator=generator).to(vae.device)
        with torch.inference_mode():
            terms = vae.net(tokens, noise)
        nll, kl, count = nll + float(terms.nll.sum()), kl + float(terms.kl.sum()), count + len(tokens)
    return nll / count, kl / count


def active_units(mean: Tensor) -> int:
    """Number of dimensions of the posterior means ``(n, latent)`` that vary over the data."""
    return int((mean.var(0) > ACTIVE).sum()) if len(mean) > 1 else 0


def canonical(texts: Sequence[str]) -> list[str | None]:
    """The canonical SMILES of each text, None where RDKit makes no molecule of it."""
    return [None if molecule is None else molecule.smiles for molecule in map(parse_or_none, texts)]


def validity(texts: Sequence[str]) -> float:
    """Share that RDKit makes a molecule of."""
    return float(np.mean([smiles is not None for smiles in canonical(texts)])) if texts else 0.0


def reconstruction(smiles: Sequence[str], decoded: Sequence[str]) -> float:
    """Share of decoded texts that are the same molecule as the canonical SMILES they came from."""
    rest = [(was, text) for was, text in zip(smiles, decoded, strict=True) if text != was]
    read = canonical([text for _, text in rest])
    other = sum(was != found for (was, _), found in zip(rest, read, strict=True))
    return (len(smiles) - other) / len(smiles) if smiles else 0.0


def text_statistics(texts: Sequence[str], known: KnownMolecules | None) -> dict[str, float]:
    """Validity, uniqueness among the valid, and novelty among the unique, where the training molecules are known."""
    valid = [smiles for smiles in canonical(texts) if smiles is not None]
    unique = sorted(set(valid))
    figures = {"validity": len(valid) / max(1, len(texts)), "unique": len(unique) / max(1, len(valid))}
    if known is not None and unique:
        figures["novel"] = float(1 - known.contains(unique).mean())
    return figures


def marginal_kl(points: Tensor, prior: Tensor) -> float:
    """How far the aggregate posterior is from the prior in each dimension, nats, mean over the dimensions.

    KL(N(m, s²) ‖ N(μ, σ²)) = ½ ((s² + (m − μ)²) / σ² − 1 − log(s² / σ²)), with the moments of both sets of points. An
    sd that is 20 % too small everywhere gives 0.04, one of half the size 0.32.

    Args:
        points: draws from the posteriors of many molecules, ``(n, latent)``, n at least 2.
        prior: draws from the prior, ``(m, latent)``, m at least 2.
    """
    variance, width = points.var(0).clamp_min(1e-12), prior.var(0).clamp_min(1e-12)
    offset = (points.mean(0) - prior.mean(0)).square()
    ratio = variance / width
    return float((0.5 * (ratio + offset / width - 1 - ratio.log())).mean())


def two_sample(points: Tensor, prior: Tensor) -> float:
    """Share of points whose nearest other point is of the same set: 0.5 if they are alike, 1 if they lie apart.

    The nearest-neighbour two-sample test (Lopez-Paz and Oquab 2017, arXiv:1610.06545), over equally many of both.
    """
    n = min(len(points), len(prior))
    every = torch.cat([points[:n], prior[:n]])
    apart = torch.cdist(every, every).fill_diagonal_(torch.inf)
    first = torch.arange(2 * n) < n
    return float((first[apart.argmin(1)] == first).float().mean())
