"""Similarity of count vectors as a GPyTorch kernel, and as one matrix product."""

from typing import Any

import torch
from gpytorch.kernels import Kernel
from torch import Tensor


class MinMaxKernel(Kernel):  # type: ignore[misc]
    """k(a, b) = Σ min(aᵢ, bᵢ) / Σ max(aᵢ, bᵢ) for counts; Tanimoto's similarity where all are 0 or 1.

    Positive definite [Ralaivola et al., "Graph kernels for chemical informatics", Neural Networks 18, 2005]. Two
    vectors of zeros are alike: 1.

    Example:
        >>> MinMaxKernel()(torch.tensor([[2.0, 1.0]]), torch.tensor([[1.0, 1.0]])).to_dense()
        tensor([[0.6667]])
    """

    has_lengthscale = False

    def forward(self, x1: Tensor, x2: Tensor, diag: bool = False, **params: Any) -> Tensor:
        """Kernel matrix ``(*batch, n, m)`` of counts ``(*batch, n, d)`` and ``(*batch, m, d)``, or its diagonal."""
        kind = x1.dtype if x1.is_floating_point() else torch.float64
        if diag:
            return similarity(torch.minimum(x1, x2).sum(-1), x1.sum(-1), x2.sum(-1)).to(kind)
        levels = Levels(x1.reshape(-1, x1.shape[-1]))
        common = levels(x1) @ levels(x2).mT
        return similarity(common, x1.sum(-1)[..., :, None], x2.sum(-1)[..., None, :]).to(kind)


class Levels:
    """Counts as zeros and ones, one for each column and each count that it reaches: Σ min(a, b) is then a · b.

    Args:
        X: whole numbers ≥ 0, ``(n, d)``; the product is exact for these with any others.
    """

    def __init__(self, X: Tensor) -> None:
        highest = X.amax(0) if len(X) else X.new_zeros(X.shape[1])
        top = int(highest.max()) if highest.numel() else 0
        self._columns = [(level, (highest >= level).nonzero().squeeze(1)) for level in range(1, top + 1)]

    def __call__(self, X: Tensor) -> Tensor:
        """``(*batch, n, d)`` → ``(*batch, n, features)`` float32."""
        parts = [X[..., columns] >= level for level, columns in self._columns]
        return torch.cat(parts, -1).float() if parts else torch.zeros(*X.shape[:-1], 0)


def similarity(common: Tensor, first: Tensor, second: Tensor) -> Tensor:
    """Σ min / Σ max from Σ min and both sums; in float64, since sums of a kernel matrix cancel."""
    found = common.double().div_((first.double() + second) - common)
    empty = bool((first == 0).any() and (second == 0).any())
    return found.nan_to_num_(nan=1.0) if empty else found


def nearness(first: Tensor, second: Tensor) -> Tensor:
    """exp(−|a − b|² / 2d) for rows of d numbers: ``(*batch, n, d)`` and ``(*batch, m, d)`` → ``(*batch, n, m)``."""
    squares = first.square().sum(-1)[..., :, None] + second.square().sum(-1)[..., None, :]
    apart = torch.clamp_min(squares - 2 * first @ second.mT, 0.0)
    return torch.exp(apart * (-0.5 / max(1, first.shape[-1])))
