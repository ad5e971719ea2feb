"""The double bonds of aromatic rings, matched while the string is written.

They are a perfect matching of those aromatic atoms that need one. What the matching can be so far is a set of
configurations: of the current atom, of each aromatic atom that waits for the end of a branch, and of each aromatic
ring that is open, a configuration says whether it has its double bond. Six bits make 64 configurations, so a set of
them is one int64, and a step of the matching is a shift. The current atom is the lowest bit; the others are named by
the number 2, 4, …, 32 (a slot), which is also by how much a configuration grows when the bit is set; 0 is no slot.
"""

from typing import Final

import torch
from torch import Tensor

from molvae.vae.atoms import MATCHED, UNMATCHED

_SIGN: Final = 1 << 63
SLOTS: Final = 0b111110
"""All slots, as a set."""


def _signed(bits: int) -> int:
    return bits - 2 * _SIGN if bits & _SIGN else bits


def _with_bit(slot: int) -> int:
    """The configurations that have a bit, as a set."""
    return _signed(sum(1 << k for k in range(64) if k & slot))


_ODD: Final = _with_bit(1)
_EVEN: Final = ~_ODD


def tables(device: torch.device) -> tuple[Tensor, Tensor]:
    """By slot, the configurations with its bit; by how the atom may be left, those that it leaves."""
    with_bit = [0 if slot == 0 else _with_bit(slot) for slot in range(SLOTS + 1)]
    left = [0, _EVEN, _ODD, -1]
    return torch.tensor(with_bit, device=device), torch.tensor(left, device=device)


def unmatched(configurations: Tensor) -> Tensor:
    """Those in which the current atom has no double bond."""
    return configurations & _EVEN


def ways(configurations: Tensor) -> Tensor:
    """How the current atom can be: UNMATCHED, MATCHED, their sum, or 0 where no configuration is left."""
    return UNMATCHED * (configurations & _EVEN).ne(0) + MATCHED * (configurations & _ODD).ne(0)


def either(configurations: Tensor) -> Tensor:
    """The current atom may have got its double bond, or not."""
    return configurations | (configurations & _EVEN) << 1


def forget(configurations: Tensor) -> Tensor:
    """Those of the atoms around, the current one being left."""
    return (configurations & _EVEN) | ((configurations & _ODD) >> 1 & _EVEN)


def bond(configurations: Tensor, left: Tensor) -> Tensor:
    """The next atom is bound to the current one, which is ``left`` matched or not; the bond is double or it is not."""
    even = configurations & _EVEN
    matched = even << 1 | ((configurations & _ODD) >> 1 & _EVEN)
    return even * (left & UNMATCHED) | matched * (left >> 1)


def branch(configurations: Tensor, left: Tensor, slot: Tensor) -> Tensor:
    """As `bond`, where the current atom goes on to wait in a slot."""
    even = configurations & _EVEN
    matched = even << (slot + 1) | ((configurations & _ODD) >> 1 & _EVEN) << slot
    return even * (left & UNMATCHED) | matched * (left >> 1)


def open_ring(configurations: Tensor, slot: Tensor) -> Tensor:
    """The current atom begins a ring bond, which is double or it is not."""
    return configurations | (configurations & _EVEN) << (slot + 1)


def split(configurations: Tensor, slot: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
    """Those without the bit of a slot, and those with it, the bit taken away; ``mask`` is all that have it."""
    lacking = ~mask
    return configurations & lacking, (configurations & mask) >> slot & lacking


def close_ring(single: Tensor, double: Tensor) -> Tensor:
    """The current atom ends a ring bond; the two sets are those of `split`."""
    return single | (double & _EVEN) << 1


def join(configurations: Tensor, single: Tensor, double: Tensor) -> tuple[Tensor, Tensor]:
    """As `close_ring` between parts that are matched apart: of both sets what may be left.

    Returns:
        The set of the current atom, and that of the other part.
    """
    one, two = single.ne(0), double.ne(0) & unmatched(configurations).ne(0)
    return configurations * one | (unmatched(configurations) << 1) * two, single | double * two


def end_branch(configurations: Tensor, slot: Tensor, mask: Tensor) -> Tensor:
    """The atom that waited in a slot is the current one again; the last of the branch was left with `forget`."""
    single, double = split(configurations, slot, mask)
    return single | double << 1
