"""The SMILES automaton: the state of a half-written string and what may come next, compiled by numba.

It works on plain integers, one string at a time. `README.md`, beside this file, follows one string through it.

The double bonds of aromatic rings are a perfect matching of those aromatic atoms that need one. While a string is being
written there are several ways in which it can be matched so far, its *configurations*. A configuration says of the
current atom, of each aromatic atom that waits for the end of a branch, and of the ring bond of each open aromatic ring
whether it has its double bond (a ring bond: whether it is one). That is one bit for the current atom, the lowest, and
five for the others, so there are 64 configurations, and a set of them is one 64-bit integer in which bit ``c`` says
whether configuration ``c`` is possible. A step of the matching moves whole groups of configurations, which is a shift.

A *slot* is one of the five bits by its value, 2, 4, …, 32, which is also how much the number of a configuration grows
when the bit is set; 0 is no slot. Where no slot is free the atoms of a branch are matched apart: they are another
*part*, with a set of its own.

An *atom state* is a number for its type, the sum of its bond orders so far and its aromatic bonds so far. *Ways* to
leave an atom are 0, UNMATCHED, MATCHED, or both added.

numba compiles anew when this file changes, but not when another one does: constants of the machine belong here. It
keeps the result in ``__pycache__``, as Python does, or in the user's cache. Indices are not checked, so any character,
allowed or not, must lead to indices inside the tables.
"""

import contextlib
import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import numpy as np
from numba import njit
from numba.core.caching import FunctionCache

from molvae.folders import others_may_write
from molvae.vae.grammar.valence import MATCHED, UNMATCHED

log = logging.getLogger("molvae")

MAX_NESTING: Final = 12
"""The most branches within branches. ZINC-250k has five."""
NO_DEPTH: Final = 10_000
"""The depth of what is not there: deeper than any atom."""
AROMATIC_COUNTS: Final = 4
"""Numbers of aromatic bonds that are told apart, 0 to 3."""
STATES_PER_TYPE: Final = 16 * AROMATIC_COUNTS
"""Atom states of a type. Type 0 is none: what is before the first atom, and what bonds cannot make."""
SIGNS: Final = ("", "end", "(", ")", "-", "=", "#", "/", ".", "l", "r", "%", *"0123456789")
"""The characters that have a meaning outside of brackets and are no atom; the first stands for all others."""

# what closes a ring, at most: an atom and its digit; and one more character where the ring is aromatic, and one for the
# first of the open rings, as a ring has three atoms
_RING_COST: Final = 2
_FINAL, _EVENTUAL, _ONWARD = range(3)  # an atom is left with the bonds it has; with these or more; with more
_ATOM, _OPENED, _CLOSED, _ENDED = range(4)  # what was written last, bond signs and digits aside
_NONE, _SINGLE, _DOUBLE, _TRIPLE, _SLASH = range(5)
_ORDERS: Final = np.array([1, 1, 2, 3, 1])
_END, _OPEN, _CLOSE, _DOT, _L, _R, _PERCENT, _DIGIT = (SIGNS.index(sign) for sign in ("end", *"().lr%0"))
_BOND: Final = SIGNS.index("-") - _SINGLE
_EVEN: Final = 0x5555555555555555  # the configurations with even numbers: the current atom is unmatched
# by slot, the configurations whose bit of that slot is 0: 0b…00110011 for 2, as (2^64 - 1) / (1 + 2^2)
_WITHOUT: Final = np.array([(2**64 - 1) // (1 + 2**k) if k & (k - 1) == 0 else 0 for k in range(33)])
_ALL_SLOTS: Final = 0b111110

_inner = njit(no_cpython_wrapper=True, no_cfunc_wrapper=True)


class _Cache(FunctionCache):  # type: ignore[misc]
    """numba's cache, in which a damaged file counts as none, and one that cannot be written does no harm."""

    def load_overload(self, sig: Any, target_context: Any) -> Any:
        """The function that was compiled for these types, or None."""
        try:
            return super().load_overload(sig, target_context)
        except Exception:  # the files are pickles: damaged ones may raise anything
            with contextlib.suppress(OSError):
                self.flush()
            return None

    def save_overload(self, sig: Any, data: Any) -> None:
        """Keep the compiled function, if the disk lets it."""
        with contextlib.suppress(OSError):
            super().save_overload(sig, data)


def _entry(function: Callable[..., None]) -> Any:
    """A function that Python calls, compiled once for all processes.

    It is compiled anew in each process where no folder can be written, or where other users can write there.
    """
    compiled = njit(nogil=True)(function)
    try:
        cache = _Cache(function)
    except RuntimeError as error:
        why = str(error)
    else:
        place = Path(cache.cache_path)
        # who can write beside this file has Python's own cache of it, too
        why = "" if place.parent == Path(__file__).parent else others_may_write(place)
    if why:
        log.info("%s of the grammar is compiled for this process alone: %s", function.__name__, why)
    else:
        compiled._cache = cache  # all that njit(cache=True) does, with a cache of its own
    return compiled


@_inner
def _leave(configs, ways):
    """The configurations in which the current atom may be left in these ways."""
    return (configs & _EVEN) * (ways & UNMATCHED) | (configs & ~_EVEN) * (ways >> 1)


@_inner
def _forget(configs):
    """The configurations of the other atoms once the current one is left; the next has no double bond yet."""
    return configs & _EVEN | configs >> 1 & _EVEN


@_inner
def _may_match(configs, slot):
    """The current atom gets its double bond, or not, by a ring bond with this slot, or by a bond without (0)."""
    # from c, with the lowest bit clear, to c + slot + 1, where both bits are set
    return configs | (configs & _EVEN) << slot + 1


@_inner
def _follow_aromatic(configs, ways, slot):
    """An aromatic bond leads from the current atom, left in these ways, to the next one.

    If the slot is not 0, the current atom waits in it for the end of a branch.
    """
    unmatched = configs & _EVEN
    # either this bond is the double one: the next atom is matched, too; or the current atom has its own already
    matched = unmatched << slot + 1 | (configs >> 1 & _EVEN) << slot
    return unmatched * (ways & UNMATCHED) | matched * (ways >> 1)


@_inner
def _split(configs, slot):
    """The configurations without the bit of a slot, and those with it, the bit taken away."""
    without = _WITHOUT[slot]
    return configs & without, (configs & ~without) >> slot & without


@_inner
def _close(single, double):
    """The current atom ends an aromatic ring bond; the two sets are those of `_split`."""
    # where the ring bond is the double one, the current atom must be unmatched, and is matched by it
    return single | (double & _EVEN) << 1


@_inner
def _ways(configs):
    """How the current atom can be: UNMATCHED, MATCHED, both added, or 0 where no configuration is left."""
    return UNMATCHED * int(configs & _EVEN != 0) + MATCHED * int(configs & ~_EVEN != 0)


@_inner
def _after_bond(atoms, atom, order, aromatic):
    """The atom state after a further bond; aromatic bonds are of order 1."""
    if order > 1:
        atom = atoms[atom].multiple
    bonds = atom % STATES_PER_TYPE + AROMATIC_COUNTS * order + aromatic
    return atom - atom % STATES_PER_TYPE + bonds if bonds < STATES_PER_TYPE else 0


@_inner
def _ways_to_leave(atoms, atom, spare, when):
    """The ways to leave an atom where so many open rings are spare; ``when`` is _FINAL, _EVENTUAL or _ONWARD."""
    return atoms[atom].ways[when, int(spare > 0)]


@_inner
def _ways_after_bond(atoms, now, spare, opened, order, aromatic):
    """The ways to leave the current atom by a bond; where the bond opens a branch, another one must follow it."""
    after = _after_bond(atoms, now.atom, order, aromatic)
    return _ways_to_leave(atoms, after, spare, _ONWARD if opened else _FINAL)


@_inner
def _aromatic_target(atoms, now, spare, opened, ways):
    """The atoms to which an aromatic bond may lead: 0 none, 1 any, 2 those that can have a double bond."""
    # An aromatic bond is part of a ring that is open now. Where it opens a branch and is the first aromatic bond of its
    # atom, the second one follows the branch, and its ring must stay open through the branch: so there are two rings.
    if not atoms[now.atom].aromatic or spare <= int(opened and now.atom % AROMATIC_COUNTS == 0):
        return 0
    leave = _ways_after_bond(atoms, now, spare, opened, 1, 1)
    # an unmatched atom that may not be left so gets its double bond now, from an atom that can have one, too
    return 1 if leave & ways else 2 if leave & MATCHED and ways & UNMATCHED else 0


@_inner
def _rings_beyond(rings, depth):
    """How many open rings began at a deeper atom."""
    count = 0
    for k in range(len(rings)):
        count += rings[k].depth > depth
    return count


@_inner
def _context(atoms, text, now, ways):
    """Where an atom is due: its place in CONTEXTS, and the characters that the current atom needs after a branch."""
    bond, opened = text.bond, text.last == _OPENED
    if text.ring_tens or now.atom == 0:
        return int(not text.ring_tens and bond == _NONE), 0
    spare, order, aromatic = text.open_rings - now.reserved, _ORDERS[bond], atoms[now.atom].aromatic
    # whether a bond may lead to an atom that is not aromatic
    plain = int(_ways_after_bond(atoms, now, spare, opened, order, 0) & ways != 0)
    around = 1 + atoms[_after_bond(atoms, now.atom, order, 0)].completion_onward if opened else 0
    if bond == _NONE and aromatic:
        target = _aromatic_target(atoms, now, spare, opened, ways)
        # 6: no aromatic atom, 7: any aromatic one, 8: both, 9: a matchable one, 10: that or no aromatic one
        return (5 + 2 * target + plain if target + plain else 0), around
    if bond == _SLASH and aromatic:
        return (7 + plain if _ways_after_bond(atoms, now, spare, opened, 1, 1) & ways else 0), around
    if (bond == _SINGLE and not aromatic) or (bond == _TRIPLE and aromatic):
        plain = 0
    return plain * (2, 3, 4, 5, 2)[bond], around


@_inner
def _after_branch(atoms, text):
    """The set of the atom that waits for the end of this branch, if it ended here; 0 where it cannot."""
    now, waiting = text.places[text.level], text.places[text.level - 1]
    leave = _ways_to_leave(atoms, now.atom, text.open_rings - now.reserved, _FINAL)
    rest = _forget(_leave(text.sets[now.part], leave))
    if waiting.slot:
        single, double = _split(rest, waiting.slot)
        configs = single | double << 1  # the waiting atom is the current one again: its bit moves from the slot
    else:
        configs = text.sets[waiting.part] if rest else 0
    return _leave(configs, _ways_to_leave(atoms, waiting.atom, text.open_rings - waiting.reserved, _ONWARD))


@_inner
def _ring_ends(atoms, text, now, ring, onward):
    """The bond signs after which an open ring may end here, as bits; ``onward``: another bond must follow."""
    configs, spare = text.sets[now.part], text.open_rings - now.reserved - 1
    when = _ONWARD if onward else _EVENTUAL
    # a ring has three atoms, and two rings never bind the same two atoms
    if spare < 0 or ring.depth >= now.depth - 1 or ring.neighbour == text.atom_position:
        return 0
    one, two = configs, configs * ring.aromatic  # where the ring bond is single, where it is double
    if ring.part >= 0:
        one, two = _split(text.sets[ring.part], ring.slot)
    if ring.part >= 0 and ring.part != now.part:
        one, two = configs if one else 0, configs if two else 0
    atom = now.atom
    single = int(_leave(one, _ways_to_leave(atoms, _after_bond(atoms, atom, 1, 0), spare, when)) != 0)
    double = int(_leave(two, _ways_to_leave(atoms, _after_bond(atoms, atom, 2, 0), spare, when)) != 0) * ring.aromatic
    if not ring.aromatic or not atoms[atom].aromatic:
        return single << _NONE | single << _SLASH | double << _DOUBLE
    leave = _ways_to_leave(atoms, _after_bond(atoms, atom, 1, 1), spare, when)
    aromatic, slanted = int(_leave(_close(one, two), leave) != 0), int(_leave(one, leave) != 0)
    return aromatic << _NONE | single << _SINGLE | double << _DOUBLE | slanted << _SLASH


@_inner
def _bond_signs(atoms, bond_cost, text, now, ways, room):
    """The bond signs that may come, as bits of SIGNS."""
    signs, spare, opened = 0, text.open_rings - now.reserved, text.last == _OPENED
    aromatic = atoms[now.atom].aromatic
    for bond in range(_SINGLE, _SLASH + 1):
        # a written single bond is needed between aromatic atoms only; these have no triple bond
        if (bond == _SINGLE and not aromatic) or (bond == _TRIPLE and aromatic):
            continue
        order = _ORDERS[bond]
        leave = _ways_after_bond(atoms, now, spare, opened, order, 0)
        if bond == _SLASH and aromatic:
            leave |= _ways_after_bond(atoms, now, spare, opened, 1, 1)
        around = 1 + atoms[_after_bond(atoms, now.atom, order, 0)].completion_onward if opened else 0
        if leave & ways and bond_cost[bond] + around <= room:
            signs |= 1 << bond + _BOND
    return signs


@_inner
def _other_signs(atoms, text, now, ways, room, inner):
    """The signs except bonds and digits that may come after an atom or a branch, as bits of SIGNS."""
    atom, spare, at_atom, signs = atoms[now.atom], text.open_rings - now.reserved, text.last == _ATOM, 0
    single = _after_bond(atoms, now.atom, 1, 0)
    # a branch is followed by another bond of its atom, so there must be two more: by the first it is left _ONWARD
    branch = _ways_to_leave(atoms, single, spare, _ONWARD) & ways or _aromatic_target(atoms, now, spare, True, ways)
    if branch and text.level < MAX_NESTING and 2 + atoms[single].completion_onward <= room:
        signs |= 1 << _OPEN
    # The end, and the next molecule, follow an atom that is complete as it is, where no ring and no branch is open; the
    # end of a branch is no such place, as RDKit writes the last neighbour without parentheses. END takes up room, too.
    if at_atom and atom.ways[_FINAL, 0] & ways and text.open_rings + text.level == 0:
        signs |= int(room >= 0) << _END | int(room >= 1) << _DOT
    # where a ring must still close in this branch, or an aromatic bond still lacks its ring, the branch goes on
    if at_atom and inner == 0 and now.open_aromatic_depth == NO_DEPTH:
        if text.second_letter and room >= 0:
            signs |= 1 << text.second_letter
        if text.level and _after_branch(atoms, text):
            signs |= int(room >= -1) << _CLOSE  # this character is counted among the completion costs already
    return signs


@_inner
def _ring_may_begin(atoms, text, now, ways, room):
    """Whether a ring may begin at the current atom."""
    aromatic = atoms[now.atom].aromatic
    after = _after_bond(atoms, now.atom, 1, aromatic)
    leave = _ways_to_leave(atoms, after, text.open_rings - now.reserved + 1, _ONWARD)
    cost = _RING_COST + 1 + aromatic + atoms[_after_bond(atoms, now.atom, 1, 0)].completion
    return leave & (ways | ways << 1 if aromatic else ways) and cost <= room  # an aromatic ring bond may match the atom


@_inner
def _ring_signs(atoms, text, rings, now, inner, may_begin):
    """The digits and % that may come after an atom, and bond signs before the end of a ring, as bits of SIGNS."""
    # rings that can serve the waiting atoms that need one: those that began at the first of these atoms or before
    signs, serving = 0, text.open_rings
    if now.reserved_depth < NO_DEPTH:
        serving -= _rings_beyond(rings, now.reserved_depth)
    for number in range(len(rings)):
        ring, may = rings[number], may_begin
        if ring.depth >= 0:
            may = False
            if now.reserved_depth == NO_DEPTH or serving > int(ring.depth <= now.reserved_depth):
                # the branch goes on if another of its rings stays open, or this one leaves an aromatic bond out
                onward = inner > int(ring.depth > now.branch_depth) or now.open_aromatic_depth <= ring.depth
                ends = _ring_ends(atoms, text, now, ring, onward)
                may = ends >> text.bond & 1
                if text.bond == _NONE and text.ring_tens == 0:
                    signs |= (ends & ~1) << _BOND
        if may:
            ten, one = number // 10, number % 10
            if text.ring_tens < 0:
                signs |= int(ten > 0) << _DIGIT + ten
            elif ten == text.ring_tens:
                signs |= 1 << _DIGIT + one
            elif text.ring_tens == 0:
                signs |= 1 << _PERCENT
    return signs


@_entry
def allowed(tables, texts, rings, longest, may):
    """Write which characters may come next to ``may``, ``(batch, character)`` bool."""
    atoms = tables.atoms
    for row in range(len(texts)):
        text = texts[row]
        if text.last == _ENDED:
            may[row] = False
            continue
        now, opened = text.places[text.level], text.last == _OPENED
        room = longest - text.length - 1 - now.completion_cost - text.closing_cost  # what is left after one more
        ways, inner, signs = _ways(text.sets[now.part]), _rings_beyond(rings[row], now.branch_depth), 0
        if text.node == 0 and now.atom:
            may_begin = False
            if text.bond == _NONE and text.ring_tens == 0:
                signs |= _bond_signs(atoms, tables.bond_cost, text, now, ways, room)
                if text.open_rings >= tables.ring_numbers:
                    signs &= ~(1 << _BOND + _SINGLE)  # it would lead to an aromatic atom, which would begin a ring
                if not opened:
                    signs |= _other_signs(atoms, text, now, ways, room, inner)
            if text.last == _ATOM:
                may_begin = text.bond == _NONE and _ring_may_begin(atoms, text, now, ways, room)
                signs |= _ring_signs(atoms, text, rings[row], now, inner, may_begin)
        context, around = _context(atoms, text, now, ways)
        free = not opened and (inner > 0 or now.open_aromatic_depth < NO_DEPTH)
        path = context * 4 + 2 * int(free) + int(text.open_rings >= tables.ring_numbers)
        room += int(not opened and inner > 0) - around  # an atom is half of what closes a ring
        for k in range(len(tables.sign)):
            may[row, k] = tables.cost[text.node, path, k] <= room or signs >> tables.sign[k] & 1


@_entry
def advance(tables, texts, rings, chosen):
    """Add a character to each string; one that is not allowed leaves a state without meaning."""
    for row in range(len(texts)):
        text = texts[row]
        if text.last == _ENDED:
            continue
        sign = 0 if text.node else tables.sign[chosen[row]]
        text.node = tables.next_node[text.node, chosen[row]]
        atom = tables.atom_at[text.node]
        text.second_letter = 0
        if atom:
            _add_atom(tables.atoms, text, atom)
        elif sign == _END:
            text.last = _ENDED
        elif sign == _OPEN:
            text.last = _OPENED
        elif sign == _CLOSE and text.level:
            _end_branch(tables.atoms, text)
        elif _BOND < sign <= _BOND + _SLASH:
            text.bond = sign - _BOND
        elif sign == _DOT:
            text.places[0].atom, text.last = 0, _ATOM
        elif sign in (_L, _R):
            now = text.places[text.level]
            now.atom = tables.atoms[now.atom].two_letters
        elif sign == _PERCENT:
            text.ring_tens = -1
        elif sign >= _DIGIT and text.ring_tens < 0:
            text.ring_tens = sign - _DIGIT
        elif sign >= _DIGIT:
            _add_ring_bond(tables.atoms, text, rings[row], 10 * text.ring_tens + sign - _DIGIT)
        text.length += 1


@_inner
def _add_atom(atoms, text, atom):
    """The next atom is complete; ``atom`` is the first state of its type, without bonds."""
    now, bond = text.places[text.level], text.bond
    first, branch = now.atom == 0, text.last == _OPENED and text.level < MAX_NESTING
    both = atoms[now.atom].aromatic and atoms[atom].aromatic
    # a slash between aromatic atoms stands on an aromatic bond that is not the double one
    matching, aromatic, order = both and bond == _NONE, int(both and (bond in (_NONE, _SLASH))), _ORDERS[bond]
    if first:
        here, part, configs, free, order = now, 0, 1, _ALL_SLOTS, 0
    else:
        now.atom = _after_bond(atoms, now.atom, order, aromatic)
        part, configs, free, slot = _leave_by_bond(atoms, text, now, branch, matching)
        here = _open_branch(atoms, text, now, slot) if branch else now
    here.atom, here.part, here.depth = _after_bond(atoms, atom, order, aromatic), part, now.depth + 1
    if matching:
        here.open_aromatic_depth = min(here.open_aromatic_depth, here.depth)
    text.sets[part] = configs if atoms[here.atom].matchable else configs & _EVEN
    text.free_slots[part] = free
    text.node, text.last, text.bond, text.atom_position = 0, _ATOM, _NONE, text.length
    text.second_letter = atoms[here.atom].second_letter


@_inner
def _leave_by_bond(atoms, text, now, branch, matching):
    """The part of the next atom, its set and free slots, and the slot in which the current atom waits, if it does.

    The current atom has that bond already; ``matching``: whether the bond can be the double one.
    """
    part = now.part
    configs, free = text.sets[part], text.free_slots[part]
    leave = _ways_to_leave(atoms, now.atom, text.open_rings - now.reserved, _ONWARD if branch else _FINAL)
    slot = free & -free if branch and matching else 0  # the lowest that is free
    if branch and slot == 0:  # the branch is matched apart
        kept = _leave(configs, leave)
        text.sets[part] = _may_match(kept, 0) if matching else kept
        return part + 1, 3 if matching else 1, _ALL_SLOTS, 0
    if matching:
        return part, _follow_aromatic(configs, leave, slot), free & ~slot, slot
    return part, _forget(_leave(configs, leave)), free, 0


@_inner
def _open_branch(atoms, text, now, slot):
    """The place of a branch that begins at the current atom, which waits for its end."""
    text.level += 1
    here, needs_ring = text.places[text.level], atoms[now.atom].needs_aromatic
    here.branch_depth, here.open_aromatic_depth = now.depth, NO_DEPTH
    # the atom's next aromatic bond follows the branch, so a ring that is open now must stay open until then
    here.reserved = now.reserved + needs_ring
    here.reserved_depth = min(now.reserved_depth, now.depth) if needs_ring else now.reserved_depth
    here.completion_cost = now.completion_cost + 1 + atoms[now.atom].completion_onward
    now.slot = slot
    return here


@_inner
def _end_branch(atoms, text):
    """The atom that waits for the end of the branch is the current one again."""
    configs, now, waiting = _after_branch(atoms, text), text.places[text.level], text.places[text.level - 1]
    if waiting.slot:
        text.free_slots[waiting.part] = text.free_slots[now.part] | waiting.slot
    text.sets[waiting.part] = configs
    text.level, text.last = text.level - 1, _CLOSED


@_inner
def _add_ring_bond(atoms, text, rings, number):
    """A ring begins or ends at the current atom."""
    now, ring = text.places[text.level], rings[number]
    configs = _begin_ring(atoms, text, now, ring) if ring.depth < 0 else _end_ring(atoms, text, rings, now, ring)
    onward = _rings_beyond(rings, now.branch_depth) > 0 or now.open_aromatic_depth < NO_DEPTH
    leave = _ways_to_leave(atoms, now.atom, text.open_rings - now.reserved, _ONWARD if onward else _EVENTUAL)
    text.sets[now.part] = _leave(configs, leave)
    text.bond = _NONE
    text.ring_tens = 0


@_inner
def _begin_ring(atoms, text, now, ring):
    """The set of the current atom after a ring began at it."""
    aromatic, free, configs = atoms[now.atom].aromatic, text.free_slots[now.part], text.sets[now.part]
    slot = free & -free if aromatic else 0  # the lowest that is free
    ring.depth, ring.aromatic, ring.neighbour = now.depth, aromatic, -1
    ring.part, ring.slot = now.part if slot else -1, slot
    text.closing_cost += _RING_COST + aromatic + int(text.open_rings == 0)
    text.open_rings += 1
    text.free_slots[now.part] = free & ~slot
    now.atom = _after_bond(atoms, now.atom, 1, aromatic)
    return _may_match(configs, slot) if aromatic else configs


@_inner
def _end_ring(atoms, text, rings, now, ring):
    """The set of the current atom after a ring ended at it."""
    bond, both = text.bond, atoms[now.atom].aromatic and ring.aromatic
    configs = _match_ring_bond(text, ring, both and bond == _NONE)
    for k in range(len(rings)):
        if rings[k].depth == ring.depth:
            rings[k].neighbour = text.atom_position
    # the ring runs through all atoms between its two ends, also through those that wait for the end of a branch
    for level in range(text.level + 1):
        if text.places[level].open_aromatic_depth > ring.depth:
            text.places[level].open_aromatic_depth = NO_DEPTH
    text.closing_cost -= _RING_COST + ring.aromatic + int(text.open_rings == 1)
    text.open_rings -= 1
    ring.depth = -1
    now.atom = _after_bond(atoms, now.atom, _ORDERS[bond], int(both and (bond in (_NONE, _SLASH))))
    return configs


@_inner
def _match_ring_bond(text, ring, matching):
    """The set of the current atom after a ring bond; the part of the ring's first atom is brought up to date.

    ``matching``: whether the ring bond can be the double bond of both atoms.
    """
    part = text.places[text.level].part
    configs = text.sets[part]
    if ring.part < 0:
        return _may_match(configs, 0) if matching else configs
    single, double = _split(text.sets[ring.part], ring.slot)
    text.free_slots[ring.part] |= ring.slot
    if ring.part == part:
        return double if text.bond == _DOUBLE else _close(single, double) if matching else single
    # the other part keeps what this one leaves possible; which configurations of the two go together is not known
    even = configs & _EVEN
    either = single | (double if even else 0)
    text.sets[ring.part] = double if text.bond == _DOUBLE else either if matching else single
    return _close(configs if single else 0, even if double else 0) if matching else configs
