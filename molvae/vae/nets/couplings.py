"""Couplings: an invertible map between latent points and N(0, I) (RealNVP, Dinh et al. 2017, arXiv:1605.08803)."""

import math

import torch
from torch import Tensor, nn

BENT = 1.5
"""Largest logarithm of the factor by which one layer stretches a dimension."""


class Couplings(nn.Module):
    """Whitening, then affine couplings: half of the dimensions set how the other half is shifted and stretched.

    Args:
        latent: dimensions, at least 2.
        layers: couplings; each has its own halves, drawn at random.
        hidden: width of the network in each.
        seed: of the halves and of the first weights, with which the couplings change nothing.
    """

    center: Tensor
    factor: Tensor
    orders: Tensor

    def __init__(self, latent: int, layers: int, hidden: int, seed: int = 0) -> None:
        super().__init__()
        self.latent, self.fixed = latent, latent // 2
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            self.register_buffer("center", torch.zeros(latent))
            self.register_buffer("factor", torch.eye(latent))
            self.register_buffer("orders", torch.stack([torch.randperm(latent) for _ in range(layers)]))
            self.networks = nn.ModuleList(_network(self.fixed, latent - self.fixed, hidden) for _ in range(layers))

    def whiten(self, z: Tensor) -> None:
        """Take centre and covariance from points ``(n, latent)``."""
        self.center.copy_(z.mean(0))
        self.factor.copy_(factor(torch.cov(z.t())))

    def forward(self, z: Tensor) -> tuple[Tensor, Tensor]:
        """Where points ``(batch, latent)`` come from, and log |det| of the map there, ``(batch,)``."""
        z = torch.linalg.solve_triangular(self.factor, (z - self.center).t(), upper=False).t()
        stretch = -self.factor.diagonal().log().sum().expand(len(z))
        for order, network in zip(self.orders, self.networks, strict=True):
            still, moved = z[:, order].tensor_split([self.fixed], 1)
            log, shift = _bend(network, still)
            z, stretch = torch.cat([still, (moved + shift) * log.exp()], 1), stretch + log.sum(1)
        return z, stretch

    def inverse(self, base: Tensor) -> Tensor:
        """The points ``(batch, latent)`` that `forward` takes to ``base``."""
        for order, network in zip(reversed(self.orders), reversed(self.networks), strict=True):
            still, moved = base.tensor_split([self.fixed], 1)
            log, shift = _bend(network, still)
            base = torch.cat([still, moved * (-log).exp() - shift], 1)[:, order.argsort()]
        z: Tensor = base @ self.factor.t() + self.center
        return z

    def nll(self, z: Tensor) -> Tensor:
        """−log density in nats, ``(batch,)``, where the other end is N(0, I)."""
        base, stretch = self(z)
        found: Tensor = 0.5 * (base.square().sum(1) + self.latent * math.log(2 * math.pi)) - stretch
        return found


def factor(covariance: Tensor) -> Tensor:
    """Cholesky factor of ``(…, d, d)``; a direction without any spread gets a millionth of the mean variance."""
    floor = 1e-6 * covariance.diagonal(dim1=-2, dim2=-1).mean(-1)[..., None, None] + 1e-12
    found: Tensor = torch.linalg.cholesky(covariance + floor * torch.eye(covariance.shape[-1]))
    return found.contiguous()  # the bits of a product depend on the layout in memory, and files have but one


def _network(inputs: int, outputs: int, hidden: int) -> nn.Sequential:
    last = nn.Linear(hidden, 2 * outputs)
    nn.init.zeros_(last.weight)
    nn.init.zeros_(last.bias)
    return nn.Sequential(nn.Linear(inputs, hidden), nn.SiLU(), nn.Linear(hidden, hidden), nn.SiLU(), last)


def _bend(network: nn.Module, still: Tensor) -> tuple[Tensor, Tensor]:
    log, shift = network(still).chunk(2, 1)
    return BENT * torch.tanh(log / BENT), shift
