"""Which columns of a row of features are what."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:  # a recipe's parts name this type, and reading a recipe should not load torch
    from torch import Tensor


@dataclass(frozen=True)
class FeatureLayout:
    """The blocks of columns that a row of features is made of.

    Whoever makes the rows gives it to the surrogate, which has a kernel for each of these blocks: ``"counts"`` of
    fragments, ``"descriptors"``, and the ``"latent"`` point. A block may have no columns.

    Attributes:
        blocks: name and number of columns of each block, in order.

    Raises:
        ValueError: two blocks have one name, or a width is negative.

    Example:
        >>> FeatureLayout((("counts", 2048), ("descriptors", 25), ("latent", 56)))["descriptors"]
        slice(2048, 2073, None)
    """

    blocks: tuple[tuple[str, int], ...]

    def __post_init__(self) -> None:
        names = [name for name, _ in self.blocks]
        if len(set(names)) < len(names) or min((width for _, width in self.blocks), default=0) < 0:
            raise ValueError(f"blocks have different names, and widths of at least 0; these are {self.blocks}")

    @property
    def width(self) -> int:
        """Columns of all blocks together."""
        return sum(width for _, width in self.blocks)

    def __getitem__(self, name: str) -> slice:
        """The columns of a block.

        Raises:
            KeyError: there is no such block; names those that there are.
        """
        start = 0
        for block, width in self.blocks:
            if block == name:
                return slice(start, start + width)
            start += width
        raise KeyError(f"there is no block {name!r} among {', '.join(block for block, _ in self.blocks)}")

    def split(self, X: "Tensor") -> "dict[str, Tensor]":
        """The columns ``(*batch, n, width)`` of each block, by name.

        Raises:
            ValueError: the rows have another width.
        """
        if X.shape[-1] != self.width:
            raise ValueError(f"rows of features have {self.width} columns, {self.blocks}; these have {X.shape[-1]}")
        return {name: X[..., self[name]] for name, _ in self.blocks}
