"""What an atom may do next, as tables: nothing is worked out twice while strings are written.

An *atom* is a number for its kind, the sum of its bond orders so far and its aromatic bonds so far. With it go the
rings that are *spare* for further aromatic bonds (0, 1, or more) and the *ways* it can be matched (`matching`).
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

import torch
from torch import Tensor

from molvae.vae.atoms import CONTEXTS, MATCHED, UNMATCHED, Costs, Kind

TIES: Final = 4
"""Numbers of aromatic bonds that are told apart, 0 to 3."""
BONDS: Final = 8
"""Sums of bond orders that are told apart, 0 to 7."""
PER_KIND: Final = BONDS * TIES
SPARE: Final = 3
WAYS: Final = 4
RING_COST: Final = 2
"""Characters that close a ring, at most: an atom and its digit; one atom more where the ring is aromatic."""
ATOM, OPENED, CLOSED = range(3)
"""What was written last, signs and digits aside: an atom, or nothing yet; ``(``; ``)``."""
NONE, SINGLE, DOUBLE, TRIPLE, SLASH = range(5)
"""Bond signs; a slash is a single bond with a direction."""
SIGNED: Final = 5
"""How many there are."""
CHOICES: Final = ("end", "(", "-", "=", "#", "/", ".", "ring", "halogen")
"""What may follow an atom without a bond sign. A ring begins; a halogen comes of a C or a B."""
FIELD: Final = 6
NO: Final = 63
"""A cost of six bits that stands for never."""
_IMPLIED: Final = CONTEXTS.index("no aromatic") - 1
_SINGLE, _AROMATIC = CONTEXTS.index("single"), CONTEXTS.index("aromatic")


@dataclass(frozen=True)
class Bonding:
    """The tables. N is the number of atoms.

    Attributes:
        left: how an atom may be left: now; in the end; in the end, with another bond. ``(3, N · SPARE)``.
        ends: which configurations remain where a ring ends at the atom, ``(6, N · SPARE)``: by an aromatic, a single,
            a double bond as the last bond, then the same with another bond to follow.
        choices: CHOICES as fields of FIELD bits: the fewest characters that are needed after each, or NO;
            over (atom, spare, ways, what was written last).
        paths: where an atom is due, 64 · number of the context, plus the fewest characters that the current atom
            needs after a branch; over (atom, spare, ways, whether a branch opens, bond sign).
        multiple: the atom of the kind that it becomes by a multiple bond, ``(N,)``.
        more: fewest characters that complete it by at least one more bond, ``(N,)``.
        aromatic, lonely, matchable: of an atom, ``(N,)`` bool; lonely ones lack an aromatic bond.
        start: the atom that stands for none.
    """

    left: Tensor
    ends: Tensor
    choices: Tensor
    paths: Tensor
    multiple: Tensor
    more: Tensor
    aromatic: Tensor
    lonely: Tensor
    matchable: Tensor
    start: int


def bonding(kinds: list[Kind], costs: Costs, least: dict[str, int]) -> Bonding:
    """The tables of these kinds.

    Args:
        kinds: with all that they become by multiple bonds.
        costs: of completing an atom.
        least: fewest characters of an atom in each of CONTEXTS, what completes it included.
    """
    grid = _Grid(kinds, costs, least)
    whole = grid.final.shape
    final = grid.final[..., None].expand_as(grid.last)
    ends = [
        grid.after(table, order, tie).roll(1, -1) * (torch.arange(SPARE) > 0)  # one spare ring less
        for table in (grid.last, grid.on)
        for order, tie in ((1, 1), (1, 0), (2, 0))
    ]
    multiple = (grid.multiple[:, None, None] * BONDS + torch.arange(BONDS)[:, None]) * TIES + torch.arange(TIES)
    aromatic = grid.aromatic.expand(whole)
    return Bonding(
        left=torch.stack([final, grid.last, grid.on]).flatten(1),
        ends=torch.stack(ends).flatten(1),
        choices=grid.choices().flatten(),
        paths=grid.paths().flatten(),
        multiple=multiple.flatten(),
        more=grid.more.expand(whole).flatten(),
        aromatic=aromatic.flatten(),
        lonely=(aromatic & (torch.arange(TIES) < 2)).flatten(),
        matchable=(grid.reach & MATCHED).ne(0).expand(whole).flatten(),
        start=len(kinds) * PER_KIND,
    )


class _Grid:
    """All atoms at once: tensors over (kind, sum of bond orders, aromatic bonds, spare rings, ways), or the first few.

    The last kind is that of `Bonding.start`, the one before it can have no bond.
    """

    def __init__(self, kinds: list[Kind], costs: Costs, least: dict[str, int]) -> None:
        number, none = {kind: k for k, kind in enumerate(kinds)}, Kind("H", 1, 0)
        padded = [*kinds, none]

        def over(of: Callable[[Kind, int], int]) -> Tensor:
            rows = [[of(kind, used) for used in range(BONDS)] for kind in padded]
            return torch.tensor([*rows, [0] * BONDS])[:, :, None]

        self.least, self.start = least, len(kinds)
        nowhere = number[none]
        after = [number.get(kind.after_multiple or none, nowhere) for kind in padded]
        self.multiple = torch.tensor([*after, nowhere])
        self.aromatic = torch.tensor([*(kind.aromatic for kind in padded), False])[:, None, None]
        self.more, self.fill = (over(lambda k, n, f=f: min(NO, f(k, n))) for f in (costs.more, costs.fill))  # type: ignore[misc]
        self.reach, onward = over(lambda kind, used: kind.reach[used]), over(lambda kind, used: kind.onward[used])
        capacity, used = over(lambda kind, used: kind.capacity), torch.arange(BONDS)[:, None]
        ties, spare = torch.arange(TIES), torch.arange(SPARE)
        tied = ~self.aromatic | (ties > 1)
        self.final = over(lambda kind, used: kind.final[used]) * tied
        more = self.aromatic[..., None] & (spare > 0)
        enough = tied[..., None] | (more & (capacity - used + ties > 1)[..., None])
        unmatched = UNMATCHED * (more & (onward & MATCHED).ne(0)[..., None])
        self.on = (onward[..., None] | unmatched) * enough
        self.last = (torch.where(tied, self.reach, onward)[..., None] | unmatched) * enough

    def after(self, table: Tensor, order: int, tie: int) -> Tensor:
        """Entries of a table, of the atom that each becomes by a bond; 0 where there is none."""
        table = table[self.multiple] if order > 1 else table
        moved = torch.zeros_like(table)
        moved[:, : BONDS - order] = table[:, order:]
        return torch.cat([moved[:, :, tie:], moved[:, :, TIES - tie :]], 2) if tie else moved

    def follows(self, order: int, tie: int, opened: bool) -> Tensor:
        """Whether a bond that is no double bond of the matching may lead on."""
        left = self.after(self.on, order, tie) if opened else self.after(self.final, order, tie)[..., None]
        return (left[..., None] & torch.arange(WAYS)).ne(0).expand(*self.on.shape, WAYS)

    def aromatic_way(self, opened: bool) -> Tensor:
        """Which atoms an aromatic bond may lead to: 0 none, 1 any, 2 those that can have a double bond."""
        ways = torch.arange(WAYS)
        left = (self.after(self.on, 1, 1) if opened else self.after(self.final, 1, 1)[..., None])[..., None]
        double = (left & MATCHED).ne(0) & (ways & UNMATCHED).ne(0)
        single = (left & ways).ne(0)
        # an atom before a branch needs a ring for itself afterwards, if it has no aromatic bond yet
        reserved = torch.arange(TIES)[:, None, None] == 0 if opened else torch.zeros(1, 1, 1, dtype=torch.bool)
        at_hand = self.aromatic[..., None, None] & (torch.arange(SPARE)[:, None] > reserved)
        return (single + 2 * (double & ~single)) * at_hand

    def paths(self) -> Tensor:
        """See `Bonding.paths`."""
        out = []
        for opened in (False, True):
            one, two, three = (self.follows(order, 0, opened).long() for order in (1, 2, 3))
            slanted = (self.follows(1, 1, opened) & self.aromatic[..., None, None]).long()
            way = self.aromatic_way(opened)
            aromatic = self.aromatic[..., None, None]
            plain = torch.where(aromatic, (_IMPLIED + 2 * way + one) * (way + one).ne(0), _SINGLE * one)
            slash = torch.where(aromatic, _AROMATIC * slanted + (slanted & one), _SINGLE * one)
            contexts = [plain, 3 * one * aromatic, 4 * two, 5 * three * ~aromatic, slash]
            for order, context in zip((1, 1, 2, 3, 1), contexts, strict=True):
                cost = opened * (1 + self.after(self.more, order, 0)).clamp(max=NO)
                out.append(64 * context + cost[..., None, None])
        whole = torch.stack(out, -1)
        whole[self.start] = 0
        whole[self.start, :, :, :, :, NONE] = 64 * CONTEXTS.index("start")
        return whole

    def choices(self) -> Tensor:
        """See `Bonding.choices`."""
        ways, aromatic = torch.arange(WAYS), self.aromatic[..., None, None]
        shape = (*self.on.shape, WAYS)

        def cost(may: Tensor, characters: Tensor | int) -> Tensor:
            characters = torch.as_tensor(characters)
            while 0 < characters.dim() < len(shape):
                characters = characters[..., None]
            return torch.where(may, characters, NO).clamp(max=NO).expand(shape)

        done = (self.final[..., None, None] & ways).ne(0)
        branch = ((self.after(self.on, 1, 0)[..., None] & ways).ne(0)) | self.aromatic_way(True).ne(0)
        ring = (self._begun()[..., None] & torch.where(aromatic, ways | ways << 1, ways)).ne(0)
        used = torch.arange(BONDS)[:, None, None, None]
        out = []
        for opened, atom in ((False, True), (True, False), (False, False)):
            one, two, three = (self.follows(order, 0, opened) for order in (1, 2, 3))
            slanted = self.follows(1, 1, opened) & aromatic
            around = [opened * (1 + self.after(self.more, order, 0)) for order in (1, 2, 3)]
            fields = [
                cost(done & atom, 0),
                cost(branch & (not opened), 2 + self.after(self.more, 1, 0)),
                cost(one & aromatic, self.least["single to aromatic"] + around[0]),
                cost(two, self.least["double"] + around[1]),
                cost(three & ~aromatic, self.least["triple"] + around[2]),
                cost(one | slanted, self.least["single"] + around[0]),
                cost(done & atom, 1),
                cost(ring & atom, RING_COST + 1 + self.aromatic + self.after(self.fill, 1, 0)),
                cost((used < 2) & atom & ~aromatic, 0),
            ]
            out.append(sum(field << (FIELD * k) for k, field in enumerate(fields)))
        whole = torch.stack(out, -1)  # type: ignore[arg-type]
        whole[self.start] = sum(NO << (FIELD * k) for k in range(len(CHOICES)))
        return whole

    def _begun(self) -> Tensor:
        """How the atom may be left in the end after it began a ring: one more ring is at hand."""
        tied = torch.where(self.aromatic[..., None], self.after(self.on, 1, 1), self.after(self.on, 1, 0))
        return torch.cat([tied[..., 1:], tied[..., -1:]], -1)
