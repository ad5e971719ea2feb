"""The molecules on the way from one molecule to another through latent space."""

from typing import TYPE_CHECKING, Final

import torch
from torch import Tensor

from molvae.arguments import checked
from molvae.chem.molecule import Molecule, parse_or_none
from molvae.errors import UsageError
from molvae.latent.neighbors import with_scores
from molvae.vae.model import SmilesVAE

if TYPE_CHECKING:
    import pandas as pd

NO_ANGLE: Final = 1e-6
"""Below this sine two directions are parallel or opposite, and no great circle joins them."""


@checked
def interpolate(vae: SmilesVAE, a: str, b: str, n: int = 12, straight: bool = False) -> "pd.DataFrame":
    """The molecules on the way from one molecule to another.

    Args:
        vae: the model.
        a: where ``t`` is 0.
        b: where ``t`` is 1.
        n: points decoded, equally spaced in ``t``, both ends included.
        straight: along the straight line rather than on the shell where latent points lie, see `interpolation_path`.

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
    for place, text in zip(t.tolist(), vae.decode(interpolation_path(ends[0], ends[1], t, straight)), strict=True):
        molecule = parse_or_none(text)
        if molecule is None:
            invalid += 1
        elif rows and rows[-1]["SMILES"] == molecule.smiles:
            rows[-1]["t_last"] = place
        else:
            rows.append({"SMILES": molecule.smiles, "t": place, "t_last": place})
    table = pd.DataFrame(rows, columns=["SMILES", "t", "t_last"])
    table = with_scores(table, {"similarity_a": first, "similarity_b": last})
    table.attrs = {"a": first.smiles, "b": last.smiles, "points": n, "invalid": invalid}
    return table


def interpolation_path(a: Tensor, b: Tensor, t: Tensor, straight: bool = False) -> Tensor:
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
