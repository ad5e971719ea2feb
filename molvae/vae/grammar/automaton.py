"""Where a half-written string stands and what may come next: plain integers, one string at a time, compiled by numba.

The double bonds of aromatic rings are a perfect matching of those aromatic atoms that need one. What it can be so far
is a set of configurations: of the current atom, of each aromatic atom that waits for the end of a branch, and of each
aromatic ring that is open, a configuration says whether it has its double bond. Six bits make 64 configurations, so a
set of them is one integer, and a step of the matching is a shift. The current atom is the lowest bit; the others are
named by the number 2, 4, …, 32 (a slot), which is also by how much a configuration grows when the bit is set; 0 is no
slot. Where no slot is free the atoms of a branch are matched apart: they are another *part*.

An *atom* is a number for its kind, the sum of its bond orders so far and its aromatic bonds so far.

numba compiles anew when this file changes, but not when another one does: constants of the machine belong here. It
keeps the result in ``__pycache__``, as Python does, or in the user's cache. Indices are not checked, so whatever is
written, allowed or not, must lead to none outside of the tables.
"""

import contextlib
import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import numpy as np
from numba import njit, types
from numba.core.caching import FunctionCache

from molvae.data.vocab import END, START
from molvae.folders import others_may_write
from molvae.vae.grammar.valence import MATCHED, UNMATCHED

log = logging.getLogger("molvae")

LEVELS: Final = 12
"""Branches within branches at most. ZINC-250k has five."""
FAR: Final = 10_000
"""Depth of what is not there."""
TIES: Final = 4
"""Numbers of aromatic bonds that are told apart, 0 to 3."""
PER_KIND: Final = 16 * TIES
"""Atoms of a kind; kind 0 is none: what is before the first atom, and what bonds cannot make."""
SIGNS: Final = ("", "end", "(", ")", "-", "=", "#", "/", ".", "l", "r", "%", *"0123456789")
"""What has a meaning outside of brackets and is no atom; the first stands for the rest."""

_RING: Final = 2  # characters that close a ring, at most: an atom and its digit; one more where it is aromatic
_NOW, _LAST, _ON = range(3)  # an atom is left now; in the end; in the end, with another bond
_ATOM, _OPENED, _CLOSED, _ENDED = range(4)  # what was written last, signs and digits aside
_NONE, _SINGLE, _DOUBLE, _TRIPLE, _SLASH = range(5)
_ORDERS: Final = np.array([1, 1, 2, 3, 1])
_END, _OPEN, _CLOSE, _DOT, _L, _R, _PERCENT, _DIGIT = (SIGNS.index(sign) for sign in ("end", *"().lr%0"))
_BOND: Final = SIGNS.index("-") - _SINGLE
_EVEN: Final = 0x5555555555555555
_LACKING: Final = np.array([(2**64 - 1) // (1 + 2**k) if k & (k - 1) == 0 else 0 for k in range(33)])
_SLOTS: Final = 0b111110

_next = types.ExternalFunction("gru_next", types.void(*[types.intp] * 6))  # pointers are integers here
_part = njit(no_cpython_wrapper=True, no_cfunc_wrapper=True)


class _Cache(FunctionCache):  # type: ignore[misc]
    """numba's, where a damaged file counts as none, and one that cannot be written does no harm."""

    def load_overload(self, sig: Any, target_context: Any) -> Any:
        """What was compiled for these types, or None."""
        try:
            return super().load_overload(sig, target_context)
        except Exception:  # the files are pickles: damaged ones may raise anything
            with contextlib.suppress(OSError):
                self.flush()
            return None

    def save_overload(self, sig: Any, data: Any) -> None:
        """Keep what was compiled, if the disk lets it."""
        with contextlib.suppress(OSError):
            super().save_overload(sig, data)


def _whole(function: Callable[..., None]) -> Any:
    """Compiled once for all processes; in each of them where no folder can be written, or others can write there."""
    whole = njit(nogil=True)(function)
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
        whole._cache = cache  # all that njit(cache=True) does, with a cache of its own
    return whole


@_part
def _keep(set_, left):
    """The configurations that an atom leaves."""
    return (set_ & _EVEN) * (left & UNMATCHED) | (set_ & ~_EVEN) * (left >> 1)


@_part
def _forget(set_):
    """Those of the atoms around, the current one being left."""
    return set_ & _EVEN | set_ >> 1 & _EVEN


@_part
def _either(set_, slot):
    """The current atom may have got its double bond, or not; by a ring with a slot, if that is not 0."""
    return set_ | (set_ & _EVEN) << slot + 1


@_part
def _bond(set_, left, slot):
    """The next atom is bound to the current one, left matched or not, by a double bond or not.

    The current one goes on to wait in the slot, if that is not 0.
    """
    even = set_ & _EVEN
    matched = even << slot + 1 | (set_ >> 1 & _EVEN) << slot
    return even * (left & UNMATCHED) | matched * (left >> 1)


@_part
def _split(set_, slot):
    """Those without the bit of a slot, and those with it, the bit taken away."""
    lacking = _LACKING[slot]
    return set_ & lacking, (set_ & ~lacking) >> slot & lacking


@_part
def _close(single, double):
    """The current atom ends a ring bond; the two sets are those of `_split`."""
    return single | (double & _EVEN) << 1


@_part
def _after(atoms, atom, order, tie):
    """The atom that a bond makes of one."""
    if order > 1:
        atom = atoms[atom].multiple
    bonds = atom % PER_KIND + TIES * order + tie
    return atom - atom % PER_KIND + bonds if bonds < PER_KIND else 0


@_part
def _left(atoms, atom, spare, how):
    """The ways, UNMATCHED and MATCHED, to leave an atom where so many rings are spare."""
    return atoms[atom].left[how, int(spare > 0)]


@_part
def _onward(atoms, now, spare, opened, order, tie):
    """The ways to leave the current atom by another bond, or to go on after that where a branch opens."""
    return _left(atoms, _after(atoms, now.atom, order, tie), spare, _ON if opened else _NOW)


@_part
def _aromatic_way(atoms, now, spare, opened, ways):
    """Which atoms an aromatic bond may lead to: 0 none, 1 any, 2 those that can have a double bond."""
    # an atom before a branch needs a ring for itself afterwards, if it has no aromatic bond yet
    if not atoms[now.atom].aromatic or spare <= int(opened and now.atom % TIES == 0):
        return 0
    left = _onward(atoms, now, spare, opened, 1, 1)
    return 1 if left & ways else 2 if left & MATCHED and ways & UNMATCHED else 0


@_part
def _ways(set_):
    """How the current atom can be: UNMATCHED, MATCHED, both added, or 0 where no configuration is left."""
    return UNMATCHED * int(set_ & _EVEN != 0) + MATCHED * int(set_ & ~_EVEN != 0)


@_part
def _beyond(rings, depth):
    """Open rings whose first atom is deeper."""
    count = 0
    for k in range(len(rings)):
        count += rings[k].depth > depth
    return count


@_part
def _context(atoms, text, now, ways):
    """Where an atom is due: the number of its context, and characters that the current atom needs after a branch."""
    bond, opened = text.bond, text.after == _OPENED
    if text.tens or now.atom == 0:
        return int(not text.tens and bond == _NONE), 0
    spare, order, aromatic = text.rings - now.reserved, _ORDERS[bond], atoms[now.atom].aromatic
    free = int(_onward(atoms, now, spare, opened, order, 0) & ways != 0)
    around = 1 + atoms[_after(atoms, now.atom, order, 0)].more if opened else 0
    if bond == _NONE and aromatic:
        way = _aromatic_way(atoms, now, spare, opened, ways)
        return (5 + 2 * way + free if way + free else 0), around
    if bond == _SLASH and aromatic:
        return (7 + free if _onward(atoms, now, spare, opened, 1, 1) & ways else 0), around
    if (bond == _SINGLE and not aromatic) or (bond == _TRIPLE and aromatic):
        free = 0
    return free * (2, 3, 4, 5, 2)[bond], around


@_part
def _branch_end(atoms, text):
    """The set of the atom that waits for the end of this branch, were it to end here; 0 where it cannot."""
    now, waiting = text.places[text.level], text.places[text.level - 1]
    rest = _forget(_keep(text.sets[now.part], _left(atoms, now.atom, text.rings - now.reserved, _NOW)))
    if waiting.slot:
        single, double = _split(rest, waiting.slot)
        set_ = single | double << 1
    else:
        set_ = text.sets[waiting.part] if rest else 0
    return _keep(set_, _left(atoms, waiting.atom, text.rings - waiting.reserved, _ON))


@_part
def _ring_end(atoms, text, now, ring, on):
    """After which bond signs an open ring may end here, as bits; ``on``: another bond must follow."""
    set_, spare, how = text.sets[now.part], text.rings - now.reserved - 1, _ON if on else _LAST
    if spare < 0 or ring.depth >= now.depth - 1 or ring.bound == text.born:
        return 0
    one, two = set_, set_ * ring.aromatic
    if ring.part >= 0:
        one, two = _split(text.sets[ring.part], ring.slot)
    if ring.part >= 0 and ring.part != now.part:
        one, two = set_ if one else 0, set_ if two else 0
    single = int(_keep(one, _left(atoms, _after(atoms, now.atom, 1, 0), spare, how)) != 0)
    double = int(_keep(two, _left(atoms, _after(atoms, now.atom, 2, 0), spare, how)) != 0) * ring.aromatic
    if not ring.aromatic or not atoms[now.atom].aromatic:
        return single << _NONE | single << _SLASH | double << _DOUBLE
    tie = _left(atoms, _after(atoms, now.atom, 1, 1), spare, how)
    tied, slanted = int(_keep(_close(one, two), tie) != 0), int(_keep(one, tie) != 0)
    return tied << _NONE | single << _SINGLE | double << _DOUBLE | slanted << _SLASH


@_part
def _bonds(atoms, least, text, now, ways, room):
    """The bond signs that may come, as bits of SIGNS."""
    signs, spare, opened = 0, text.rings - now.reserved, text.after == _OPENED
    aromatic = atoms[now.atom].aromatic
    for bond in range(_SINGLE, _SLASH + 1):
        if (bond == _SINGLE and not aromatic) or (bond == _TRIPLE and aromatic):
            continue
        order = _ORDERS[bond]
        may = _onward(atoms, now, spare, opened, order, 0)
        if bond == _SLASH and aromatic:
            may |= _onward(atoms, now, spare, opened, 1, 1)
        around = 1 + atoms[_after(atoms, now.atom, order, 0)].more if opened else 0
        if may & ways and least[bond] + around <= room:
            signs |= 1 << bond + _BOND
    return signs


@_part
def _others(atoms, text, now, ways, room, inner):
    """The signs but bonds and digits that may come after an atom or a branch, as bits of SIGNS."""
    atom, spare, at_atom, signs = atoms[now.atom], text.rings - now.reserved, text.after == _ATOM, 0
    single = _after(atoms, now.atom, 1, 0)
    branch = _left(atoms, single, spare, _ON) & ways or _aromatic_way(atoms, now, spare, True, ways)
    if branch and text.level < LEVELS and 2 + atoms[single].more <= room:
        signs |= 1 << _OPEN
    if at_atom and atom.left[_NOW, 0] & ways and text.rings + text.level == 0:
        signs |= int(room >= 0) << _END | int(room >= 1) << _DOT
    if at_atom and inner == 0 and now.bare == FAR:
        if text.tail and room >= 0:
            signs |= 1 << text.tail
        if text.level and _branch_end(atoms, text):
            waiting = text.places[text.level - 1]
            signs |= int(atoms[waiting.atom].more + waiting.fill - now.fill <= room) << _CLOSE
    return signs


@_part
def _begins(atoms, text, now, ways, room):
    """Whether a ring may begin at the current atom."""
    aromatic = atoms[now.atom].aromatic
    left = _left(atoms, _after(atoms, now.atom, 1, aromatic), text.rings - now.reserved + 1, _ON)
    cost = _RING + 1 + aromatic + atoms[_after(atoms, now.atom, 1, 0)].fill
    return left & (ways | ways << 1 if aromatic else ways) and cost <= room


@_part
def _numbers(atoms, text, rings, now, inner, begins):
    """The digits and % that may come after an atom, and bond signs before the end of a ring, as bits of SIGNS."""
    signs, serving = 0, text.rings
    if now.needy < FAR:
        serving -= _beyond(rings, now.needy)
    for number in range(len(rings)):
        ring, may = rings[number], begins
        if ring.depth >= 0:
            may = False
            if now.needy == FAR or serving > int(ring.depth <= now.needy):
                on = inner > int(ring.depth > now.floor) or now.bare <= ring.depth
                ends = _ring_end(atoms, text, now, ring, on)
                may = ends >> text.bond & 1
                if text.bond == _NONE and text.tens == 0:
                    signs |= (ends & ~1) << _BOND
        if may:
            ten, one = number // 10, number % 10
            if text.tens < 0:
                signs |= int(ten > 0) << _DIGIT + ten
            elif ten == text.tens:
                signs |= 1 << _DIGIT + one
            elif text.tens == 0:
                signs |= 1 << _PERCENT
    return signs


@_whole
def allowed(lexicon, texts, rings, longest, may):
    """Which characters may come next, to ``may``, ``(batch, character)`` bool."""
    atoms = lexicon.atoms
    for row in range(len(texts)):
        text = texts[row]
        if text.after == _ENDED:
            may[row] = False
            continue
        now, opened = text.places[text.level], text.after == _OPENED
        room = longest - text.length - 1 - now.fill - text.owed
        ways, inner, signs = _ways(text.sets[now.part]), _beyond(rings[row], now.floor), 0
        if text.node == 0 and now.atom:
            begins = False
            if text.bond == _NONE and text.tens == 0:
                signs |= _bonds(atoms, lexicon.least, text, now, ways, room)
                if text.rings >= lexicon.numbers:
                    signs &= ~(1 << _BOND + _SINGLE)
                if not opened:
                    signs |= _others(atoms, text, now, ways, room, inner)
            if text.after == _ATOM:
                begins = text.bond == _NONE and _begins(atoms, text, now, ways, room)
                signs |= _numbers(atoms, text, rings[row], now, inner, begins)
        context, around = _context(atoms, text, now, ways)
        free = not opened and (inner > 0 or now.bare < FAR)
        path = context * 4 + 2 * int(free) + int(text.rings >= lexicon.numbers)
        room += int(not opened and inner > 0) - around  # an atom is half of what closes a ring
        for k in range(len(lexicon.sign)):
            may[row, k] = lexicon.cost[text.node, path, k] <= room or signs >> lexicon.sign[k] & 1


@_whole
def advance(lexicon, texts, rings, chosen):
    """Another character each; one that is not allowed leaves what has no meaning."""
    for row in range(len(texts)):
        text = texts[row]
        if text.after == _ENDED:
            continue
        sign = 0 if text.node else lexicon.sign[chosen[row]]
        text.node = lexicon.following[text.node, chosen[row]]
        kind = lexicon.complete[text.node]
        text.tail = 0
        if kind:
            _atom(lexicon.atoms, text, kind)
        elif sign == _END:
            text.after = _ENDED
        elif sign == _OPEN:
            text.after = _OPENED
        elif sign == _CLOSE and text.level:
            _end_branch(lexicon.atoms, text)
        elif _BOND < sign <= _BOND + _SLASH:
            text.bond = sign - _BOND
        elif sign == _DOT:
            text.places[0].atom, text.after = 0, _ATOM
        elif sign in (_L, _R):
            now = text.places[text.level]
            now.atom = lexicon.atoms[now.atom].full
        elif sign == _PERCENT:
            text.tens = -1
        elif sign >= _DIGIT and text.tens < 0:
            text.tens = sign - _DIGIT
        elif sign >= _DIGIT:
            _number(lexicon.atoms, text, rings[row], 10 * text.tens + sign - _DIGIT)
        text.length += 1


@_part
def _copy(lines, source, target):
    for k in range(lines.shape[1]):
        lines[target, k] = lines[source, k]


@_whole
def write(lexicon, texts, rings, longest, given, out):
    """The likeliest allowed characters, to ``out``, ``(batch, length)``, where END stands already.

    As `gru_write`: strings are written side by side, and one that has ended makes way for the next.

    Args:
        given: what `gru_next` takes: a layer's address; of each string what is added to the gates and the state,
            ``(batch, …)``, which are overwritten; scores, ``(block, characters)``.
    """
    layer, fixed, states, scores = given
    n = begun = min(len(scores), len(texts))
    rows, tokens, may = np.arange(n), np.full(n, START), np.empty((n, len(lexicon.sign)), np.bool_)
    while n:
        _next(layer, n, tokens.ctypes.data, fixed.ctypes.data, states.ctypes.data, scores.ctypes.data)
        allowed(lexicon, texts[:n], rings, longest, may)
        for i in range(n):
            best, most = END, -np.inf
            for k in range(len(lexicon.sign)):
                if may[i, k] and scores[i, k] > most:
                    best, most = k, scores[i, k]
            out[rows[i], texts[i].length] = tokens[i] = best
        advance(lexicon, texts[:n], rings, tokens)
        for i in range(n - 1, -1, -1):
            if tokens[i] != END and texts[i].length < out.shape[1]:
                continue
            if begun < len(texts):
                source, rows[i], tokens[i] = begun, begun, START
                begun += 1
            else:
                n -= 1
                source, rows[i], tokens[i] = n, rows[n], tokens[n]
            texts[i] = texts[source]
            _copy(rings, source, i)
            _copy(fixed, source, i)
            _copy(states, source, i)


@_part
def _atom(atoms, text, kind):
    now, bond = text.places[text.level], text.bond
    first, branch = now.atom == 0, text.after == _OPENED and text.level < LEVELS
    both = atoms[now.atom].aromatic and atoms[kind].aromatic
    tied = both and bond == _NONE
    tie, order = int(both and (bond in (_NONE, _SLASH))), 0 if first else _ORDERS[bond]
    set_, free, part, slot, here = text.sets[now.part], text.free[now.part], now.part, 0, now
    kind = _after(atoms, kind, order, tie)
    if first:
        part, set_, free = 0, 1, _SLOTS
    else:
        now.atom = _after(atoms, now.atom, order, tie)
        left = _left(atoms, now.atom, text.rings - now.reserved, _ON if branch else _NOW)
        slot = free & -free if branch and tied else 0
        if branch and slot == 0:  # the branch is matched apart
            kept = _keep(set_, left)
            text.sets[part] = _either(kept, 0) if tied else kept
            part, set_, free = part + 1, 3 if tied else 1, _SLOTS
        elif tied:
            set_, free = _bond(set_, left, slot), free & ~slot
        else:
            set_ = _forget(_keep(set_, left))
    if branch:
        text.level += 1
        here, lonely = text.places[text.level], atoms[now.atom].lonely
        here.floor, here.bare = now.depth, FAR
        here.reserved = now.reserved + lonely
        here.needy = min(now.needy, now.depth) if lonely else now.needy
        here.fill = now.fill + 1 + atoms[now.atom].more
        now.slot = slot
    here.atom, here.part, here.depth = kind, part, now.depth + 1
    if tied:
        here.bare = min(here.bare, here.depth)
    text.sets[part] = set_ if atoms[kind].matchable else set_ & _EVEN
    text.free[part] = free
    text.node, text.after, text.bond, text.born, text.tail = 0, _ATOM, _NONE, text.length, atoms[kind].tail


@_part
def _end_branch(atoms, text):
    set_, now, waiting = _branch_end(atoms, text), text.places[text.level], text.places[text.level - 1]
    if waiting.slot:
        text.free[waiting.part] = text.free[now.part] | waiting.slot
    text.sets[waiting.part] = set_
    text.level, text.after = text.level - 1, _CLOSED


@_part
def _number(atoms, text, rings, number):
    now, ring, bond = text.places[text.level], rings[number], text.bond
    aromatic, set_ = atoms[now.atom].aromatic, text.sets[now.part]
    if ring.depth < 0:
        slot = text.free[now.part] & -text.free[now.part] if aromatic else 0
        ring.depth, ring.aromatic, ring.bound = now.depth, aromatic, -1
        ring.part, ring.slot = now.part if slot else -1, slot
        text.owed += _RING + aromatic + int(text.rings == 0)
        text.rings += 1
        text.free[now.part] &= ~slot
        set_ = _either(set_, slot) if aromatic else set_
        now.atom = _after(atoms, now.atom, 1, aromatic)
    else:
        both = aromatic and ring.aromatic
        tied = both and bond == _NONE
        set_ = _end_ring(text, ring, tied)
        for k in range(len(rings)):
            if rings[k].depth == ring.depth:
                rings[k].bound = text.born
        for level in range(text.level + 1):
            if text.places[level].bare > ring.depth:
                text.places[level].bare = FAR
        text.owed -= _RING + ring.aromatic + int(text.rings == 1)
        text.rings -= 1
        ring.depth = -1
        now.atom = _after(atoms, now.atom, _ORDERS[bond], int(both and (bond in (_NONE, _SLASH))))
    on = _beyond(rings, now.floor) > 0 or now.bare < FAR
    left = _left(atoms, now.atom, text.rings - now.reserved, _ON if on else _LAST)
    text.sets[now.part] = _keep(set_, left)
    text.bond = _NONE
    text.tens = 0


@_part
def _end_ring(text, ring, tied):
    """The set of the current atom after a ring ended at it; the part of the ring's first atom is brought up to date."""
    part = text.places[text.level].part
    set_ = text.sets[part]
    if ring.part < 0:
        return _either(set_, 0) if tied else set_
    single, double = _split(text.sets[ring.part], ring.slot)
    text.free[ring.part] |= ring.slot
    if ring.part == part:
        return double if text.bond == _DOUBLE else _close(single, double) if tied else single
    even = set_ & _EVEN  # the other part keeps what may be left
    tie = single | (double if even else 0)
    text.sets[ring.part] = double if text.bond == _DOUBLE else tie if tied else single
    return _close(set_ if single else 0, even if double else 0) if tied else set_
