"""Maps of molecules: their latent points in two dimensions, coloured by a property."""

import importlib
import logging
from collections.abc import Sequence
from types import ModuleType
from typing import TYPE_CHECKING, Final

import numpy as np
import numpy.typing as npt

from molvae.arguments import checked
from molvae.chem.molecule import Molecule
from molvae.chem.objectives import named
from molvae.chem.scoring import score_table
from molvae.data.tables import as_number
from molvae.errors import UsageError
from molvae.vae.model import SmilesVAE

if TYPE_CHECKING:
    import pandas as pd

log = logging.getLogger("molvae")

METHODS: Final = ("pca", "umap")
FEWEST: Final = 3
"""Molecules of the smallest map."""
NEIGHBORHOOD: Final = 15
"""Neighbours of a point that UMAP looks at."""

Points = npt.NDArray[np.float64]


@checked
def latent_map(
    vae: SmilesVAE, table: "pd.DataFrame", color: str = "qed", method: str = "pca", seed: int = 0
) -> "pd.DataFrame":
    """Molecules as points of a plane: the projection of their posterior means, and a value that colours them.

    Args:
        vae: the model.
        table: with a column ``SMILES``, all of which the model can read.
        color: a column of the table that holds numbers, or else a word as `molvae.chem.objectives.named` takes it.
        method: "pca", the plane of largest variance; or "umap" (McInnes 2018), which keeps neighbours together
            and needs the package umap-learn.
        seed: of UMAP.

    Returns:
        ``SMILES`` (canonical), two coordinates (``PC1`` and ``PC2``, or ``UMAP1`` and ``UMAP2``) and the value, NaN
        where there is none; a row a molecule, in order. Its ``attrs`` have ``axes``, the labels of the axes, which
        tell the share of the variance along the principal components.

    Raises:
        UsageError: an unknown method or colour, fewer than 3 molecules, no value at all, or umap-learn is missing.
        InvalidSmiles, UnknownCharacter, SmilesError: as `SmilesVAE.encode`.
    """
    import pandas as pd

    check_method(method)
    if "SMILES" not in table.columns:
        raise UsageError(f"the table has no column 'SMILES'; its columns are {', '.join(map(str, table.columns))}")
    if len(table) < FEWEST:
        raise UsageError(f"a map has at least {FEWEST} molecules; here are {len(table)}")
    smiles = [Molecule.parse(text).smiles for text in table["SMILES"]]
    name, values = _values(table, smiles, color)
    points = vae.encode_texts(smiles).mean.double().numpy()
    plane, axes = principal_plane(points) if method == "pca" else (_umap(points, seed), ["UMAP 1", "UMAP 2"])
    names = ["PC1", "PC2"] if method == "pca" else ["UMAP1", "UMAP2"]
    if name in ("SMILES", *names):
        raise UsageError(f"the map has a column {name!r} of its own; rename the one that colours it")
    found = pd.DataFrame({"SMILES": smiles, names[0]: plane[:, 0], names[1]: plane[:, 1], name: values})
    found.attrs = {"axes": axes}
    return found


def check_method(method: str) -> None:
    """Refuse an unknown method, and UMAP where umap-learn is missing, before the work.

    Raises:
        UsageError: what may come, or what to install.
    """
    if method not in METHODS:
        raise UsageError(f"a map is made by {' or '.join(METHODS)}, not by {method!r}")
    if method == "umap":
        _package()


def principal_plane(points: Points) -> tuple[Points, list[str]]:
    """Coordinates ``(n, 2)`` along the two directions of largest variance, and axis labels that tell its share.

    The sign of a direction, which is arbitrary, makes its largest loading positive.
    """
    centred = points - points.mean(0)
    _, singular, directions = np.linalg.svd(centred, full_matrices=False)
    directions = directions[:2] if len(directions) > 1 else np.vstack([directions, np.zeros_like(directions)])
    largest = directions[np.arange(2), np.abs(directions).argmax(1)]
    directions = directions * np.where(largest < 0, -1.0, 1.0)[:, None]
    shares = np.append(singular**2, 0.0) / max(float((singular**2).sum()), np.finfo(float).tiny)
    return centred @ directions.T, [f"PC {k + 1} ({shares[k]:.1%} of the variance)" for k in range(2)]


def _values(table: "pd.DataFrame", smiles: Sequence[str], color: str) -> tuple[str, Points]:
    """The name and the values ``(n,)`` of what colours the points; infinite ones count as missing."""
    import pandas as pd

    if color in table.columns:
        cells = (as_number(cell) if isinstance(cell, str) else cell for cell in table[color])
        name, column = color, pd.to_numeric(pd.Series(cells), errors="coerce")
    else:
        try:
            objective = named(color)
        except UsageError as error:
            raise UsageError(f"no column of the table is called {color!r}, and {error}") from None
        name = objective.label
        column = score_table(pd.DataFrame({"SMILES": list(smiles)}), [objective])[name]
    values = column.to_numpy(dtype=float, na_value=np.nan, copy=True)
    values[~np.isfinite(values)] = np.nan
    missing = int(np.isnan(values).sum())
    if missing == len(values):
        raise UsageError(f"{name!r} has no number for any molecule, so it cannot colour them")
    if missing:
        log.warning("%d of %d molecules have no number in %r; they are grey", missing, len(values), name)
    return name, values


def _package() -> ModuleType:
    try:
        return importlib.import_module("umap")
    except ImportError as error:
        raise UsageError(f"UMAP needs a package: `pip install umap-learn`, or take --method pca ({error})") from error


def _umap(points: Points, seed: int) -> Points:
    fit = _package().UMAP(n_neighbors=min(NEIGHBORHOOD, len(points) - 1), random_state=seed, n_jobs=1)
    return np.asarray(fit.fit_transform(points), dtype=float)
