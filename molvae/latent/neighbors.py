"""The neighbours of a molecule: what lies around it in latent space."""

from collections import Counter
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Final

import numpy as np
import torch
from torch import Tensor

from molvae.arguments import checked
from molvae.chem.fingerprints import nearest_similarity
from molvae.chem.molecule import Molecule, parse_or_none
from molvae.chem.objectives import named
from molvae.errors import UsageError
from molvae.vae.model import SmilesVAE

if TYPE_CHECKING:
    import pandas as pd

SCORES: Final = ("logp", "qed", "sas")
RINGS: Final = 4
"""Standard deviations of the noise around a molecule, equally spaced up to the largest."""
ROUND: Final = 256
"""Points around a molecule that are decoded together."""


@checked
def neighbors(
    vae: SmilesVAE,
    smiles: str,
    n: int = 50,
    radius: float = 0.5,
    decodes: int = 4096,
    seed: int = 0,
    progress: Callable[[int, int], object] | None = None,
) -> "pd.DataFrame":
    """The molecules around a molecule: what its posterior mean, moved by noise, decodes to.

    A quarter of the points each has noise of ¼, ½, ¾ and all of ``radius``. Points are decoded in rounds of 256
    until ``n`` different molecules other than the query are found, or ``decodes`` points are spent.

    Args:
        vae: the model.
        smiles: the query.
        n: most molecules that are returned.
        radius: largest standard deviation of the noise in each latent dimension, where the prior has 1.
        decodes: most points that are decoded.
        seed: of the noise.
        progress: called after each round with the molecules found and ``n``.

    Returns:
        The most frequent first, then the nearest: ``SMILES``, ``frequency`` (how many points gave it), ``distance``
        (Euclidean, from the query's posterior mean to its own), ``similarity`` (Tanimoto of Morgan fingerprints, to
        the query), ``logP``, ``QED``, ``SAS``. Its ``attrs`` have ``query`` (canonical), ``decodes`` (points
        spent), ``valid`` and ``itself`` (shares of them that gave a molecule, and the query), ``found``
        (different molecules before the cut at ``n``).

    Raises:
        UsageError: ``n``, ``radius`` or ``decodes`` is not positive.
        InvalidSmiles, UnknownCharacter, SmilesError: as `SmilesVAE.encode`.
    """
    import pandas as pd

    if n < 1 or decodes < 1 or not 0 < radius < np.inf:
        raise UsageError(f"n, radius and decodes are above 0; they are {n}, {radius:g} and {decodes}")
    query = Molecule.parse(smiles)
    mean = vae.encode_texts([query.smiles]).mean
    found: Counter[str] = Counter()
    valid = spent = itself = 0
    for molecules in _around(vae, mean, radius, decodes, seed):
        got = Counter(molecule.smiles for molecule in molecules if molecule is not None)
        spent, valid, itself = spent + len(molecules), valid + got.total(), itself + got.pop(query.smiles, 0)
        found += Counter({text: count for text, count in got.items() if vae.reads(text)})
        if progress is not None:
            progress(min(len(found), n), n)
        if len(found) >= n:
            break
    distances = (vae.encode_texts(list(found)).mean - mean).norm(dim=1).tolist()
    table = pd.DataFrame(list(found.items()), columns=["SMILES", "frequency"]).assign(distance=distances)
    table = table.sort_values(["frequency", "distance", "SMILES"], ascending=[False, True, True]).head(n)
    table = with_scores(table.reset_index(drop=True), {"similarity": query})
    table.attrs = {"query": query.smiles, "decodes": spent, "found": len(found)}
    table.attrs |= {"valid": valid / spent, "itself": itself / spent}
    return table


def _around(vae: SmilesVAE, mean: Tensor, radius: float, decodes: int, seed: int) -> Iterator[list[Molecule | None]]:
    """What points around ``mean`` ``(1, latent)`` decode to, a round at a time."""
    generator = torch.Generator().manual_seed(seed)
    for start in range(0, decodes, ROUND):
        size = min(ROUND, decodes - start)
        ring = radius * (torch.arange(size) % RINGS + 1) / RINGS
        noise = torch.randn(size, vae.latent, generator=generator)
        yield [parse_or_none(text) for text in vae.decode(mean + ring[:, None] * noise)]


def with_scores(table: "pd.DataFrame", references: dict[str, Molecule]) -> "pd.DataFrame":
    """The table with the similarity to each reference, and with logP, QED and SAS."""
    from molvae.chem.scoring import score_table

    molecules = [Molecule.parse(text) for text in table["SMILES"]]
    similar = {name: nearest_similarity(molecules, [reference]) for name, reference in references.items()}
    return score_table(table.assign(**similar), [named(word) for word in SCORES]).drop(columns="failure")
