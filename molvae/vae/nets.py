"""The networks: a bidirectional GRU that reads a string, a GRU that writes one. Tokens are ``(batch, time)``."""

from typing import NamedTuple

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from molvae.config import Component
from molvae.vae.vocab import END, START


class NetSettings(Component):
    """Sizes of the network. The defaults give 1.6 million parameters."""

    latent: int = Field(64, ge=1)
    embedding: int = Field(64, ge=1)
    encoder_hidden: int = Field(256, ge=1)
    decoder_hidden: int = Field(512, ge=1)


class Encoder(nn.Module):
    """Characters → mean and log-variance of q(z | x).

    All strings of a batch have one length, so there is no padding, and the last state of either direction has read
    the whole string.
    """

    def __init__(self, settings: NetSettings, characters: int) -> None:
        super().__init__()
        hidden = settings.encoder_hidden
        self.embed = nn.Embedding(characters, settings.embedding)
        self.gru = nn.GRU(settings.embedding, hidden, bidirectional=True)
        self.posterior = nn.Linear(2 * hidden, 2 * settings.latent)

    def forward(self, tokens: Tensor) -> tuple[Tensor, Tensor]:
        """``(batch, time)`` → two times ``(batch, latent)``, float32."""
        _, last = self.gru(self.embed(tokens.t()))
        mean, logvar = self.posterior(torch.cat([last[0], last[1]], -1)).float().chunk(2, -1)
        return mean, logvar


class Decoder(nn.Module):
    """z → characters; z sets the initial state and is read again at every step."""

    def __init__(self, settings: NetSettings, characters: int) -> None:
        super().__init__()
        hidden = settings.decoder_hidden
        self.embed = nn.Embedding(characters, settings.embedding)
        self.begin = nn.Linear(settings.latent, hidden)
        self.gru = nn.GRU(settings.embedding + settings.latent, hidden)
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
        inputs = self.embed(tokens.t())
        everywhere = z.to(inputs.dtype).expand(len(inputs), *z.shape)
        outputs, state = self.gru(torch.cat([inputs, everywhere], -1), state)
        return self.logits(outputs).transpose(0, 1), state


class Terms(NamedTuple):
    """What a training step is made of: ``nll`` ``(batch,)`` and ``kl`` ``(batch, latent)``, both in nats."""

    nll: Tensor
    kl: Tensor


class Net(nn.Module):
    """Encoder and decoder; calling it gives the two terms of the evidence lower bound."""

    def __init__(self, settings: NetSettings, characters: int) -> None:
        super().__init__()
        self.settings = settings
        self.encoder = Encoder(settings, characters)
        self.decoder = Decoder(settings, characters)

    def forward(self, tokens: Tensor, noise: Tensor) -> Terms:
        """Negative log-likelihood summed over the characters, and the KL of each latent dimension.

        Args:
            tokens: strings of one length without start and end, ``(batch, time)``.
            noise: standard normal, ``(batch, latent)``; zeros give the terms at the posterior mean.
        """
        mean, logvar = self.encoder(tokens)
        z = mean + noise * torch.exp(0.5 * logvar)
        return Terms(self.nll(tokens, z), gaussian_kl(mean, logvar))

    def nll(self, tokens: Tensor, z: Tensor) -> Tensor:
        """``−log p(x | z)`` in nats per molecule, the end included, ``(batch,)``."""
        edge = tokens.new_zeros(len(tokens), 1)
        logits, _ = self.decoder(torch.cat([edge + START, tokens], 1), z, self.decoder.initial(z))
        truth = torch.cat([tokens, edge + END], 1)
        return cross_entropy(logits.float().transpose(1, 2), truth, reduction="none").sum(1)


def gaussian_kl(mean: Tensor, logvar: Tensor) -> Tensor:
    """KL(N(μ, σ²) ‖ N(0, 1)) = ½ (μ² + σ² − 1 − log σ²) ≥ 0 of each element, in nats."""
    return 0.5 * (mean.square() + logvar.exp() - 1 - logvar)
