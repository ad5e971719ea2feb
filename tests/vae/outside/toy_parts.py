"""Parts of somebody else's, who has this file on Python's path; what is asked of each is in the package's protocols."""

import torch
from torch import nn

from molvae.config import Component


class LeakyDecoder(Component):
    """A recurrent layer without gates; z is added at each step."""

    width: int = 24

    def __call__(self, latent, embedding, characters):
        return LeakyModule(self.width, latent, characters)


class LeakyModule(nn.Module):
    def __init__(self, width, latent, characters):
        super().__init__()
        self.embed, self.of_z = nn.Embedding(characters, width), nn.Linear(latent, width)
        self.mix, self.logits = nn.Linear(width, width), nn.Linear(width, characters)

    def initial(self, z):
        return torch.zeros(len(z), self.mix.in_features, device=z.device)

    def forward(self, tokens, z, state):
        states = []
        for character in self.embed(tokens).unbind(1):
            state = torch.tanh(character + self.of_z(z) + self.mix(state))
            states.append(state)
        return self.logits(torch.stack(states, 1)), state


class BagEncoder(Component):
    """Reads which characters there are, in which half of the string."""

    def __call__(self, latent, embedding, characters):
        return BagModule(latent, embedding, characters)


class BagModule(nn.Module):
    def __init__(self, latent, embedding, characters):
        super().__init__()
        self.embed, self.posterior = nn.Embedding(characters, embedding), nn.Linear(2 * embedding, 2 * latent)

    def forward(self, tokens):
        halves = [half.sum(1) for half in self.embed(tokens).tensor_split(2, 1)]
        mean, logvar = self.posterior(torch.cat(halves, 1)).float().chunk(2, 1)
        return mean, logvar
