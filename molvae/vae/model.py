"""SmilesVAE: encoder ∘ posterior ∘ decoder, between strings and vectors."""

import math
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from molvae.chem.molecule import Molecule
from molvae.errors import SmilesError, UsageError
from molvae.vae.generate import generate
from molvae.vae.known import KnownMolecules
from molvae.vae.nets import Net, gaussian_kl
from molvae.vae.vocab import Vocab

ENCODE_BATCH = 1024
COLDEST = 1e-3
"""Lowest temperature: below it the noise drowns in the rounding of float32."""


@dataclass(frozen=True)
class Posterior:
    """q(z | x): independent Gaussians, ``mean`` and ``logvar`` both ``(batch, latent)`` float32."""

    mean: Tensor
    logvar: Tensor

    def sample(self, generator: torch.Generator | None = None) -> Tensor:
        """One draw each, ``(batch, latent)``."""
        noise = torch.randn(self.mean.shape, generator=generator).to(self.mean.device)
        return self.mean + noise * torch.exp(0.5 * self.logvar)

    def kl(self) -> Tensor:
        """KL to the standard normal in nats per molecule, ``(batch,)``."""
        return gaussian_kl(self.mean, self.logvar).sum(-1)


class SmilesVAE:
    """A trained model: SMILES to latent points and back.

    Args:
        net: the weights; put into evaluation mode.
        vocab: its characters.
        longest: most characters it writes, and reads.
        fingerprint: hash of the weights where they came from a model folder.
        known: which molecules it was trained on, where that was recorded.

    Example:
        >>> vae = molvae.load("zinc250k")
        >>> posterior = vae.encode(["CC(=O)Oc1ccccc1C(=O)O"])
        >>> vae.decode(posterior.mean)
    """

    def __init__(
        self, net: Net, vocab: Vocab, longest: int, fingerprint: str = "", known: KnownMolecules | None = None
    ) -> None:
        self.net, self.vocab, self.longest = net.eval(), vocab, longest
        self.fingerprint, self.known = fingerprint, known

    @property
    def latent(self) -> int:
        """Dimensions of the latent space."""
        return self.net.settings.latent

    @property
    def device(self) -> torch.device:
        """Where the weights are."""
        return next(self.net.parameters()).device

    def encode(self, smiles: Sequence[str]) -> Posterior:
        """The posterior of each molecule, in order; each SMILES is brought to its canonical form first.

        Raises:
            InvalidSmiles: RDKit cannot read it.
            UnknownCharacter: the canonical SMILES has a character the model never saw.
            SmilesError: it is longer than the model reads.
        """
        return self.encode_texts([Molecule.parse(text).smiles for text in smiles])

    def encode_texts(self, texts: Sequence[str]) -> Posterior:
        """The posterior of each string just as it stands, valid or not; raises as `encode` does."""
        by_length: dict[int, list[int]] = defaultdict(list)
        tokens = [self._tokens(text) for text in texts]
        for row, ids in enumerate(tokens):
            by_length[len(ids)].append(row)
        mean = torch.zeros(len(texts), self.latent)
        logvar = torch.zeros_like(mean)
        for rows in by_length.values():
            for start in range(0, len(rows), ENCODE_BATCH):
                part = rows[start : start + ENCODE_BATCH]
                with torch.inference_mode():
                    found = self.net.encoder(torch.tensor([tokens[row] for row in part], device=self.device))
                mean[part], logvar[part] = found[0].cpu(), found[1].cpu()
        return Posterior(mean, logvar)

    def decode(self, z: Tensor, temperature: float | None = None, seed: int = 0) -> list[str]:
        """The string that each latent point decodes to; it need not be a valid molecule.

        Args:
            z: ``(batch, latent)``.
            temperature: None for the likeliest characters; else they are drawn, 1 being the model's own odds.
            seed: of those draws.

        Raises:
            UsageError: ``z`` has another shape, or the temperature is not a positive number.
        """
        if temperature is not None and not COLDEST <= temperature < math.inf:
            raise UsageError(f"a temperature is at least {COLDEST}, or absent for the likeliest; it is {temperature}")
        z = torch.as_tensor(z, dtype=torch.float32).to(self.device)
        if z.dim() != 2 or z.shape[1] != self.latent:
            raise UsageError(f"latent points come as (n, {self.latent}) for this model; these are {tuple(z.shape)}")
        generator = torch.Generator().manual_seed(seed)
        ids = generate(self.net.decoder, z, self.longest, temperature, generator)
        return [self.vocab.decode(row) for row in ids.cpu().tolist()]

    def sample(self, n: int, seed: int = 0, temperature: float | None = None) -> list[str]:
        """Strings decoded from ``n`` points of the prior N(0, I)."""
        z = torch.randn(n, self.latent, generator=torch.Generator().manual_seed(seed))
        return self.decode(z, temperature, seed + 1)

    def check(self, text: str) -> None:
        """Raise, as `encode_texts` would, if the model cannot read this string."""
        self._tokens(text)

    def reads(self, text: str) -> bool:
        """Whether the model can encode this string."""
        try:
            self._tokens(text)
        except SmilesError:
            return False
        return True

    def _tokens(self, text: str) -> list[int]:
        if not text:
            raise SmilesError(text, "an empty string cannot be encoded")
        if len(text) > self.longest:
            raise SmilesError(text, f"longer than the {self.longest} characters this model reads")
        return self.vocab.encode(text)
