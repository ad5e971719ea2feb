"""The SMILES automaton once more, slow and readable: the decisions of `molvae.vae.grammar.automaton` on plain objects.

Both share the chemistry (`valence.py`: types of atoms, costs of completing them), but no data: here atoms are objects
with a parent instead of rows with a depth, and the double bonds of aromatic rings are sets of sets instead of 64-bit
integers (`reference_parts.py`). What the automaton keeps count of, such as costs, is counted here anew each time.
"""

from collections.abc import Iterator
from math import inf
from typing import Any, Final

from reference_parts import (
    EVENTUAL,
    FINAL,
    HERE,
    NONE,
    ONWARD,
    Atom,
    Bonds,
    Configurations,
    Matching,
    Ring,
    Ways,
    after_ring,
    between_ends,
    end_aromatic,
    follow_aromatic,
    forget,
    leave,
    may_match,
    spelling_costs,
    spellings,
    split,
    ways,
    without_isotope,
)

from molvae.vae.grammar.valence import MATCHED, AtomType, CompletionCosts

MAX_NESTING: Final = 12
ORDERS: Final = {"": 1, "-": 1, "=": 2, "#": 3, "/": 1}
TARGETS: Final = {"-": "single to aromatic", "=": "double", "#": "triple", "/": "single"}
HALOGENS: Final = {AtomType("C"): ("l", AtomType("Cl")), AtomType("B"): ("r", AtomType("Br"))}


class Reference:
    """A string that is being written: `molvae.vae.grammar.mask.Grammar` for one string.

    Attributes:
        stack: the atoms that wait for the end of a branch, outermost first, then the current atom, or None before the
            first atom of a molecule.
        rings: the open ones by number.
        last: what was written last, bond signs and digits aside: "atom", "(", ")" or "end".
        bond: the sign that waits for its atom, or nothing.
        spelled: what is written of an atom in brackets, from "[" on, or nothing.
        number: what is written of a ring number, "%" or "%1", or nothing.
        letter: the sign that would make another element of the atom just written, or nothing.
        length: the characters written.
    """

    def __init__(self, characters: str, longest: int) -> None:
        self.characters, self.longest = characters, longest
        self.costs, self.spellings = CompletionCosts(characters), spellings(characters)
        digits = [int(c) for c in characters if c in "0123456789"]
        self.numbers = range(100 if "%" in characters else 1 + max([0, *digits]))
        self.most_rings = 100 if "%" in characters else len(digits)
        self.stack: list[Any] = [None]
        self.rings: dict[int, Ring] = {}
        self.last, self.bond, self.spelled, self.number, self.letter, self.length = "atom", "", "", "", "", 0

    # What the string is like so far

    @property
    def now(self) -> Any:
        """The current atom."""
        return self.stack[-1]

    @property
    def waiting(self) -> list[Atom]:
        """The atoms that wait for the end of a branch, outermost first."""
        return self.stack[:-1]

    @property
    def current_ways(self) -> Ways:
        """Whether the current atom can have its double bond (True), or lack it (False), or either."""
        return frozenset(HERE in one for one in self.now.matching.possible)

    @property
    def branch(self) -> list[Atom]:
        """The atoms of the current branch, the current one first."""
        before = self.waiting[-1].path if self.waiting else []
        return [atom for atom in self.now.path if atom not in before] if self.now else []

    @property
    def reserved(self) -> list[Atom]:
        """The waiting atoms that lack an aromatic bond: a ring that is open now must stay open for each of them."""
        return [atom for atom in self.waiting if atom.bonds.needs_aromatic]

    @property
    def full(self) -> bool:
        """Whether there is no number for another ring."""
        return len(self.rings) >= self.most_rings

    @property
    def spare(self) -> int:
        """The number of open rings that no waiting atom needs."""
        return len(self.rings) - len(self.reserved)

    @property
    def inner(self) -> list[Ring]:
        """The open rings that began in this branch, and must end in it."""
        return [ring for ring in self.rings.values() if ring.first in self.branch]

    @property
    def ringless(self) -> list[Atom]:
        """The atoms of this branch whose aromatic bond is in no ring yet."""
        return [atom for atom in self.branch if atom.ringless]

    @property
    def closing_cost(self) -> int:
        """The most characters that close the open rings: see `automaton._RING_COST`."""
        return sum(2 + ring.first.aromatic for ring in self.rings.values()) + bool(self.rings)

    @property
    def branch_cost(self) -> int:
        """The fewest characters that end the open branches and complete the atoms that wait for that."""
        return sum(1 + self.onward_cost(atom.bonds) for atom in self.waiting)

    @property
    def room(self) -> int:
        """How many characters are left after the next one."""
        return self.longest - self.length - 1 - self.closing_cost - self.branch_cost

    def onward_cost(self, bonds: Bonds | None) -> int:
        """The fewest characters that complete an atom by at least one more bond."""
        return self.costs.completion_onward(bonds.type, bonds.total) if bonds else 0

    # What may come next

    def allowed(self) -> set[str]:
        """The characters that may come next, and "end" where the string may end."""
        if self.last == "end":
            return set()
        found = set(self.atoms())
        if self.now and not self.spelled:
            if not self.bond and not self.number:
                found |= {*self.bonds(), *(self.others() if self.last != "(" else ())}
            if self.last == "atom":
                found |= set(self.ring_bonds())
        return found & {*self.characters, "end"} | ({"\\"} & set(self.characters) if "/" in found else set())

    def atoms(self) -> Iterator[str]:
        """Characters that begin an atom, or go on with one in brackets."""
        inside, room = self.last != "(", self.room
        if inside and self.inner:
            room += 1  # the atom can be the one that the cost of a ring counts
        if not inside:  # the end of the branch, and what the current atom needs after it
            room -= 1 + self.onward_cost(self.now.bonds.after(ORDERS[self.bond]))
        goes_on = inside and bool(self.inner or self.ringless)  # the branch does not end with this atom
        costs = spelling_costs(self.characters, self.context(), goes_on, self.full)
        for character in self.characters:
            if costs.get(without_isotope(self.spelled + character), inf) <= room:
                yield character

    def context(self) -> str:
        """Where an atom is due: one of `valence.CONTEXTS`."""
        if not self.now or self.number:
            return "nothing" if self.number or self.bond else "start"
        opens = self.last == "("
        plain = bool(self.ways_after(ORDERS[self.bond], False, opens) & self.current_ways)
        if self.now.aromatic and self.bond == "":
            target = self.aromatic_target(opens)
            if plain:
                return {"": "no aromatic", "any": "any", "matchable": "matchable or no aromatic"}[target]
            return {"": "nothing", "any": "aromatic", "matchable": "matchable"}[target]
        if self.now.aromatic and self.bond == "/":
            slanted = self.ways_after(1, True, opens) & self.current_ways
            return "nothing" if not slanted else "any" if plain else "aromatic"
        if not plain or self.bond == ("#" if self.now.aromatic else "-"):
            return "nothing"
        return {"": "single", **TARGETS}[self.bond]

    def ways_after(self, order: int, aromatic: bool, opens: bool) -> Ways:
        """The ways to leave the current atom by a bond; if that opens a branch, another one must follow."""
        return ways(self.now.bonds.after(order, aromatic), ONWARD if opens else FINAL, self.spare)

    def aromatic_target(self, opens: bool) -> str:
        """The atoms to which an aromatic bond may lead: none, "any", or those that are "matchable"."""
        # An aromatic bond is part of a ring that is open now. Where it opens a branch and is the first aromatic bond of
        # its atom, the second one follows the branch, and its ring must stay open through the branch.
        needed = 2 if opens and not self.now.bonds.aromatic else 1
        if not self.now.aromatic or self.spare < needed:
            return ""
        how = self.ways_after(1, True, opens)
        if how & self.current_ways:
            return "any"
        # an unmatched atom that may not be left so gets its double bond now, from an atom that can have one, too
        return "matchable" if True in how and False in self.current_ways else ""

    def bonds(self) -> Iterator[str]:
        """Bond signs that may come before an atom."""
        opens = self.last == "("
        for bond, target in TARGETS.items():
            # a written single bond is needed between aromatic atoms only, and these have no triple bond
            if bond == ("#" if self.now.aromatic else "-") or (bond == "-" and self.full):
                continue
            how = self.ways_after(ORDERS[bond], False, opens)
            if bond == "/" and self.now.aromatic:
                how |= self.ways_after(1, True, opens)
            atoms = spelling_costs(self.characters, target, True, False)
            least = 1 + min(cost for text, cost in atoms.items() if len(text) == 1)
            after = 1 + self.onward_cost(self.now.bonds.after(ORDERS[bond])) if opens else 0
            if how & self.current_ways and least + after <= self.room:
                yield bond

    def others(self) -> Iterator[str]:
        """Parentheses, the end, the dot, and the second letter of an element."""
        # a branch is followed by another bond of its atom
        single = self.now.bonds.after(1)
        can_branch = ways(single, ONWARD, self.spare) & self.current_ways or self.aromatic_target(opens=True)
        if can_branch and len(self.waiting) < MAX_NESTING and 2 + self.onward_cost(single) <= self.room:
            yield "("
        if self.last != "atom":  # the last neighbour of an atom stands without parentheses
            return
        # the string ends where its last atom is complete and nothing is open; the end takes up room, too
        if not self.rings and not self.waiting and ways(self.now.bonds, FINAL, 0) & self.current_ways:
            yield from [sign for sign, least in (("end", 0), (".", 1)) if self.room >= least]
        if self.inner or self.ringless:
            return
        if self.letter and self.room >= 0:
            yield self.letter
        if self.waiting and self.after_branch() and self.room >= -1:  # its cost is counted already
            yield ")"

    def after_branch(self) -> Configurations:
        """The configurations of the waiting atom, if the branch ended here; none where it cannot."""
        now, waiting = self.now, self.waiting[-1]
        rest = forget(leave(now.matching.possible, ways(now.bonds, FINAL, self.spare)))
        possible = waiting.matching.possible if rest else set()
        if waiting.named:
            without, having = split(rest, waiting)
            possible = without | {one | {HERE} for one in having}
        spare = len(self.rings) - sum(atom.bonds.needs_aromatic for atom in self.waiting[:-1])
        return leave(possible, ways(waiting.bonds, ONWARD, spare))

    def ring_bonds(self) -> Iterator[str]:
        """Digits and % that may come after an atom, and bond signs before the end of a ring."""
        may_begin = not self.bond and self.ring_may_begin()
        for number in self.numbers:
            may = may_begin
            if number in self.rings:
                ends = self.ring_ends(self.rings[number])
                may = self.bond in ends
                if not self.bond and not self.number:
                    yield from ends - {""}
            begun, text = self.number, str(number) if number < 10 else f"%{number}"
            if may and text.startswith(begun):
                yield text[len(begun)]

    def ring_may_begin(self) -> bool:
        """Whether the current atom can be the first of a ring."""
        aromatic = self.now.aromatic
        how = ways(self.now.bonds.after(1, aromatic), ONWARD, self.spare + 1)
        possible = self.current_ways
        if aromatic and False in possible:
            possible |= {True}  # by the ring bond
        single = self.now.bonds.after(1)
        cost = 2 + 1 + aromatic + (self.costs.completion(single.type, single.total) if single else 0)
        return bool(how & possible) and cost <= self.room

    def ring_ends(self, ring: Ring) -> set[str]:
        """The bond signs after which a ring may end at the current atom."""
        now, between = self.now, between_ends(self.now, ring)
        if self.reserved:  # another ring must serve the waiting atoms: one that began at the first of them or before
            serving = self.reserved[0].path
            if not any(other.first in serving for other in self.rings.values() if other is not ring):
                return set()
        # a ring has three atoms, and two rings never bind the same two atoms
        if self.spare < 1 or len(between) < 2 or now in ring.first.ring_neighbours:
            return set()
        # the branch goes on if another of its rings stays open, or this one leaves an aromatic bond out
        goes_on = any(other is not ring for other in self.inner) or any(atom not in between for atom in self.ringless)
        single, double = self.ring_configurations(ring)

        def fits(possible: Configurations, order: int, aromatic: bool = False) -> bool:
            how = ways(now.bonds.after(order, aromatic), ONWARD if goes_on else EVENTUAL, self.spare - 1)
            return bool(leave(possible, how))

        ends = {"": fits(single, 1), "/": fits(single, 1), "=": ring.first.aromatic and fits(double, 2)}
        if ring.first.aromatic and now.aromatic:
            ends |= {"": fits(end_aromatic(single, double), 1, True), "-": fits(single, 1), "/": fits(single, 1, True)}
        return {sign for sign, may in ends.items() if may}

    def ring_configurations(self, ring: Ring) -> tuple[Configurations, Configurations]:
        """The configurations if the bond that closes a ring is single, and if it is double."""
        possible = self.now.matching.possible
        if ring.matching is None:
            return possible, possible if ring.first.aromatic else set()
        single, double = split(ring.matching.possible, ring)
        if ring.matching is self.now.matching:
            return single, double
        # matched apart: which configurations of the two matchings go together is not known
        return possible if single else set(), possible if double else set()

    # What a character does

    def advance(self, character: str) -> None:
        """Write an allowed character, or "end"."""
        sign = "/" if character == "\\" else character
        letter, self.letter = self.letter, ""
        if self.spelled or sign in self.spellings or sign == "[":
            self.spelled += sign
            atom_type = self.spellings.get(without_isotope(self.spelled))
            if atom_type is not None:
                self.spelled = ""
                self.add_atom(atom_type)
        elif sign in ("end", "("):
            self.last = sign
        elif sign == ")":
            self.end_branch()
        elif sign in TARGETS:
            self.bond = sign
        elif sign == ".":
            self.stack, self.last = [None], "atom"
        elif sign == letter:
            self.now.bonds = self.now.bonds._replace(type=HALOGENS[self.now.bonds.type][1])
        elif sign == "%" or self.number == "%":
            self.number += sign
        else:
            self.add_ring_bond(int(self.number.removeprefix("%") + sign))
        self.length += 1

    def add_atom(self, atom_type: AtomType) -> None:
        """The next atom is complete."""
        now, opens, both = self.now, self.last == "(", bool(self.now) and self.now.aromatic and atom_type.aromatic
        aromatic, order = both and self.bond in ("", "/"), ORDERS[self.bond]
        matched = both and self.bond == ""  # a slash stands on an aromatic bond that is not the double one
        if now is None:
            atom = Atom(Bonds(atom_type), None, Matching({NONE}))
        else:
            now.bonds = now.bonds.after(order, aromatic)
            how, matching = ways(now.bonds, ONWARD if opens else FINAL, self.spare), now.matching
            now.named = opens and matched and not matching.full
            if opens and not now.named:  # the branch is matched apart
                kept = leave(matching.possible, how)
                matching.possible = may_match(kept) if matched else kept
                matching = Matching(may_match({NONE}) if matched else {NONE})
            elif matched:
                matching.possible = follow_aromatic(matching.possible, how, *([now] if opens else []))
                matching.names |= {now} if opens else set()
            else:
                matching.possible = forget(leave(matching.possible, how))
            atom = Atom(Bonds(atom_type).after(order, aromatic), now, matching, ringless=matched)
        if not atom.bonds.type.eventual[atom.bonds.total] & MATCHED:  # it cannot have a double bond of the matching
            atom.matching.possible = leave(atom.matching.possible, frozenset({False}))
        self.stack = [*(self.stack if opens else self.waiting), atom]
        self.last, self.bond = "atom", ""
        if atom_type in HALOGENS and atom.bonds.total < 2:
            self.letter = HALOGENS[atom_type][0]

    def end_branch(self) -> None:
        """The atom that waits for the end of the branch is the current one again."""
        waiting = self.waiting[-1]
        waiting.matching.possible = self.after_branch()
        waiting.matching.names -= {waiting}
        self.stack, self.last = self.waiting, ")"

    def add_ring_bond(self, number: int) -> None:
        """A ring begins or ends at the current atom."""
        now, matching = self.now, self.now.matching
        if number not in self.rings:
            ring = self.rings[number] = Ring(now, None if matching.full or not now.aromatic else matching)
            names = {ring} if ring.matching else set()
            if now.aromatic:
                matching.possible = may_match(matching.possible, *names)
            matching.names |= names
            now.bonds = now.bonds.after(1, now.aromatic)
        else:
            self.end_ring(self.rings[number])
            del self.rings[number]
        how = ways(now.bonds, ONWARD if self.inner or self.ringless else EVENTUAL, self.spare)
        matching.possible = leave(matching.possible, how)
        self.bond = self.number = ""

    def end_ring(self, ring: Ring) -> None:
        """The current atom is the last of a ring."""
        now, both = self.now, self.now.aromatic and ring.first.aromatic
        matched = both and self.bond == ""
        single, double = self.ring_configurations(ring)
        if ring.matching not in (None, now.matching):  # the matching of the first atom keeps what this one allows
            others = ring.matching.possible
            ring.matching.possible = after_ring(others, ring, self.bond, matched, False in self.current_ways)
        now.matching.possible = double if self.bond == "=" else end_aromatic(single, double) if matched else single
        if ring.matching:
            ring.matching.names -= {ring}
        for atom in between_ends(now, ring):
            atom.ringless = False
        ring.first.ring_neighbours += (now,)
        now.bonds = now.bonds.after(ORDERS[self.bond], both and self.bond in ("", "/"))
