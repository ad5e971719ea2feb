"""The grammar: real molecules pass it character by character, and what cannot become a molecule does not."""

import logging
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from numba.core.caching import CacheImpl, FunctionCache

from molvae.chem.molecule import parse_or_none
from molvae.data.vocab import END, Vocab
from molvae.vae.grammar.automaton import _entry
from molvae.vae.grammar.mask import Grammar

ZINC = Vocab("#()+-/12345678=@BCFHINOPS[\\]clnors")
LONGEST = 60


@pytest.fixture(scope="module")
def grammar() -> Grammar:
    return Grammar(ZINC, LONGEST)


def written(grammar: Grammar, text: str):
    """The state after a text, which must be allowed."""
    state = grammar.start(1)
    for place, character in enumerate(grammar.vocab.encode(text)):
        assert grammar.allowed(state)[0, character], f"{text[:place]}|{text[place:]}"
        state = grammar.advance(state, torch.tensor([character]))
    return state


def following(grammar: Grammar, text: str) -> set[str]:
    """Characters that may come after a text; "end" for its end."""
    allowed = grammar.allowed(written(grammar, text))[0].nonzero()[:, 0].tolist()
    return {"end" if one == END else grammar.vocab.decode([one]) for one in allowed}


def test_real_molecules_are_accepted_to_their_end(molecules, vocab):
    grammar = Grammar(vocab, 40)
    refused = [text for text in molecules if "end" not in following(grammar, text)]
    assert refused == []


@pytest.mark.parametrize(
    "text",
    [
        "CC(=O)Oc1ccccc1C(=O)O",
        "Cn1c(=O)c2c(ncn2C)n(C)c1=O",
        "C[C@@H](N)C(=O)[O-]",
        "C/C=C/C(=O)Nc1nc2ccc(F)cc2s1",
        "O=S(=O)(c1ccccc1)N1CC[NH2+]CC1",
        "Clc1ccc(Br)cc1",
        "C#CC1CC12CC2",
        "O=[N+]([O-])c1ccc(-c2ccccc2)cc1",
    ],
)
def test_what_rdkit_writes_is_accepted(grammar, text):
    assert "end" in following(grammar, text)


@pytest.mark.parametrize(
    ("text", "never"),
    [
        ("", {"end", ")", "=", "1"}),  # nothing to end, close or bind
        ("C(", {"end", ")", "(", "1"}),  # a branch has an atom
        ("C(C", {"end"}),  # and is closed
        ("C1CC", {"end"}),  # so is a ring
        ("C[", {"end", "(", ")", "="}),  # an atom stands in a bracket
        ("C[NH", {"end", "C", "("}),
        ("C=", {"end", "=", "#", ")"}),  # a bond leads somewhere
        ("CF", {"=", "#", "C", "(", "1"}),  # fluorine has one bond
        ("CO", {"#"}),
        ("C=O", {"C", "=", "(", "1"}),
        ("C(C)(C)(C)", {"=", "#", "(", "end"}),  # carbon has four; something follows a branch
        ("C#N", {"C", "(", "="}),
        ("CC", {")"}),
        ("c1ccccc", {"end"}),
        ("C1C", {"1"}),  # a ring of two atoms is a double bond
    ],
)
def test_what_leads_nowhere_is_refused(grammar, text, never):
    assert following(grammar, text) & never == set()


@pytest.mark.parametrize(("text", "may"), [("C", {"end", "(", "=", "#", "1", "C", "c"}), ("C[", {"N", "n", "C", "O"})])
def test_what_leads_on_may_come(grammar, text, may):
    assert may <= following(grammar, text)


def test_what_is_open_is_closed_before_the_room_ends():
    grammar = Grammar(ZINC, 9)
    assert "(" in following(grammar, "CCCC")
    assert following(grammar, "CCCCC(C") == {")"}
    assert following(grammar, "CCCCCCCC").isdisjoint({"(", "1", "[", "="})


def test_a_string_does_not_depend_on_its_batch(grammar):
    texts = ["CC(=O)", "c1ccc", "C[C@@", "CC(C)("]
    alone = torch.cat([grammar.allowed(written(grammar, text)) for text in texts])
    state = grammar.start(4)
    ids = torch.tensor([grammar.vocab.encode(text.ljust(6, "C"))[:6] for text in texts])
    for t in range(5):
        state = grammar.advance(state, ids[:, t])
    assert torch.equal(grammar.allowed(state)[1:2], alone[1:2])
    state = grammar.advance(state, ids[:, 5])
    assert torch.equal(grammar.allowed(state)[[0, 3]], alone[[0, 3]])
    assert torch.equal(grammar.allowed(state.select(torch.tensor([3, 0, 3]))), alone[[3, 0, 3]])


def test_random_strings_under_the_grammar_are_molecules_far_more_often(grammar):
    """Characters drawn evenly: without the grammar hardly one of a thousand is a molecule."""
    chance = torch.Generator().manual_seed(0)
    shares = []
    for masked in (False, True):
        state, rows = grammar.start(400), torch.zeros(400, LONGEST, dtype=torch.long)
        ended = torch.zeros(400, dtype=torch.bool)
        for t in range(LONGEST):
            allowed = grammar.allowed(state) if masked else torch.ones(400, len(ZINC), dtype=torch.bool)
            allowed[:, 0] = False
            allowed[~allowed.any(1), END] = True
            odds = allowed.float()
            odds[:, END] *= 3
            chosen = torch.where(ended, END, torch.multinomial(odds, 1, generator=chance)[:, 0])
            rows[:, t], ended = chosen, ended | (chosen == END)
            state = grammar.advance(state, chosen) if masked else state
        texts = [ZINC.decode(row) for row in rows.tolist()]
        shares.append(sum(parse_or_none(text) is not None for text in texts if text) / 400)
    assert shares[0] < 0.1
    assert shares[1] > 0.4


def test_what_is_not_allowed_does_no_harm(grammar):
    """Indices are not checked in compiled code: whatever is written, the masks of other strings stay as they are."""
    chance, texts = torch.Generator().manual_seed(0), ["CC(=O)", "c1ccc(", "C[C@@H"]
    state, ids = grammar.start(203), torch.randint(0, len(ZINC), (203, 300), generator=chance)
    ids[200:, :6] = torch.tensor([grammar.vocab.encode(text) for text in texts])
    for t in range(6):
        state = grammar.advance(state, ids[:, t])
    alone = torch.cat([grammar.allowed(written(grammar, text)) for text in texts])
    assert torch.equal(grammar.allowed(state)[200:], alone)
    for t in range(6, 300):
        state = grammar.advance(state, ids[:, t])
        grammar.allowed(state)
    assert grammar.allowed(state).shape == (203, len(ZINC))


@pytest.fixture
def doubled(tmp_path, module_at):
    """Double a one by a function that is compiled anew or found in a cache: gives the result and numba's figures."""
    (tmp_path / "doubling.py").write_text(
        "def double(values):\n    for k in range(len(values)):\n        values[k] *= 2\n"
    )

    def run() -> tuple[float, object]:
        double = _entry(module_at(tmp_path / "doubling.py").double)
        values = np.ones(1)
        double(values)
        return values[0], double.stats

    return run


def test_it_is_compiled_once_for_all_processes(doubled):
    for hits in (0, 1):
        result, stats = doubled()
        assert (result, stats.cache_hits.total()) == (2, hits)


@pytest.mark.parametrize("ending", ["nbi", "nbc"])
@pytest.mark.parametrize("size", [0, 100])
def test_a_truncated_cache_is_made_anew(doubled, ending, size):
    place = Path(doubled()[1].cache_path)
    (kept,) = place.glob(f"*.{ending}")
    os.truncate(kept, size)
    for hits in (0, 1):
        result, stats = doubled()
        assert (result, stats.cache_hits.total()) == (2, hits)


@pytest.mark.skipif(not hasattr(os, "getuid"), reason="no user ids")
def test_a_cache_that_others_can_write_is_not_read(doubled, tmp_path, caplog):
    doubled()
    caplog.set_level(logging.INFO, logger="molvae")
    (tmp_path / "__pycache__").chmod(0o777)
    result, stats = doubled()
    assert (result, stats.cache_path) == (2, None)
    assert caplog.messages == [
        f"double of the grammar is compiled for this process alone: others can write to {tmp_path / '__pycache__'}"
    ]


def test_a_full_disk_does_no_harm(doubled, monkeypatch):
    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(FunctionCache, "save_overload", full)
    assert doubled()[0] == 2


def test_where_nothing_can_be_written_it_compiles_anew(doubled, monkeypatch):
    monkeypatch.setattr(CacheImpl, "_locator_classes", [])
    result, stats = doubled()
    assert (result, stats.cache_path) == (2, None)


@pytest.mark.slow
def test_numba_waits_for_the_grammar():
    code = "import sys, molvae.vae.model, molvae.cli; print('numba' in sys.modules)"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.strip() == "False"
