"""Looking around in latent space: properties from the mean, neighbours of a molecule, the way between two."""

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Final

import numpy as np
import torch
from torch import Tensor

from molvae.arguments import checked
from molvae.chem.fingerprints import nearest_similarity
from molvae.chem.molecule import Molecule, listed, parse_or_none
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
NO_ANGLE: Final = 1e-6
"""Below this sine two directions are parallel or opposite, and no great circle joins them."""


@checked
def predict(vae: SmilesVAE, smiles: str | Sequence[str]) -> "pd.DataFrame":
    """What the model's heads predict from the latent mean of each molecule, without a look at its structure.

    Returns:
        ``SMILES``, canonical, then a column a property in its own unit; a row a molecule, in order.

    Raises:
        UsageError: the model has no heads.
        InvalidSmiles, UnknownCharacter, SmilesError: as `SmilesVAE.encode`.
    """
    import pandas as pd

    canonical = [Molecule.parse(text).smiles for text in listed(smiles)]
    values = vae.predict(vae.encode_texts(canonical).mean).cpu().numpy()
    table = pd.DataFrame(values, columns=list(vae.properties))
    table.insert(0, "SMILES", canonical)
    return table


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
    table = _scored(table.reset_index(drop=True), {"similarity": query})
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


@checked
def interpolate(vae: SmilesVAE, a: str, b: str, n: int = 12, straight: bool = False) -> "pd.DataFrame":
    """The molecules on the way from one molecule to another.

    Args:
        vae: the model.
        a: where ``t`` is 0.
        b: where ``t`` is 1.
        n: points decoded, equally spaced in ``t``, both ends included.
        straight: along the straight line rather than on the shell where latent points lie, see `way`.

    Returns:
        ``SMILES``, ``t`` and ``t_last`` (the first and the last of the consecutive points that gave it),
        ``similarity_a`` and ``similarity_b`` (Tanimoto of Morgan fingerprints), ``logP``, ``QED``, ``SAS``. The
        two ends are decoded like all others, so they need not be ``a`` and ``b``. Its ``attrs`` have ``a``, ``b``
        (canonical), ``points`` (that were decoded) and ``invalid`` (those of them that gave no molecule).

    Raises:
        UsageError: fewer than two points, or the two are one molecule.
        InvalidSmiles, UnknownCharacter, SmilesError: as `SmilesVAE.encode`.
    """
    import pandas as pd

    if n < 2:
        raise UsageError(f"a way has at least 2 points, its ends; n is {n}")
    first, last = Molecule.parse(a), Molecule.parse(b)
    if first == last:
        raise UsageError(f"both ends are the same molecule, {first}; there is no way between them")
    ends = vae.encode_texts([first.smiles, last.smiles]).mean
    t = torch.linspace(0, 1, n, dtype=torch.float64)
    rows: list[dict[str, str | float]] = []
    invalid = 0
    for place, text in zip(t.tolist(), vae.decode(way(ends[0], ends[1], t, straight)), strict=True):
        molecule = parse_or_none(text)
        if molecule is None:
            invalid += 1
        elif rows and rows[-1]["SMILES"] == molecule.smiles:
            rows[-1]["t_last"] = place
        else:
            rows.append({"SMILES": molecule.smiles, "t": place, "t_last": place})
    table = pd.DataFrame(rows, columns=["SMILES", "t", "t_last"])
    table = _scored(table, {"similarity_a": first, "similarity_b": last})
    table.attrs = {"a": first.smiles, "b": last.smiles, "points": n, "invalid": invalid}
    return table


def way(a: Tensor, b: Tensor, t: Tensor, straight: bool = False) -> Tensor:
    """Points from ``a`` to ``b``, both ``(latent,)``, at each of ``t`` ``(n,)``, as ``(n, latent)`` float32.

    In many dimensions the points of a Gaussian lie near a shell; a straight line between two of them leaves it
    (White 2016, arXiv:1609.04468). So the direction turns at constant speed along the great circle, slerp (Shoemake
    1985), and the norm goes from that of ``a`` to that of ``b`` at constant speed. Where there is no great circle
    (parallel, opposite or zero vectors) the way is straight.
    """
    a, b, t = a.double(), b.double(), t.double()[:, None]
    norm_a, norm_b = a.norm(), b.norm()
    cosine = (a @ b / (norm_a * norm_b)).nan_to_num(1.0).clamp(-1, 1)
    sine = (1 - cosine.square()).sqrt()
    if straight or sine < NO_ANGLE:
        return ((1 - t) * a + t * b).float()
    angle = torch.acos(cosine)
    direction = (torch.sin((1 - t) * angle) * a / norm_a + torch.sin(t * angle) * b / norm_b) / sine
    points: Tensor = direction * ((1 - t) * norm_a + t * norm_b)
    return points.float()


def _scored(table: "pd.DataFrame", references: dict[str, Molecule]) -> "pd.DataFrame":
    """The table with the similarity to each reference, and with logP, QED and SAS."""
    from molvae.chem.scoring import score_table

    molecules = [Molecule.parse(text) for text in table["SMILES"]]
    similar = {name: nearest_similarity(molecules, [reference]) for name, reference in references.items()}
    return score_table(table.assign(**similar), [named(word) for word in SCORES]).drop(columns="failure")
