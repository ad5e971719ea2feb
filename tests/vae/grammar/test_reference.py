"""The compiled automaton against its reference: both allow the same characters after every beginning of a string."""

from functools import cache
from pathlib import Path
from random import Random
from types import ModuleType

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from rdkit import Chem, RDConfig, rdBase

from molvae.data.vocab import END, Vocab
from molvae.vae.grammar import automaton, mask
from molvae.vae.grammar.mask import Grammar

ZINC = "#()+-/12345678=@BCFHINOPS[\\]clnors"
WIDE = "#%()+-./0123456789=@ABCFHIKLMNOPSTZ[\\]abceglnoprst"
FUSED = "()12345678Ccn"
WALKS = [  # characters, longest, characters that are drawn more often
    (FUSED, 60, "cn"),
    (FUSED, 60, "c"),
    ("()12=CNOcnos", 40, "c1n()"),
    (ZINC, 100, "c123(n"),
    (ZINC, 60, "c1234567("),
    (ZINC, 40, "C()NO="),
    (ZINC, 14, ""),
    (WIDE, 60, "[]c12n(+"),
    (WIDE, 60, "%c1nso()"),
    ("()+12=CHN[]cn", 30, "[]"),
    ("1Cc", 30, ""),
]
ENDS = "end"


@cache
def grammar(characters: str, longest: int) -> Grammar:
    return Grammar(Vocab("".join(sorted(characters))), longest)


def chosen(vocab: Vocab, one: str) -> torch.Tensor:
    return torch.tensor([END if one == ENDS else vocab.encode(one)[0]])


def readable(vocab: Vocab, row: torch.Tensor) -> set[str]:
    return {ENDS if k == END else vocab.decode([k]) for k in row.nonzero()[:, 0].tolist()}


def compare(reference: ModuleType, fast: Grammar, text: str) -> bool:
    """Compare what may come after each character of a string; gives whether the whole of it is allowed."""
    slow, state = reference.Reference(fast.vocab.characters, fast.longest), fast.start(1)
    for place, one in enumerate([*text, ENDS]):
        may = slow.allowed()
        assert readable(fast.vocab, fast.allowed(state)[0]) == may, text[:place]
        if one not in may:
            return False
        slow.advance(one)
        state = fast.advance(state, chosen(fast.vocab, one))
    assert not slow.allowed()
    assert not fast.allowed(state).any()
    return True


@given(walk=st.sampled_from(WALKS), seed=st.integers(0, 2**32))
@settings(max_examples=50)
def test_after_each_step_of_a_random_walk_they_allow_the_same(reference, walk, seed):
    *case, likely = walk
    fast, chance = grammar(*case), Random(seed)
    slow, state, text = reference.Reference(fast.vocab.characters, fast.longest), fast.start(1), ""
    for _ in range(60):
        may = slow.allowed()
        assert readable(fast.vocab, fast.allowed(state)[0]) == may, text
        if not may:
            break
        odds = {one: 1 if one == ENDS else 6 if one in likely else 2 for one in sorted(may)}
        (one,) = chance.choices([*odds], [*odds.values()])
        slow.advance(one)
        state = fast.advance(state, chosen(fast.vocab, one))
        text += one


@pytest.mark.parametrize(
    "text",
    [
        "C[N+](C)(C)CC(=O)[O-]",
        "[Na+].[O-]S(=O)(=O)c1ccccc1",
        "C[n+]1ccccc1.[I-]",
        "[2H]C([2H])([2H])[13CH3]",
        "[235CH4]",
        "[18FH]",
        "F[C@@H](Cl)[C@H](Br)I",
        "C/C=C\\C=C/c1ccccc1",
        "c1ccsc1",
        "c1cc[nH]c1",
        "c1cc[se]c1",
        "c1ccc2sccc2c1",
        "O=c1cc[nH]c(=O)[nH]1",
        "O=c1[nH]c2ccccc2c(=O)n1-c1ccccc1",
        "[O-][n+]1ccccc1",
        "C1CCC2(CC1)CCCCC2",
        "C12C3C4C1C5C2C3C45",
        "c1ccc2c(c1)ccc1c2ccc2ccccc21",
        "c1cc2ccc3cccc4ccc(c1)c2c34",
        "c1ccc2c(c1)[nH]c1ccccc12",
        "c1ccc2c(c1)Cc1ccccc1-2",
        "C%10CCCCC%10",
        "c%11ccccc%11-c%12ccccc%12",
        "CC(C(C(C(C)(C)C)(C)C)(C)C)C",
        "CC(C)(C(C)(C(C)(C(C)(C)C)C)C)C",
        "C(c1ccc(C(c2ccc(C(=O)O)cc2)=O)cc1)#N",
        "B(O)(O)c1ccc(P(=O)(O)O)cc1",
        "CS(=O)(=O)N=S(C)(C)=O",
    ],
)
def test_they_allow_the_same_after_every_beginning_of(reference, text):
    assert compare(reference, grammar(WIDE, 80), text)
    compare(reference, grammar(WIDE, 25), text)


def test_the_slot_of_an_atom_is_free_again_after_its_branch(reference):
    """Were it not, a name would be lacking here, and other characters could come next."""
    compare(reference, grammar("()123456=Ccno", 80), "c31=c(c(o3)=c6c5n(n")


@pytest.mark.parametrize("every", [25, pytest.param(8, marks=pytest.mark.slow)])
def test_they_allow_the_same_after_every_beginning_of_real_molecules(reference, every):
    lines = (Path(RDConfig.RDDataDir) / "NCI" / "first_5K.smi").read_text().splitlines()[::every]
    with rdBase.BlockLogs():
        mols = [Chem.MolFromSmiles(line.split()[0]) for line in lines]
    texts = [Chem.MolToSmiles(mol) for mol in mols if mol is not None]
    fast = grammar(ZINC, 60)
    fits = [text for text in texts if set(text) <= set(ZINC) and len(text) <= 50 and Chem.MolFromSmiles(text)]
    assert len(fits) > 0.75 * len(lines)
    accepted = [compare(reference, fast, text) for text in fits]
    assert sum(accepted) > 0.98 * len(fits)  # of some metals and radicals it does not know


# a state table, as the manual of the grammar shows it

MANUAL = Path(mask.__file__).with_name("README.md")
HEADING = "| character | waiting ( current | open rings | costs | room | matching | may come next |"


def state_table(reference: ModuleType, text: str) -> str:
    """A string, character by character: a row tells the state after it and what may come next."""
    slow, names = reference.Reference("()12=CHN[]cn", 20), {None: "–"}
    rows = [HEADING, "|---|---|---|--:|--:|---|---|"]
    for character in ["", *text, ENDS]:
        if character:
            slow.advance(character)
        if slow.now not in names:
            names[slow.now] = slow.now.bonds.type.symbol + "₀₁₂₃₄₅₆₇₈₉"[len(names) - 1]
        cells = [
            f"`{character}`" if character not in ("", ENDS) else character,
            " ( ".join(names[atom] for atom in slow.stack),
            ", ".join(f"{number} from {names[ring.first]}" for number, ring in slow.rings.items()),
            f"{slow.closing_cost} + {slow.branch_cost}",
            str(slow.room),
            "; ".join(matchings(slow, names)),
            " ".join([*(f"`{one}`" for one in sorted(slow.allowed() - {ENDS})), *(slow.allowed() & {ENDS})]),
        ]
        rows.append(f"| {' | '.join(cells)} |")
    return "\n".join(rows)


def matchings(slow, names) -> list[str]:
    """The configurations of each matching that is open, as sets of those that have their double bond."""
    current = {atom.matching: atom for atom in slow.stack if atom}
    names = {**names, **{ring: f"ring {number}" for number, ring in slow.rings.items()}}
    found = []
    for matching, atom in current.items():
        here = [sorted(names[atom if one == "here" else one] for one in some) for some in matching.possible]
        found.append(" or ".join(f"{{{', '.join(some)}}}" for some in sorted(here, key=lambda some: (len(some), some))))
    return found


@pytest.mark.parametrize("text", ["Cc1cc(N)c[nH]1", "c1ccc2c(c1)cc[nH]2"])
def test_the_manual_shows_how_a_string_is_read(reference, text):
    table = state_table(reference, text)
    assert table in MANUAL.read_text(encoding="utf-8"), f"{MANUAL.name} should show\n{table}"


def test_both_have_the_same_limits(reference):
    assert reference.MAX_NESTING == automaton.MAX_NESTING
