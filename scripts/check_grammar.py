"""Check the SMILES grammar of a model: against real molecules, and against RDKit on what it lets a model write.

    python scripts/check_grammar.py zinc250k data/zinc250k/prepared/train.smi -n 20000

Prints how many molecules of the file are accepted character by character, which are not, and of `n` strings drawn under
the grammar (temperature 1, points of the prior) how many it calls complete and how many of these RDKit parses.
"""

import argparse
import sys
import time
from collections import Counter

import torch
from rdkit import Chem, rdBase

import molvae
from molvae.data.vocab import END
from molvae.vae.decoding import generate
from molvae.vae.grammar.mask import Grammar

CHUNK = 4096


def refused(grammar: Grammar, texts: list[str]) -> dict[str, int]:
    """Those that the grammar does not let through, and at which character."""
    found = {}
    order = sorted(texts, key=len)
    for start in range(0, len(order), CHUNK):
        part = order[start : start + CHUNK]
        ids = torch.full((len(part), len(part[-1]) + 1), END)
        for row, text in enumerate(part):
            ids[row, : len(text)] = torch.tensor(grammar.vocab.encode(text))
        rows, state = torch.arange(len(part)), grammar.start(len(part))
        for place in range(ids.shape[1]):
            chosen = ids[rows, place]
            fine = grammar.allowed(state).gather(1, chosen[:, None])[:, 0]
            found.update({part[row]: place for row in rows[~fine].tolist()})
            on = (fine & (chosen != END)).nonzero()[:, 0]
            rows, state = rows[on], grammar.advance(state, chosen).select(on)
            if not len(rows):
                break
    return found


def drawn(vae: molvae.SmilesVAE, grammar: Grammar, n: int) -> list[str]:
    """Strings drawn under the grammar which it calls complete; others found no way on."""
    ids = generate(vae.net.decoder, vae.prior.sample(n, 0), vae.longest, 1.0, torch.Generator().manual_seed(1), grammar)
    texts = list(dict.fromkeys(vae.vocab.decode(row) for row in ids.tolist()))
    stuck = refused(grammar, texts)
    return [text for text in texts if text not in stuck]


def problem(text: str) -> str:
    """What RDKit has against a string."""
    if Chem.MolFromSmiles(text) is not None:
        return "none"
    mol = Chem.MolFromSmiles(text, sanitize=False)
    problems = Chem.DetectChemistryProblems(mol) if mol is not None else []
    return str(problems[0].GetType()) if problems else "syntax"


def main() -> int:
    """Print both; 1 where a molecule was refused, or over 0.1 % of what is complete for more than kekulisation."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model")
    parser.add_argument("molecules", help="a file with a canonical SMILES in each line")
    parser.add_argument("-n", type=int, default=20_000, help="strings to draw")
    given = parser.parse_args()
    vae = molvae.load(given.model)
    with open(given.molecules, encoding="utf-8") as file:
        texts = file.read().split()
    grammar = Grammar(vae.vocab, max(vae.longest, *map(len, texts)))
    begun = time.perf_counter()
    wrong = refused(grammar, texts)
    print(f"{len(texts) - len(wrong)} of {len(texts)} molecules accepted, {time.perf_counter() - begun:.0f} s")
    for text, place in wrong.items():
        print(f"  {text[:place]} | {text[place:]}")
    complete = drawn(vae, vae.grammar, given.n)
    with rdBase.BlockLogs():
        problems = Counter(problem(text) for text in complete)
    print(f"{len(complete)} of {given.n} drawn strings complete; RDKit parses {problems['none']}")
    print("  of the others: " + (", ".join(f"{kind} {n}" for kind, n in problems.items() if kind != "none") or "-"))
    known = problems["none"] + problems["KekulizeException"]  # which rings are aromatic is RDKit's to say
    return int(bool(wrong) or known < 0.999 * len(complete))


if __name__ == "__main__":
    sys.exit(main())
