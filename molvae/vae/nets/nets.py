"""The networks: an encoder reads strings, a decoder writes them, heads predict properties.

Tokens are ``(batch, time)``.
"""

from collections.abc import Sequence
from itertools import groupby
from typing import Annotated, ClassVar, Literal, NamedTuple, Protocol

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from molvae.config import Component
from molvae.data.vocab import END, START
from molvae.registry import Registry
from molvae.vae.nets.gru_layer import GRULayer, Stepper


class Encoder(Protocol):
    """A module that reads strings. It is registered with `Net` as ``encoder``."""

    def __call__(self, tokens: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and log-variance of q(z | x).

        All strings of a batch have one length, so there is no padding: ``(batch, time)`` → two times
        ``(batch, latent)``, float32.
        """


class Decoder(Protocol):
    """A module that writes strings: what training, decoding and densities need of it. `Net` has it as ``decoder``.

    Its state is whatever it remembers of the tokens before, as one tensor with the batch first; decoding takes rows of
    it and repeats them. Read in parts, with the state handed on, tokens have the same logits as read at once.
    """

    def initial(self, z: Tensor) -> Tensor:
        """``(batch, latent)`` → the state before the first token, ``(batch, …)``."""

    def __call__(self, tokens: Tensor, z: Tensor, state: Tensor) -> tuple[Tensor, Tensor]:
        """Logits of the characters that follow each token.

        Args:
            tokens: ``(batch, time)``, what was written so far (or during training, the truth).
            z: ``(batch, latent)``.
            state: ``(batch, …)``, after the tokens before these.

        Returns:
            Logits ``(batch, time, characters)`` and the state after the last token.
        """


class EncoderSettings(Protocol):
    """What a recipe says of an encoder."""

    def __call__(self, latent: int, embedding: int, characters: int) -> Encoder:
        """The module, with fresh weights.

        Args:
            latent: dimensions of the latent space.
            embedding: width of a character's vector, for encoder and decoder alike.
            characters: in the vocabulary, start and end included.
        """


class DecoderSettings(Protocol):
    """What a recipe says of a decoder."""

    def __call__(self, latent: int, embedding: int, characters: int) -> Decoder:
        """The module, with fresh weights; arguments as of `EncoderSettings`."""


class GRUEncoder(Component):
    """A bidirectional GRU layer; its two last states set mean and log-variance."""

    kind: Literal["gru"] = "gru"
    hidden: int = Field(256, ge=1, description="of either direction")

    def __call__(self, latent: int, embedding: int, characters: int) -> "GRUEncoderModule":
        """The module, with fresh weights."""
        return GRUEncoderModule(self.hidden, latent, embedding, characters)


class GRUDecoder(Component):
    """A GRU layer; z sets its first state and is read again at every step."""

    kind: Literal["gru"] = "gru"
    hidden: int = Field(512, ge=1, description="width of its state")

    def __call__(self, latent: int, embedding: int, characters: int) -> "GRUDecoderModule":
        """The module, with fresh weights."""
        return GRUDecoderModule(self.hidden, latent, embedding, characters)


ENCODERS = Registry("encoder", EncoderSettings, (GRUEncoder,))
DECODERS = Registry("decoder", DecoderSettings, (GRUDecoder,))


class NetSettings(Component):
    """What the network is made of. The defaults give 1.6 million parameters."""

    ALIASES: ClassVar = {"encoder_hidden": "encoder.hidden", "decoder_hidden": "decoder.hidden"}

    latent: int = Field(64, ge=1, description="dimensions of the latent space")
    embedding: int = Field(64, ge=1, description="numbers that stand for a character")
    encoder: Annotated[EncoderSettings, ENCODERS] = GRUEncoder()
    decoder: Annotated[DecoderSettings, DECODERS] = GRUDecoder()
    properties: tuple[str, ...] = Field((), description="labels of the corpus that heads predict from the latent mean")
    head_hidden: int = Field(128, ge=1, description="width of the heads' one hidden layer")


class GRUEncoderModule(nn.Module):
    """See `GRUEncoder`."""

    def __init__(self, hidden: int, latent: int, embedding: int, characters: int) -> None:
        super().__init__()
        self.embed = nn.Embedding(characters, embedding)
        self.gru = GRULayer(embedding, hidden, bidirectional=True)
        self.posterior = nn.Linear(2 * hidden, 2 * latent)

    def forward(self, tokens: Tensor) -> tuple[Tensor, Tensor]:
        """See `Encoder`: the last state of either direction has read the whole string."""
        return self._posterior(self.gru.last_states(self.embed, tokens.t()))

    def read(self, strings: Sequence[Sequence[int]]) -> tuple[Tensor, Tensor]:
        """As `Net.read`: on CPUs that compute in bfloat16 several times as fast as `forward`, and as exact."""
        parts = (self._posterior(ends) for ends in self.gru.read(self.embed, strings))
        mean, logvar = zip(*parts, strict=True)
        return torch.cat(mean), torch.cat(logvar)

    def _posterior(self, ends: list[Tensor]) -> tuple[Tensor, Tensor]:
        mean, logvar = self.posterior(torch.cat(ends, -1)).float().chunk(2, -1)
        return mean, logvar


def _read_by_length(encoder: Encoder, strings: Sequence[Sequence[int]], device: torch.device) -> tuple[Tensor, Tensor]:
    alike = (torch.tensor(list(some), device=device) for _, some in groupby(strings, key=len))
    mean, logvar = zip(*map(encoder, alike), strict=True)
    return torch.cat(mean), torch.cat(logvar)


class GRUDecoderModule(nn.Module):
    """See `GRUDecoder`. `molvae.vae.decoding` takes its single steps from the weights, faster than `forward` is."""

    def __init__(self, hidden: int, latent: int, embedding: int, characters: int) -> None:
        super().__init__()
        self.embed = nn.Embedding(characters, embedding)
        self.begin = nn.Linear(latent, hidden)
        self.gru = GRULayer(embedding + latent, hidden)
        self.logits = nn.Linear(hidden, characters)

    def initial(self, z: Tensor) -> Tensor:
        """``(batch, latent)`` → state ``(batch, hidden)``."""
        return torch.tanh(self.begin(z))

    def forward(self, tokens: Tensor, z: Tensor, state: Tensor) -> tuple[Tensor, Tensor]:
        """See `Decoder`; the state is ``(batch, hidden)``."""
        outputs = self.gru.outputs(self.embed, tokens.t(), z, state)
        return self.logits(outputs).transpose(0, 1), outputs[-1]

    def stepper(self) -> Stepper:
        """Single steps from the weights, for decoding."""
        return self.gru.stepper(self.embed, self.initial, self.logits)


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
        count = (~labels.isnan()).sum(0).clamp_min(1)
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
        return error.nan_to_num().square().sum(0) / (~error.isnan()).sum(0).clamp_min(1)


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
        self.encoder = settings.encoder(settings.latent, settings.embedding, characters)
        self.decoder = settings.decoder(settings.latent, settings.embedding, characters)
        self.heads = Heads(settings) if settings.properties else None

    def forward(
        self, tokens: Tensor, noise: Tensor, labels: Tensor | None = None, latent_sd: Tensor | None = None
    ) -> Terms:
        """Negative log-likelihood summed over the characters, KL of each latent dimension, errors of the heads.

        Args:
            tokens: strings of one length without start and end, ``(batch, time)``.
            noise: standard normal, ``(batch, latent)``; zeros give the terms at the posterior mean.
            labels: ``(batch, properties)``, NaN for missing; the heads read the posterior mean.
            latent_sd: ``(batch, 1)``: where it is above 0, the decoder reads the mean plus noise of this standard
                deviation instead of the posterior's, and the encoder learns nothing from the outcome.
        """
        mean, logvar = self.encoder(tokens)
        z = mean + noise * torch.exp(0.5 * logvar)
        if latent_sd is not None:
            # detached: an encoder that learnt from far-off points would only draw its means apart
            z = torch.where(latent_sd > 0, mean.detach() + noise * latent_sd, z)
        errors = mean.new_zeros(0) if self.heads is None or labels is None else self.heads.loss(mean, labels)
        return Terms(self.nll(tokens, z), gaussian_kl(mean, logvar), errors)

    def read(self, strings: Sequence[Sequence[int]]) -> tuple[Tensor, Tensor]:
        """Mean and log-variance of ids of characters, longest string first; two times ``(strings, latent)``, float32.

        To be called without a gradient.
        """
        if type(self.encoder) is GRUEncoderModule:  # of a subclass, `forward` may be another
            return self.encoder.read(strings)
        return _read_by_length(self.encoder, strings, next(self.parameters()).device)

    def predict(self, z: Tensor) -> Tensor:
        """Properties of latent points in their own units, ``(batch, properties)``."""
        return z.new_zeros(len(z), 0) if self.heads is None else self.heads(z)

    def nll(self, tokens: Tensor, z: Tensor) -> Tensor:
        """``−log p(x | z)`` in nats per molecule, the end included, ``(batch,)``."""
        edge = tokens.new_zeros(len(tokens), 1)  # zeros, to which an id is added
        logits, _ = self.decoder(torch.cat([edge + START, tokens], 1), z, self.decoder.initial(z))
        truth = torch.cat([tokens, edge + END], 1).t()
        losses = cross_entropy(logits.transpose(0, 1).flatten(0, 1).float(), truth.flatten(), reduction="none")
        return losses.view(truth.shape).sum(0)


def gaussian_kl(mean: Tensor, logvar: Tensor) -> Tensor:
    """KL(N(μ, σ²) ‖ N(0, 1)) = ½ (μ² + σ² − 1 − log σ²) ≥ 0 of each element, in nats."""
    return 0.5 * (mean.square() + logvar.exp() - 1 - logvar)
