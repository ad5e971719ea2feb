"""The networks: a bidirectional GRU that reads a string, a GRU that writes one. Tokens are ``(batch, time)``."""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from molvae.config import Component
from molvae.data.vocab import END, START
from molvae.vae.nets.gru_layer import GRULayer, Stepper


class NetSettings(Component):
    """Sizes of the network. The defaults give 1.6 million parameters."""

    latent: int = Field(64, ge=1)
    embedding: int = Field(64, ge=1)
    encoder_hidden: int = Field(256, ge=1)
    decoder_hidden: int = Field(512, ge=1)
    properties: tuple[str, ...] = Field((), description="labels of the corpus that heads predict from the latent mean")
    head_hidden: int = Field(128, ge=1)


class Encoder(nn.Module):
    """Characters → mean and log-variance of q(z | x).

    All strings of a batch have one length, so there is no padding, and the last state of either direction has read
    the whole string.
    """

    def __init__(self, settings: NetSettings, characters: int) -> None:
        super().__init__()
        hidden = settings.encoder_hidden
        self.embed = nn.Embedding(characters, settings.embedding)
        self.gru = GRULayer(settings.embedding, hidden, bidirectional=True)
        self.posterior = nn.Linear(2 * hidden, 2 * settings.latent)

    def forward(self, tokens: Tensor) -> tuple[Tensor, Tensor]:
        """``(batch, time)`` → two times ``(batch, latent)``, float32."""
        return self._posterior(self.gru.last_states(self.embed, tokens.t()))

    def read(self, strings: Sequence[Sequence[int]]) -> tuple[Tensor, Tensor]:
        """Ids of characters, longest string first → two times ``(strings, latent)``, float32; without a gradient.

        On CPUs that compute in bfloat16 this is several times as fast as `forward`, and as exact as a training is.
        """
        parts = (self._posterior(ends) for ends in self.gru.read(self.embed, strings))
        mean, logvar = zip(*parts, strict=True)
        return torch.cat(mean), torch.cat(logvar)

    def _posterior(self, ends: list[Tensor]) -> tuple[Tensor, Tensor]:
        mean, logvar = self.posterior(torch.cat(ends, -1)).float().chunk(2, -1)
        return mean, logvar


class Decoder(nn.Module):
    """z → characters; z sets the initial state and is read again at every step."""

    def __init__(self, settings: NetSettings, characters: int) -> None:
        super().__init__()
        hidden = settings.decoder_hidden
        self.embed = nn.Embedding(characters, settings.embedding)
        self.begin = nn.Linear(settings.latent, hidden)
        self.gru = GRULayer(settings.embedding + settings.latent, hidden)
        self.logits = nn.Linear(hidden, characters)

    def initial(self, z: Tensor) -> Tensor:
        """``(batch, latent)`` → state ``(1, batch, hidden)``."""
        return torch.tanh(self.begin(z))[None]

    def forward(self, tokens: Tensor, z: Tensor, state: Tensor) -> tuple[Tensor, Tensor]:
        """Logits of the characters that follow each token.

        Args:
            tokens: ``(batch, time)``, what was written so far (or during training, the truth).
            z: ``(batch, latent)``.
            state: ``(1, batch, hidden)``.

        Returns:
            Logits ``(batch, time, characters)`` and the last state.
        """
        outputs = self.gru.outputs(self.embed, tokens.t(), z, state[0])
        return self.logits(outputs).transpose(0, 1), outputs[-1:]

    def stepper(self) -> Stepper:
        """Single steps, for decoding."""
        return self.gru.stepper(self.embed, lambda z: self.initial(z)[0], self.logits)


class Heads(nn.Module):
    """z → properties in their own units; inside they are in standard deviations from their mean over the corpus."""

    center: Tensor
    scale: Tensor

    def __init__(self, settings: NetSettings) -> None:
        super().__init__()
        count, hidden = len(settings.properties), settings.head_hidden
        self.layers = nn.Sequential(nn.Linear(settings.latent, hidden), nn.SiLU(), nn.Linear(hidden, count))
        self.register_buffer("center", torch.zeros(count))
        self.register_buffer("scale", torch.ones(count))

    def standardise(self, labels: Tensor) -> None:
        """Take mean and standard deviation of each column of ``(n, properties)``; NaN stands for missing."""
        known = ~labels.isnan()
        count = known.sum(0).clamp_min(1)
        self.center.copy_(labels.nan_to_num().sum(0) / count)
        spread = ((labels - self.center).nan_to_num().square().sum(0) / count).sqrt()
        self.scale.copy_(torch.where(spread > 0, spread, 1.0))

    def forward(self, z: Tensor) -> Tensor:
        """``(batch, latent)`` → ``(batch, properties)``."""
        standard: Tensor = self.layers(z).float()
        return standard * self.scale + self.center

    def loss(self, z: Tensor, labels: Tensor) -> Tensor:
        """Mean squared error of each property in its own standard deviations, over the labels there are."""
        error: Tensor = (self(z) - labels) / self.scale
        known = ~error.isnan()
        return error.nan_to_num().square().sum(0) / known.sum(0).clamp_min(1)


class Terms(NamedTuple):
    """What a training step is made of.

    Attributes:
        nll: −log p(x | z) in nats, ``(batch,)``.
        kl: in nats, ``(batch, latent)``.
        errors: squared errors of the properties in standard deviations, ``(properties,)``.
    """

    nll: Tensor
    kl: Tensor
    errors: Tensor


class Net(nn.Module):
    """Encoder, decoder and property heads; calling it gives what a training step needs."""

    def __init__(self, settings: NetSettings, characters: int) -> None:
        super().__init__()
        self.settings = settings
        self.encoder = Encoder(settings, characters)
        self.decoder = Decoder(settings, characters)
        self.heads = Heads(settings) if settings.properties else None

    def forward(
        self, tokens: Tensor, noise: Tensor, labels: Tensor | None = None, astray: Tensor | None = None
    ) -> Terms:
        """Negative log-likelihood summed over the characters, KL of each latent dimension, errors of the heads.

        Args:
            tokens: strings of one length without start and end, ``(batch, time)``.
            noise: standard normal, ``(batch, latent)``; zeros give the terms at the posterior mean.
            labels: ``(batch, properties)``, NaN for missing; the heads read the posterior mean.
            astray: ``(batch, 1)``: where it is above 0, the decoder reads the mean plus noise of this standard
                deviation instead of the posterior's, and the encoder learns nothing from the outcome.
        """
        mean, logvar = self.encoder(tokens)
        z = mean + noise * torch.exp(0.5 * logvar)
        if astray is not None:
            z = torch.where(astray > 0, mean.detach() + noise * astray, z)
        errors = mean.new_zeros(0) if self.heads is None or labels is None else self.heads.loss(mean, labels)
        return Terms(self.nll(tokens, z), gaussian_kl(mean, logvar), errors)

    def predict(self, z: Tensor) -> Tensor:
        """Properties of latent points in their own units, ``(batch, properties)``."""
        return z.new_zeros(len(z), 0) if self.heads is None else self.heads(z)

    def nll(self, tokens: Tensor, z: Tensor) -> Tensor:
        """``−log p(x | z)`` in nats per molecule, the end included, ``(batch,)``."""
        edge = tokens.new_zeros(len(tokens), 1)
        logits, _ = self.decoder(torch.cat([edge + START, tokens], 1), z, self.decoder.initial(z))
        truth = torch.cat([tokens, edge + END], 1).t()
        losses = cross_entropy(logits.transpose(0, 1).flatten(0, 1).float(), truth.flatten(), reduction="none")
        return losses.view(truth.shape).sum(0)


def gaussian_kl(mean: Tensor, logvar: Tensor) -> Tensor:
    """KL(N(μ, σ²) ‖ N(0, 1)) = ½ (μ² + σ² − 1 − log σ²) ≥ 0 of each element, in nats."""
    return 0.5 * (mean.square() + logvar.exp() - 1 - logvar)
