"""Parts of somebody else's, who has this file on Python's path; what is asked of each is in the package's protocols."""

import math

import torch
from torch import nn

from molvae.config import Component
from molvae.vae.nets.nets import gaussian_kl
from molvae.vae.training.losses import LossTerms, standard_normal


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


class PlainLoss(Component):
    """The evidence lower bound, with β as somebody else's schedule says."""

    steepness: float = 10.0

    def __call__(self, net, batch, rng, progress):
        mean, logvar = net.encoder(batch.tokens)
        z = mean + standard_normal(rng, mean.shape, mean.device) * torch.exp(logvar / 2)
        nll, kl = net.nll(batch.tokens, z).mean(), gaussian_kl(mean, logvar).sum(1).mean()
        beta = Sigmoid(steepness=self.steepness)(progress)
        return LossTerms(nll + beta * kl, nll, kl, beta)


class Sigmoid(Component):
    """A weight of the KL."""

    steepness: float = 10.0

    def __call__(self, progress):
        return 0.05 / (1 + math.exp(-self.steepness * (progress - 0.5)))


class Momentum(Component):
    """Stochastic gradient descent."""

    learning_rate: float = 0.01

    def __call__(self, net):
        return [torch.optim.SGD(net.parameters(), lr=self.learning_rate, momentum=0.9)]


class Ball(Component):
    """Points around the mean of all, as far as they are on average in each dimension."""

    width: float = 1.0

    def fit(self, mean, logvar, seed):
        return FittedBall(self, mean.mean(0), (mean.var(0) + logvar.exp().mean(0)).sqrt())

    def restore(self, tensors):
        return FittedBall(self, tensors["center"], tensors["sd"])


class FittedBall:
    def __init__(self, settings, center, sd):
        self.settings, self.center, self.sd = settings, center, sd

    def sample(self, n, seed):
        noise = torch.randn(n, len(self.center), generator=torch.Generator().manual_seed(seed))
        return self.center + self.settings.width * self.sd * noise

    def log_prob(self, z):
        return torch.distributions.Normal(self.center, self.settings.width * self.sd).log_prob(z).sum(1)

    def tensors(self):
        return {"center": self.center, "sd": self.sd}
