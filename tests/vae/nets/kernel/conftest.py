import numpy as np
import pytest
import torch
from torch import nn

from molvae.data.vocab import START
from molvae.vae.nets.gru_layer import GRULayer
from molvae.vae.nets.kernel.packing import Weights

HIDDEN, LATENT, CHARACTERS = 48, 5, 40


class Decoder(nn.Module):
    """The parts of one that is wild enough to write strings of many lengths; HIDDEN is no multiple of 32."""

    def __init__(self) -> None:
        super().__init__()
        self.gru, self.embed = GRULayer(7 + LATENT, HIDDEN), nn.Embedding(CHARACTERS, 7)
        self.begin, self.logits = nn.Linear(LATENT, HIDDEN), nn.Linear(HIDDEN, CHARACTERS)
        for weights in self.parameters():
            weights.requires_grad_(False).mul_(3)

    def initial(self, z: torch.Tensor) -> torch.Tensor:
        return torch.tanh(self.begin(z))

    @property
    def weights(self) -> Weights:
        return self.gru._weights(self.embed)

    @property
    def offset(self) -> torch.Tensor:
        offset = self.logits.bias.clone()
        offset[START] = -torch.inf
        return offset


@pytest.fixture
def decoder() -> Decoder:
    torch.manual_seed(3)
    return Decoder()


@pytest.fixture(scope="session")
def exact():
    """Tensors, or a tuple of them, as NumPy arrays, real numbers in float64."""

    def convert(value):
        if isinstance(value, Weights):
            return Weights(*map(convert, value))
        array = value.detach().float().numpy() if value.dtype == torch.bfloat16 else value.detach().numpy()
        return array.astype(np.float64) if array.dtype.kind == "f" else array

    return convert
