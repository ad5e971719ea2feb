"""Structural alerts: substructures known for trouble."""

import functools
from typing import Any, Final

from rdkit.Chem.FilterCatalog import FilterCatalog, FilterCatalogParams

from molvae.chem.molecule import Molecule

_FAMILIES: Final = {"PAINS_A": "PAINS", "PAINS_B": "PAINS", "PAINS_C": "PAINS", "Brenk": "BRENK"}


@functools.cache
def _catalog() -> Any:
    params = FilterCatalogParams()
    for name in ("PAINS_A", "PAINS_B", "PAINS_C", "BRENK"):
        params.AddCatalog(getattr(FilterCatalogParams.FilterCatalogs, name))
    return FilterCatalog(params)


def structural_alerts(molecule: Molecule) -> tuple[str, ...]:
    """The alerts that a molecule raises, sorted, such as ``("BRENK: nitro_group", "PAINS: azo_A(324)")``.

    PAINS interfere with assays (Baell and Holloway 2010, J. Med. Chem. 53, 2719); BRENK are unstable,
    reactive or toxic groups unwanted in a screening library (Brenk et al. 2008, ChemMedChem 3, 435). Both as
    RDKit's FilterCatalog has them. An alert is a reason to look again, not a verdict.
    """
    matches = _catalog().GetMatches(molecule.mol)
    return tuple(sorted({f"{_FAMILIES[m.GetProp('FilterSet')]}: {m.GetDescription()}" for m in matches}))
