"""How good a latent space is: likelihood, active units, reconstruction, validity, novelty."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from molvae.chem.molecule import parse_or_none
from molvae.vae.corpus import LengthBatches
from molvae.vae.model import SmilesVAE

ACTIVE = 0.01
"""A latent dimension is active when the variance of its posterior mean over the data exceeds this (Burda 2016)."""


@dataclass(frozen=True)
class Evaluation:
    """Figures of one evaluation; shares are between 0 and 1.

    Attributes:
        nll: −log p(x | z) at one posterior sample, nats per molecule.
        kl: KL(q(z | x) ‖ N(0, I)), nats per molecule.
        active_units: latent dimensions that carry something.
        reconstruction: greedy decodes of the posterior mean that equal the input string exactly.
        validity_decoded: greedy decodes of the posterior mean that RDKit accepts.
        validity_prior: greedy decodes of N(0, I) samples that RDKit accepts.
    """

    nll: float
    kl: float
    active_units: int
    reconstruction: float
    validity_decoded: float
    validity_prior: float


def evaluate(vae: SmilesVAE, texts: Sequence[str], samples: int, seed: int = 0) -> Evaluation:
    """Evaluate on canonical SMILES the model has not seen, and on ``samples`` points of the prior."""
    return evaluate_beside(vae, texts, validity(vae.sample(samples, seed)), seed)


def evaluate_beside(vae: SmilesVAE, texts: Sequence[str], validity_prior: float, seed: int = 0) -> Evaluation:
    """As `evaluate`, where the validity of prior samples is known already: decoding them takes longest."""
    nll, kl = likelihood(vae, texts, seed)
    posterior = vae.encode_texts(texts)
    decoded = vae.decode(posterior.mean)
    return Evaluation(
        nll=nll,
        kl=kl,
        active_units=active_units(posterior.mean),
        reconstruction=float(np.mean([a == b for a, b in zip(texts, decoded, strict=True)])),
        validity_decoded=validity(decoded),
        validity_prior=validity_prior,
    )


def likelihood(vae: SmilesVAE, texts: Sequence[str], seed: int = 0) -> tuple[float, float]:
    """Mean nll and mean KL, nats per molecule, with one posterior sample a molecule."""
    generator = torch.Generator().manual_seed(seed)
    nll, kl, count = 0.0, 0.0, 0
    for batch in LengthBatches(tuple(texts), vae.vocab, 512).epoch(seed, 0):
        tokens = torch.from_numpy(batch).long().to(vae.device)
        noise = torch.randn(len(tokens), vae.latent, generator=generator).to(vae.device)
        with torch.inference_mode():
            terms = vae.net(tokens, noise)
        nll, kl, count = nll + float(terms.nll.sum()), kl + float(terms.kl.sum()), count + len(tokens)
    return nll / count, kl / count


def active_units(mean: Tensor) -> int:
    """Number of dimensions of the posterior means ``(n, latent)`` that vary over the data."""
    return int((mean.var(0) > ACTIVE).sum()) if len(mean) > 1 else 0


def validity(texts: Sequence[str]) -> float:
    """Share that RDKit makes a molecule of."""
    return float(np.mean([parse_or_none(text) is not None for text in texts])) if texts else 0.0


def sample_statistics(vae: SmilesVAE, n: int, seed: int = 0) -> dict[str, float]:
    """Validity, uniqueness among the valid, and novelty among the unique, of ``n`` greedy prior samples."""
    parsed = [parse_or_none(text) for text in vae.sample(n, seed)]
    valid = [molecule.smiles for molecule in parsed if molecule is not None]
    unique = sorted(set(valid))
    figures = {"samples": float(n), "validity": len(valid) / n, "unique": len(unique) / max(1, len(valid))}
    if vae.known is not None and unique:
        figures["novel"] = float(1 - vae.known.contains(unique).mean())
    return figures
