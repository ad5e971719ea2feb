"""SmilesVAE: encoder ∘ posterior ∘ decoder, between strings and vectors."""

import math
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from molvae.arguments import checked
from molvae.chem.molecule import Molecule, listed, parse_or_none
from molvae.data.training_index import KnownMolecules
from molvae.data.vocab import Vocab
from molvae.errors import SmilesError, UnknownCharacter, UsageError, shorten
from molvae.vae.decoding import beam, generate
from molvae.vae.nets.nets import Net, gaussian_kl
from molvae.vae.prior import PRIORS, Normal, Prior

if TYPE_CHECKING:  # it loads numba, which few decodings need
    from molvae.vae.grammar.mask import Grammar

ENCODE_BATCH = 1024
MIN_TEMPERATURE = 1e-3
"""Lowest temperature: below it the noise drowns in the rounding of float32."""
BEAM_WIDTH = 4
"""Strings of a beam among which one is sought that RDKit accepts, where the likeliest is refused."""


@dataclass(frozen=True)
class Posterior:
    """q(z | x): independent Gaussians, ``mean`` and ``logvar`` both ``(batch, latent)`` float32."""

    mean: Tensor
    logvar: Tensor

    @checked
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
        prior: what `sample` draws points from; N(0, I) by default.

    Example:
        >>> vae = molvae.load("zinc250k")
        >>> posterior = vae.encode(["CC(=O)Oc1ccccc1C(=O)O"])
        >>> vae.decode(posterior.mean)
    """

    def __init__(
        self,
        net: Net,
        vocab: Vocab,
        longest: int,
        fingerprint: str = "",
        known: KnownMolecules | None = None,
        prior: Prior | None = None,
    ) -> None:
        self.net, self.vocab, self.longest = net.eval(), vocab, longest
        self.fingerprint, self.known = fingerprint, known
        self.prior: Prior = Normal(self.latent) if prior is None else prior

    def __repr__(self) -> str:
        weights = sum(part.numel() for part in self.net.parameters()) / 1e6
        predicts = f", predicts {', '.join(self.properties)}" if self.properties else ""
        prior = PRIORS.kind_of(type(self.prior.settings))
        return (
            f"SmilesVAE({self.latent} latent dimensions, {len(self.vocab.characters)} characters, strings of up to "
            f"{self.longest}, {weights:.1f} million weights, {prior} prior{predicts})"
        )

    @property
    def latent(self) -> int:
        """Dimensions of the latent space."""
        return self.net.settings.latent

    @property
    def device(self) -> torch.device:
        """Where the weights are."""
        return next(self.net.parameters()).device

    @property
    def properties(self) -> tuple[str, ...]:
        """What `predict` predicts."""
        return self.net.settings.properties

    @cached_property
    def grammar(self) -> "Grammar":
        """Which characters of the vocabulary may follow each other."""
        from molvae.vae.grammar.mask import Grammar

        return Grammar(self.vocab, self.longest)

    def encode(self, smiles: str | Sequence[str]) -> Posterior:
        """The posterior of each molecule, in order; each SMILES is brought to its canonical form first.

        Args:
            smiles: several, or a single one.

        Raises:
            UsageError: something else than strings.
            InvalidSmiles: RDKit cannot read it.
            UnknownCharacter: the canonical SMILES has a character the model never saw.
            SmilesError: it is longer than the model reads.
        """
        return self.encode_texts([Molecule.parse(text).smiles for text in listed(smiles)])

    def encode_texts(self, texts: str | Sequence[str]) -> Posterior:
        """The posterior of each string just as it stands, valid or not; raises as `encode` does."""
        texts = listed(texts)
        tokens = [self._tokens(text) for text in texts]
        longest_first = sorted(range(len(texts)), key=lambda row: -len(tokens[row]))
        mean = torch.zeros(len(texts), self.latent)
        logvar = torch.zeros_like(mean)
        for start in range(0, len(texts), ENCODE_BATCH):
            rows = longest_first[start : start + ENCODE_BATCH]
            with torch.inference_mode():
                found = self.net.read([tokens[row] for row in rows])
            mean[rows], logvar[rows] = found[0].cpu(), found[1].cpu()
        return Posterior(mean, logvar)

    def decode(self, z: Tensor, temperature: float | None = None, seed: int = 0, grammar: bool = True) -> list[str]:
        """The string that each latent point decodes to.

        Without the grammar it is what the decoder writes alone. With it, where RDKit refuses that string, another one
        that it accepts stands instead: the likeliest of a beam or, where that has none, of a beam that writes only
        what the grammar allows; before these, where characters are drawn, one drawn from what the grammar allows.
        Where RDKit accepts none of them, the first string stays: it need not be a valid molecule.

        Args:
            z: ``(batch, latent)``.
            temperature: None for the likeliest characters; else they are drawn, 1 being the model's own odds.
            seed: of those draws.
            grammar: False for what the decoder writes by itself.

        Raises:
            UsageError: ``z`` has another shape, or the temperature is not a positive number.
        """
        if temperature is not None and not MIN_TEMPERATURE <= temperature < math.inf:
            raise UsageError(
                f"a temperature is at least {MIN_TEMPERATURE}, or absent for the likeliest; it is {temperature}"
            )
        z = self._points(z)
        generator = torch.Generator().manual_seed(seed)

        def written(points: Tensor, allowed: "Grammar | None") -> list[list[str]]:
            ids = generate(self.net.decoder, points, self.longest, temperature, generator, allowed)
            return [[self.vocab.decode(row)] for row in ids.cpu().tolist()]

        def likeliest(points: Tensor, allowed: "Grammar | None") -> list[list[str]]:
            found = beam(self.net.decoder, points, self.longest, allowed, BEAM_WIDTH)
            return [[self.vocab.decode(ids) for ids in ways.tolist()] for ways in found]

        texts = [text for (text,) in written(z, None)]
        if not grammar:
            return texts
        refused = [row for row, text in enumerate(texts) if parse_or_none(text) is None]
        drawn = [] if temperature is None else [(written, self.grammar)]
        for way, allowed in [*drawn, (likeliest, None), (likeliest, self.grammar)]:
            others = way(z[refused], allowed)
            valid = [next((text for text in some if parse_or_none(text) is not None), None) for some in others]
            for row, text in zip(refused, valid, strict=True):
                texts[row] = text or texts[row]
            refused = [row for row, text in zip(refused, valid, strict=True) if text is None]
        return texts

    @checked
    def sample(self, n: int, seed: int = 0, temperature: float | None = None, grammar: bool = True) -> list[str]:
        """Strings decoded from ``n`` points of the prior.

        Raises:
            UsageError: ``n`` is negative, or the temperature is not a positive number.
        """
        if n < 0:
            raise UsageError(f"n is 0 or more samples; it is {n}")
        return self.decode(self.prior.sample(n, seed), temperature, seed + 1, grammar)

    def predict(self, z: Tensor) -> Tensor:
        """The properties of latent points in their own units, ``(batch, len(properties))`` float32 on the CPU.

        Raises:
            UsageError: the model was trained without properties, or ``z`` has another shape.
        """
        if not self.properties:
            raise UsageError("this model predicts no properties; train one with net.properties in its recipe")
        with torch.inference_mode():
            return self.net.predict(self._points(z)).float().cpu()

    def check(self, text: str) -> None:
        """Raise, as `encode_texts` would, if the model cannot read this string."""
        self._tokens(text)

    def reads(self, text: str) -> bool:
        """Whether the model can encode this string."""
        return 0 < len(text) <= self.longest and all(character in self.vocab.characters for character in text)

    def _points(self, z: Tensor) -> Tensor:
        try:
            z = torch.as_tensor(z, dtype=torch.float32).to(self.device)
        except (TypeError, ValueError, RuntimeError) as error:
            came = f"{type(z).__name__} ({shorten(str(error))})"
            raise UsageError(f"latent points are a tensor or array (n, {self.latent}); this is a {came}") from None
        if z.dim() != 2 or z.shape[1] != self.latent:
            raise UsageError(f"latent points come as (n, {self.latent}) for this model; these are {tuple(z.shape)}")
        return z

    def _tokens(self, text: str) -> list[int]:
        if not text:
            raise SmilesError(text, "an empty string cannot be encoded")
        if len(text) > self.longest:
            raise SmilesError(text, f"longer than the {self.longest} characters this model reads{self._instead(text)}")
        try:
            return self.vocab.encode(text)
        except UnknownCharacter as error:
            raise UnknownCharacter(text, error.reason + self._instead(text), error.position) from None

    def _instead(self, text: str) -> str:
        """What is near the text and can be encoded, as a remark; nothing where there is no such thing."""
        molecule = parse_or_none(text)
        for name, simpler in _SIMPLER.items():
            molecule = simpler(molecule) if molecule is not None else None
            if molecule is not None and molecule.smiles != text and self.reads(molecule.smiles):
                return f" (it reads {name}: {molecule.smiles})"
        return ""


_CHARGED = re.compile(r"\[([BCNOPSFIbcnops]|Cl|Br)H?\d*[+-]\d*\]")
_SIMPLER: dict[str, Callable[[Molecule], Molecule | None]] = {
    "the largest part": Molecule.largest_fragment,
    "it without isotopes": lambda molecule: parse_or_none(re.sub(r"\[\d+", "[", molecule.smiles)),
    "it without stereochemistry": lambda molecule: parse_or_none(re.sub(r"[@/\\]", "", molecule.smiles)),
    "it without charges": lambda molecule: parse_or_none(_CHARGED.sub(r"\1", molecule.smiles)),
}
"""Ways to a molecule with fewer kinds of characters, each applied after the ones before."""
