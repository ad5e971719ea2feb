"""How far the strings of a batch are: the state of the grammar, and its step, as tensors."""

from dataclasses import dataclass
from typing import Final, NamedTuple

import torch
from torch import Tensor

from molvae.vae import matching
from molvae.vae.bonding import ATOM, CLOSED, DOUBLE, NONE, OPENED, RING_COST, SLASH, SPARE, TIES
from molvae.vae.lexicon import DIGIT, SIGNS, Lexicon

LEVELS: Final = 12
"""Branches within branches at most. ZINC-250k has five."""
FAR: Final = 10_000
"""Depth of what is not there."""
_ANY: Final = LEVELS + 1
"""The set of rings whose bond is not matched: all configurations."""
_OPEN, _CLOSE, _DOT, _L, _R, _PERCENT = (SIGNS.index(sign) for sign in "().lr%")


class Now(NamedTuple):
    """Where each string stands; all ``(batch,)`` int64. The first eight wait while a branch is written.

    Attributes:
        atom: the current atom, see `bonding`.
        depth: atoms between the first and it.
        floor: depth of the atom that the branch began at; −1 outside of branches.
        bare: depth of the first atom of this branch whose aromatic bond is in no ring yet.
        reserved: rings that waiting atoms need for themselves; ``needy`` is the depth of the first of these atoms.
        part: which of the sets in `State.sets` the current atom is in.
        fill: characters that the branches around cost at least.
        level: branches that are open.
        owed: characters that the open rings cost at most.
        rings: how many are open.
        node: of the bracket, 0 outside.
        after: ATOM, OPENED or CLOSED: what was written last, signs and digits aside.
        bond: the sign that waits for its atom.
        born: the step that wrote the current atom.
        tail: whether C or B was written last, see `Lexicon.tail`.
        tens: −1 after %, then the first of the two digits.
    """

    atom: Tensor
    depth: Tensor
    floor: Tensor
    bare: Tensor
    reserved: Tensor
    needy: Tensor
    part: Tensor
    fill: Tensor
    level: Tensor
    owed: Tensor
    rings: Tensor
    node: Tensor
    after: Tensor
    bond: Tensor
    born: Tensor
    tail: Tensor
    tens: Tensor


class Waiting(NamedTuple):
    """What to go back to after a branch, as in `Now`, and the slot of the atom, 0 where it is matched apart."""

    atom: Tensor
    depth: Tensor
    floor: Tensor
    bare: Tensor
    reserved: Tensor
    needy: Tensor
    part: Tensor
    fill: Tensor
    slot: Tensor


SAVED: Final = len(Waiting._fields) - 1


class Rings(NamedTuple):
    """Open rings: depth of the first atom (−1: not open), whether it is aromatic; its set, its slot, what has its bit.

    ``bound`` is the step that wrote the atom that is bound to the first atom by another ring.
    """

    depth: Tensor
    aromatic: Tensor
    part: Tensor
    slot: Tensor
    mask: Tensor
    bound: Tensor


@dataclass(frozen=True)
class State:
    """Where the strings of a batch stand. The batch is the last dimension of each tensor.

    Attributes:
        now: `Now`, ``(17, batch)``.
        waiting: `Waiting`, ``(9, LEVELS, batch)``.
        rings: `Rings`, ``(6, digits, batch)``.
        sets: the configurations and the free slots of the aromatic parts, ``(2, LEVELS + 2, batch)``, see `matching`.
        step: characters written.
    """

    now: Tensor
    waiting: Tensor
    rings: Tensor
    sets: Tensor
    step: int = 0

    @classmethod
    def of(cls, batch: int, lexicon: Lexicon, device: torch.device) -> "State":
        """``batch`` empty strings."""
        zero = torch.zeros(batch, dtype=torch.long, device=device)
        first = {"atom": lexicon.bonding.start, "depth": -1, "floor": -1, "bare": FAR, "needy": FAR, "after": ATOM}
        now = torch.stack([zero + first.get(name, 0) for name in Now._fields])
        rings = zero.expand(len(Rings._fields), lexicon.digits, batch).clone()
        rings[0] = -1
        sets = torch.stack([zero + 1, zero + matching.SLOTS])[:, None].repeat(1, LEVELS + 2, 1)
        sets[0, _ANY] = -1
        return cls(now, zero.expand(len(Waiting._fields), LEVELS, batch).clone(), rings, sets)

    def select(self, rows: Tensor) -> "State":
        """The strings of these rows, which may repeat."""
        parts = (self.now, self.waiting, self.rings, self.sets)
        return State(*(part.index_select(-1, rows) for part in parts), step=self.step)  # type: ignore[arg-type, misc]


class View:
    """A state, with what both questions need: what may come, and what is after it came."""

    def __init__(self, lexicon: Lexicon, state: State) -> None:
        self.lexicon, self.before = lexicon, state
        self.now = now = Now(*state.now.unbind())
        self.rings = Rings(*state.rings.unbind())
        self.set = state.sets[0].gather(0, now.part[None])[0]
        top = (now.level - 1).clamp_(min=0)
        self.back = state.waiting.gather(1, top.expand(len(Waiting._fields), 1, -1))[:, 0]
        self.waiting = Waiting(*self.back.unbind())
        self.spare = now.rings - now.reserved

    def left(self, atom: Tensor, spare: Tensor) -> Tensor:
        """How atoms may be left, ``(3, batch)``, see `Bonding.left`."""
        return self.lexicon.bonding.left.index_select(1, atom * SPARE + spare.clamp(0, SPARE - 1))

    def after_branch(self) -> Tensor:
        """The set of the atom that waits for the end of this branch, were it to end here; 0 where it cannot."""
        now, slot, keep = self.now, self.waiting.slot, self.lexicon.keep
        rest = matching.forget(self.set & keep[self.left(now.atom, self.spare)[0]])
        outer = self.before.sets[0].gather(0, self.waiting.part[None])[0]
        set_ = torch.where(slot > 0, matching.end_branch(rest, slot, self.lexicon.with_bit[slot]), outer * rest.ne(0))
        return set_ & keep[self.left(self.waiting.atom, now.rings - self.waiting.reserved)[2]]


class Step(View):
    """One more character each.

    A ring number, the end of a branch, and an atom each have a method; of a string at most one changes anything.
    """

    def __init__(self, lexicon: Lexicon, state: State, chosen: Tensor) -> None:
        super().__init__(lexicon, state)
        now = self.now
        self.free = state.sets[1].gather(0, now.part[None])[0]
        self.sign = lexicon.sign[chosen] * (now.node == 0)
        self.child = lexicon.following[now.node * lexicon.characters + chosen]
        self.slot = self.free & -self.free
        self.aromatic = lexicon.bonding.aromatic[now.atom]

    def state(self) -> State:
        """Where the strings stand now."""
        now, sign, lexicon, before = self.now, self.sign, self.lexicon, self.before
        bond = lexicon.bond[sign]
        halogen = (sign == _L) | (sign == _R)
        dot = sign == _DOT
        new = now._replace(
            atom=torch.where(dot, lexicon.bonding.start, now.atom + lexicon.halogen[now.tail] * halogen),
            node=self.child,
            after=torch.where(sign == _OPEN, OPENED, torch.where(dot, ATOM, now.after)),
            bond=torch.where(bond > 0, bond, now.bond),
            tail=torch.zeros_like(now.tail),
            tens=torch.where(sign == _PERCENT, -1, now.tens),
        )
        rows, sets = self._atom(*self._branch_end(*self._ring(new)))
        before.sets.scatter_(1, rows[Now._fields.index("part")].expand(2, 1, -1), sets[:, None])
        return State(rows, before.waiting, before.rings, before.sets, before.step + 1)

    def _ring(self, new: Now) -> tuple[Now, Tensor]:
        now, before, bonding = self.now, self.before, self.lexicon.bonding
        digit = self.sign - DIGIT
        number = (digit.clamp(min=0) + 10 * now.tens.clamp(min=0)).expand(len(Rings._fields), 1, -1)
        ring = Rings(*before.rings.gather(1, number)[:, 0].unbind())
        here = (digit >= 0) & (now.tens >= 0)
        ends = here & (ring.depth >= 0)
        begins = here & ~ends
        double = ends & (now.bond == DOUBLE)
        both = ends & (ring.aromatic > 0) & self.aromatic
        tied = both & (now.bond == NONE)
        ties = tied | (both & (now.bond == SLASH)) | (begins & self.aromatic)
        atom = torch.where(double, bonding.multiple[now.atom] + TIES, now.atom) + TIES * here + ties
        change = begins.long() - ends.long()
        cost = RING_COST + torch.where(begins, self.aromatic.long(), ring.aromatic)
        bare = torch.where(ends & (now.bare > ring.depth), FAR, now.bare)
        new = new._replace(
            atom=torch.where(here, atom, new.atom),
            bare=bare,
            owed=now.owed + change * (cost + (now.rings == ends)),
            rings=now.rings + change,
            bond=new.bond * ~here,
            tens=torch.where(digit < 0, new.tens, torch.where(now.tens < 0, digit, 0)),
        )
        sets = self._ring_sets(ring, begins, ends, double, tied)
        self._note(ring, number, begins, ends)
        goes_on = (self.rings.depth > now.floor).any(0) | (bare < FAR)
        _, last, on = self.left(atom, new.rings - now.reserved)
        keep = self.lexicon.keep[torch.where(goes_on, on, last)]
        sets[0] = torch.where(here, sets[0] & keep, sets[0])
        return new, sets

    def _ring_sets(self, ring: Rings, begins: Tensor, ends: Tensor, double: Tensor, tied: Tensor) -> Tensor:
        """The current set and its free slots after a ring number; writes those of the ring, where they are others."""
        now, sets = self.now, self.before.sets
        known = ends & (ring.part < _ANY)
        spot = torch.where(known, ring.part, now.part).expand(2, 1, -1)
        outer, free = sets.gather(1, spot)[:, 0].unbind()
        one, two = matching.split(outer, ring.slot, ring.mask)
        joined, other = matching.join(self.set, one, two)
        outer = torch.where(known, torch.where(double, two, torch.where(tied, other, one)), outer)
        free = torch.where(known, free | ring.slot, free)
        sets.scatter_(1, spot, torch.stack([outer, free])[:, None])
        own = known & (ring.part == now.part)
        closed = torch.where(double, two, torch.where(tied, matching.close_ring(one, two), one))
        joined = torch.where(known, joined, matching.either(self.set))
        begun = torch.where(self.slot > 0, matching.open_ring(self.set, self.slot), matching.either(self.set))
        current = torch.where(tied, joined, torch.where(begins & self.aromatic, begun, self.set))
        slots = self.free & ~(self.slot * (begins & self.aromatic))
        return torch.stack([torch.where(own, closed, current), torch.where(own, free, slots)])

    def _note(self, ring: Rings, number: Tensor, begins: Tensor, ends: Tensor) -> None:
        """Write down the ring that begins or ends."""
        now, before, rings = self.now, self.before, self.rings
        rings.bound.copy_(torch.where(ends & (rings.depth == ring.depth), now.born, rings.bound))
        bare = before.waiting[Waiting._fields.index("bare")]
        bare.copy_(torch.where(ends & (bare > ring.depth), FAR, bare))
        matched = self.aromatic & (self.slot > 0)
        slot = torch.where(self.aromatic & (self.slot == 0), 2, self.slot * self.aromatic)
        begun = Rings(
            depth=now.depth,
            aromatic=self.aromatic.long(),
            part=torch.where(matched, now.part, _ANY),
            slot=slot,
            mask=self.lexicon.with_bit[slot],
            bound=torch.full_like(slot, -1),
        )
        ended = ring._replace(depth=torch.where(ends, -1, ring.depth))
        before.rings.scatter_(1, number, torch.where(begins, torch.stack(begun), torch.stack(ended))[:, None])

    def _branch_end(self, new: Now, sets: Tensor) -> tuple[Now, Tensor]:
        waiting, now = self.waiting, self.now
        ends = self.sign == _CLOSE
        back = torch.where(ends, self.back[:SAVED], torch.stack(new[:SAVED])).unbind()
        new = Now(*back, *new[SAVED:])._replace(
            after=torch.where(ends, CLOSED, new.after), level=now.level - ends.long()
        )
        outer = self.before.sets[1].gather(0, waiting.part[None])[0]
        free = torch.where(waiting.slot > 0, self.free | waiting.slot, outer)
        return new, torch.where(ends, torch.stack([self.after_branch(), free]), sets)

    def _atom(self, new: Now, sets: Tensor) -> tuple[Tensor, Tensor]:
        now, lexicon, bonding = self.now, self.lexicon, self.lexicon.bonding
        kind = lexicon.atom[self.child]
        written = kind >= 0
        kind = kind.clamp(min=0)
        first, branch = now.atom == bonding.start, written & (now.after == OPENED)
        both = self.aromatic & bonding.aromatic[kind] & written
        tied = both & (now.bond == NONE)
        ties = (tied | (both & (now.bond == SLASH))).long()
        order = lexicon.order[now.bond] * ~first
        multiple = order > 1
        kind = torch.where(multiple, bonding.multiple[kind], kind) + TIES * order + ties
        behind = torch.where(multiple, bonding.multiple[now.atom], now.atom) + TIES * order + ties
        behind = torch.where(first | ~written, now.atom, behind)
        final, _, on = self.left(behind, self.spare)
        left = torch.where(branch, on, final)
        slot = self.slot * (branch & tied)
        apart = branch & (slot == 0)
        kept = self.set & lexicon.keep[left]
        around = torch.stack([torch.where(tied, matching.either(kept), kept), self.free])
        spot = torch.where(apart, now.part, LEVELS).expand(2, 1, -1)  # this one is never read
        self.before.sets.scatter_(1, spot, around[:, None])
        self._wait(branch, Waiting(behind, *now[1:SAVED], slot))  # type: ignore[call-arg]
        chain = torch.where(tied, matching.bond(self.set, left), matching.forget(kept))
        fresh = torch.where(first, 1, torch.where(apart, 1 + 2 * tied, chain))
        current = torch.where(slot > 0, matching.branch(self.set, left, slot), fresh)
        current = torch.where(bonding.matchable[kind], current, matching.unmatched(current))
        free = torch.where(first | apart, matching.SLOTS, self.free & ~slot)
        depth, segment = now.depth + 1, torch.where(branch, FAR, now.bare)
        lonely, zero = branch & bonding.lonely[behind], torch.zeros_like(depth)
        after = Now(
            atom=kind,
            depth=depth,
            floor=torch.where(branch, now.depth, now.floor),
            bare=torch.where(tied, torch.minimum(segment, depth), segment),
            reserved=now.reserved + lonely,
            needy=torch.where(lonely, torch.minimum(now.needy, now.depth), now.needy),
            part=now.part * ~first + apart,
            fill=now.fill + branch * (1 + bonding.more[behind]),
            level=now.level + branch,
            owed=now.owed,
            rings=now.rings,
            node=zero,
            after=zero,
            bond=zero,
            born=zero + self.before.step,
            tail=lexicon.tail[kind],
            tens=zero,
        )
        rows = torch.where(written, torch.stack(after), torch.stack(new))
        return rows, torch.where(written, torch.stack([current, free]), sets)

    def _wait(self, branch: Tensor, atom: Waiting) -> None:
        """The current atom waits for the end of the branch that begins."""
        waiting = self.before.waiting
        level = self.now.level.clamp(max=LEVELS - 1).expand(len(Waiting._fields), 1, -1)
        before = waiting.gather(1, level)[:, 0]
        waiting.scatter_(1, level, torch.where(branch, torch.stack(atom), before)[:, None])
