"""Which characters may come next: SMILES read a character at a time, a whole batch at once.

The strings are those that RDKit writes, that is, of a depth-first walk through the molecule: a ring that opens in a
branch closes in it, digits follow their atom at once, a branch is not empty and is followed by something, a ring ends
with a single or aromatic bond, and a bond sign stands only where it is needed. Every molecule of the elements in
`atoms.py` without unpaired electrons has such a string. What it cannot know, such as which rings are aromatic, is left
to RDKit.
"""

from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor
from torch.nn.functional import pad

from molvae.vae import matching
from molvae.vae.bonding import ATOM, DOUBLE, FIELD, NO, NONE, OPENED, SIGNED, SINGLE, SLASH, SPARE, WAYS
from molvae.vae.lexicon import PATHS, Lexicon
from molvae.vae.vocab import Vocab
from molvae.vae.writing import FAR, LEVELS, State, Step, View


@dataclass(frozen=True)
class Grammar:
    """SMILES of a vocabulary, of ``longest`` characters at most.

    The room that open branches, rings and valences need within ``longest`` is counted, rather too high than too low, so
    a string whose rings close in its last few characters may be refused when it is about as long as ``longest``.
    Aromatic rings that are open together can still leave no way on: then `allowed` has none.

    Example:
        >>> grammar = Grammar(vae.vocab, vae.longest)
        >>> state = grammar.advance(grammar.start(1), torch.tensor(vae.vocab.encode("C")))
        >>> grammar.allowed(state)[0, vae.vocab.encode(")")]
        tensor([False])
    """

    vocab: Vocab
    longest: int

    @cached_property
    def _lexicons(self) -> dict[torch.device, Lexicon]:
        return {}

    def _lexicon(self, device: torch.device) -> Lexicon:
        if device not in self._lexicons:
            self._lexicons[device] = Lexicon.of(self.vocab, device)
        return self._lexicons[device]

    def start(self, batch: int, device: torch.device | str = "cpu") -> State:
        """The state of ``batch`` empty strings.

        Raises:
            DataError: the vocabulary has no carbon.
        """
        device = torch.device(device)
        return State.of(batch, self._lexicon(device), device)

    def allowed(self, state: State) -> Tensor:
        """Which characters may come next, ``(batch, vocabulary)`` bool; END where the string is complete."""
        return _Look(self._lexicon(state.now.device), state, self.longest - state.step - 1).allowed()

    def advance(self, state: State, chosen: Tensor) -> State:
        """The state after one more character each.

        Args:
            state: is used up; its tensors may be written to.
            chosen: ids of allowed characters, ``(batch,)``. What follows END has no meaning.
        """
        return Step(self._lexicon(state.now.device), state, chosen).state()


class _Look(View):
    """What may come next.

    Args:
        lexicon: tables of the vocabulary.
        state: of the strings.
        room: characters that may follow the next one.
    """

    def __init__(self, lexicon: Lexicon, state: State, room: int) -> None:
        super().__init__(lexicon, state)
        now = self.now
        self.characters = room
        self.room = room - now.owed - now.fill
        self.site = now.atom * SPARE + self.spare.clamp(0, SPARE - 1)
        self.local = self.site * WAYS + matching.ways(self.set)
        self.at_atom = now.after == ATOM
        self.aromatic = lexicon.bonding.aromatic[now.atom]
        self.inner = self.rings.depth > now.floor
        self.count = self.inner.sum(0)
        self.outside = now.node == 0

    def allowed(self) -> Tensor:
        """``(batch, vocabulary)``."""
        now, lexicon = self.now, self.lexicon
        opened = now.after == OPENED
        path = lexicon.bonding.paths[(self.local * 2 + opened) * SIGNED + now.bond] * (now.tens == 0)
        free = ~opened & ((self.count > 0) | (now.bare < FAR))
        spot = now.node * PATHS + (path >> FIELD) * 4 + 2 * free + (now.rings >= lexicon.numbers)
        room = self.room - (path & NO) + (~opened & (self.count > 0))  # an atom is half of what closes a ring
        atoms = lexicon.cost.index_select(0, spot) <= room[:, None]
        return atoms | torch.stack(self._signs()).index_select(0, lexicon.sign).t()

    def _signs(self) -> list[Tensor]:
        """Of each of SIGNS, whether it may come, ``(batch,)``."""
        now = self.now
        fields = self.lexicon.bonding.choices[self.local * 3 + now.after] >> self.lexicon.shifts & NO
        ready = self.outside & (now.bond == NONE)
        follow = (fields <= self.room.clamp(max=NO - 1)) & ready
        end, branch, dash, twice, triple, slash, dot, ring, halogen = follow
        whole = now.rings + now.level == 0
        ends, (stiff, double, slanted) = self._ring_ends()
        percent, digits = self._digits(ends | ((self.rings.depth < 0) & ring))
        halogen = halogen & (self.count == 0) & (now.bare == FAR)
        signs = [
            end & whole,
            branch & (now.level < LEVELS),
            self._branch_ends() & ready,
            (dash & (now.rings < self.lexicon.numbers)) | (stiff & ready),
            twice | (double & ready),
            triple,
            slash | (slanted & ready),
            dot & whole,
            halogen & (now.tail == 1),
            halogen & (now.tail == 2),
            percent,
        ]
        if self.lexicon.digits > 10:
            signs = [sign & (now.tens == 0) for sign in signs]
        return [torch.zeros_like(end), *signs, *digits]

    def _branch_ends(self) -> Tensor:
        now, waiting = self.now, self.waiting
        cost = now.owed + waiting.fill + self.lexicon.bonding.more[waiting.atom]
        whole = (now.level > 0) & self.at_atom & (self.count == 0) & (now.bare == FAR)
        return whole & self.after_branch().ne(0) & (cost <= self.characters)

    def _ring_ends(self) -> tuple[Tensor, tuple[Tensor, Tensor, Tensor]]:
        """Which ring numbers may end a ring here, ``(digits, batch)``.

        And whether one may after a sign: after ``-`` between aromatic atoms, after ``=``, after a slash, ``(batch,)``.
        """
        now, rings = self.now, self.rings
        here = self.at_atom & self.outside
        far = (rings.depth >= 0) & (rings.depth < now.depth - 1) & (rings.bound != now.born) & here
        serves = (rings.depth >= 0) & (rings.depth <= now.needy)
        far = far & ((serves.sum(0) > serves) | (now.needy == FAR))
        on = (self.count > self.inner) | (now.bare <= rings.depth)
        single, double = matching.split(self.before.sets[0].gather(0, rings.part), rings.slot, rings.mask)
        own = rings.part == now.part
        one = torch.where(own, single, self.set * single.ne(0))
        two = torch.where(own, double, self.set * double.ne(0))
        keep = self.lexicon.ends.index_select(1, self.site).view(2, 3, -1).unbind(1)
        ties, alone, pairs = (torch.where(on, later, last) for last, later in keep)
        aromatic = rings.aromatic > 0
        both = aromatic & self.aromatic
        tied = (matching.close_ring(one, two) & ties).ne(0) & far
        slanted = (one & ties).ne(0) & far
        lone = (one & alone).ne(0) & far
        pair = (two & pairs).ne(0) & aromatic & far
        stiff = lone & both
        slanted = torch.where(both, slanted, lone)
        ends = (torch.where(both, tied, lone) & (now.bond == NONE)) | (stiff & (now.bond == SINGLE))
        ends = ends | (pair & (now.bond == DOUBLE)) | (slanted & (now.bond == SLASH))
        return ends, (stiff.any(0), pair.any(0), slanted.any(0))

    def _digits(self, numbers: Tensor) -> tuple[Tensor, Tensor]:
        """Whether % may come, ``(batch,)``, and each digit, ``(10, batch)``, if these ring numbers may."""
        tens = self.now.tens
        if len(numbers) <= 10:
            return torch.zeros_like(self.outside), pad(numbers, (0, 0, 0, 10 - len(numbers)))
        rows = numbers.view(10, 10, -1)
        first = rows.any(1) & (torch.arange(10, device=tens.device)[:, None] > 0)
        second = rows.gather(0, tens.clamp(min=0).expand(1, 10, -1))[0]
        return first[1:].any(0), torch.where(tens < 0, first, second)
