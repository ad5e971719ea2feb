"""The grammar against RDKit and partialsmiles, on thousands of strings."""

from pathlib import Path

import partialsmiles
import pytest
import torch
from rdkit import Chem, RDConfig, rdBase
from rdkit.Chem.Descriptors import NumRadicalElectrons

from molvae.data.vocab import END, Vocab
from molvae.vae.grammar.mask import Grammar

GRAMMAR = Grammar(Vocab("#()+-/12345678=@BCFHINOPS[\\]clnors"), 60)


AROMATICITY = ("KekulizeException", "AtomKekulizeException")


def refused(texts: list[str]) -> list[str]:
    """Those that the grammar does not let through to their end."""
    ids = torch.full((len(texts), GRAMMAR.longest + 1), END)
    for row, text in enumerate(texts):
        ids[row, : len(text)] = torch.tensor(GRAMMAR.vocab.encode(text))
    state, fine = GRAMMAR.start(len(texts)), torch.ones(len(texts), dtype=torch.bool)
    ended = torch.zeros_like(fine)
    for chosen in ids.unbind(1):
        fine &= ended | GRAMMAR.allowed(state).gather(1, chosen[:, None])[:, 0]
        ended |= chosen == END
        state = GRAMMAR.advance(state, chosen)
    return [text for text, one in zip(texts, fine.tolist(), strict=True) if not one]


def drawn(n: int, likely: str) -> list[str]:
    """Characters drawn under the grammar, these ten times as often as the others: what it calls complete."""
    chance = torch.Generator().manual_seed(0)
    odds = torch.ones(len(GRAMMAR.vocab))
    odds[[END, *GRAMMAR.vocab.encode(likely)]] = 10.0
    state, ended = GRAMMAR.start(n), torch.zeros(n, dtype=torch.bool)
    stuck, ids = ended.clone(), torch.full((n, GRAMMAR.longest), END)
    for t in range(GRAMMAR.longest):
        allowed = GRAMMAR.allowed(state)
        stuck |= ~ended & ~allowed.any(1)
        ended |= stuck
        chosen = torch.multinomial(torch.where(ended[:, None], 1.0, allowed * odds), 1, generator=chance)[:, 0]
        ids[:, t] = torch.where(ended, END, chosen)
        ended |= chosen == END
        state = GRAMMAR.advance(state, ids[:, t])
    whole = ended & ~stuck
    return list(dict.fromkeys(GRAMMAR.vocab.decode(row) for row in ids[whole].tolist()))


def objection(text: str) -> str | None:
    """What RDKit has against a string."""
    if Chem.MolFromSmiles(text) is not None:
        return None
    mol = Chem.MolFromSmiles(text, sanitize=False)
    problems = Chem.DetectChemistryProblems(mol) if mol is not None else []
    return problems[0].GetType() if problems else "syntax"


@pytest.fixture(scope="module", params=["", "Ccn()1", "CNO=#("], ids=["evenly", "aromatic", "chains"])
def complete(request) -> list[str]:
    return drawn(1500, request.param)


def test_molecules_as_rdkit_writes_them_are_accepted():
    lines = (Path(RDConfig.RDDataDir) / "NCI" / "first_5K.smi").read_text().splitlines()
    with rdBase.BlockLogs():
        mols = [mol for mol in (Chem.MolFromSmiles(line.split()[0]) for line in lines) if mol is not None]
    texts = [Chem.MolToSmiles(mol) for mol in mols if not NumRadicalElectrons(mol)]
    texts = [text for text in texts if set(text) <= set(GRAMMAR.vocab.characters) and len(text) <= GRAMMAR.longest - 10]
    assert len(texts) > 4000
    metals = ("[Co", "[Cr", "[Ni", "[Os", "[Rh", "[In", "[Pb", "[Hg", "[Bi", "[Cs", "[Cl+")
    assert [text for text in refused(texts) if not any(metal in text for metal in metals)] == []


def test_what_it_calls_complete_rdkit_parses_but_for_kekulisation(complete):
    assert len(complete) > 150
    assert refused(complete) == []
    with rdBase.BlockLogs():
        objections = [(objection(text), text) for text in complete]
    assert [pair for pair in objections if pair[0] not in (None, *AROMATICITY)] == []
    assert sum(kind is None for kind, _ in objections) > 0.9 * len(complete)


def test_partialsmiles_accepts_nearly_each_beginning_of_it(complete):
    """Iodine aside, to which RDKit allows three and five bonds, and kekulisation; it knows fewer odd aromatic atoms."""
    strange = []
    for text in complete[:300]:
        if "I" in text:
            continue
        for end in range(1, len(text) + 1):
            try:
                partialsmiles.ParseSmiles(text[:end], partial=end < len(text))
            except partialsmiles.KekulizationFailure:
                break
            except partialsmiles.Error as error:
                strange.append((text[:end], str(error).splitlines()[0]))
                break
    assert len(strange) <= 0.03 * len(complete[:300]), strange
