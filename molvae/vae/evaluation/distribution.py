"""How alike two sets of molecules are: properties, and the Fréchet ChemNet distance."""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from molvae.chem.molecule import Molecule
from molvae.chem.objectives import named
from molvae.errors import DataError, UsageError

PROPERTIES = ("logP", "SAS", "QED")
"""What the generative literature compares samples and data by (Gómez-Bombarelli et al. 2018, table 2)."""

Values = npt.NDArray[np.float64]


def measured(smiles: Sequence[str], names: Sequence[str] = PROPERTIES) -> dict[str, Values]:
    """RDKit's values ``(n,)`` of each property it has a scorer of that needs no settings; other names are left out.

    Names are those of `molvae.chem.objectives.named`, so "logP" is Crippen's, and "MolWt" a descriptor.
    """
    molecules = [Molecule.parse(text) for text in smiles]
    found = {}
    for name in names:
        try:
            objective = named(name) if ":" not in name else None  # a label of one's own is not a function to import
        except UsageError:
            continue
        if objective is not None:
            found[name] = np.array([objective.evaluate(molecule) for molecule in molecules])
    return found


def has_chemnet() -> bool:
    """Whether the package ``fcd`` is installed, which brings ChemNet's weights."""
    try:
        import fcd  # noqa: F401
    except ImportError:
        return False
    return True


class FrechetChemNet:
    """The Fréchet ChemNet distance to some molecules (Preuer et al. 2018, J. Chem. Inf. Model. 58, 1736).

    The distance between two Gaussians fitted to the activations of ChemNet's last layer but one. It depends on how many
    molecules there are, so compare figures of equal numbers only.

    Args:
        smiles: canonical SMILES, at least 2.

    Raises:
        DataError: fewer than 2 have no covariance.
    """

    def __init__(self, smiles: Sequence[str]) -> None:
        self.reference = _moments(smiles)

    def distance(self, smiles: Sequence[str]) -> float:
        """From the reference to these canonical SMILES; raises as the constructor does."""
        import fcd

        return float(fcd.calculate_frechet_distance(*self.reference, *_moments(smiles)))


def _moments(smiles: Sequence[str]) -> tuple[Values, Values]:
    import fcd

    if len(smiles) < 2:
        raise DataError(f"the Fréchet ChemNet distance needs 2 molecules or more; there are {len(smiles)}")
    activations = fcd.get_predictions(fcd.load_ref_model(), list(smiles), n_jobs=0)
    return activations.mean(0), np.cov(activations.T)
