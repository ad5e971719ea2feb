"""Rows of a table that a model can read, and a second table that says why it cannot read the others."""

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

from molvae.cli.shell import remark
from molvae.errors import DataError, MolvaeError

if TYPE_CHECKING:  # help should load neither torch nor rdkit
    from molvae.data.tables import Row
    from molvae.vae.model import SmilesVAE

Reject = dict[str, object]


def encodable(vae: "SmilesVAE", rows: Iterable["Row"], source: Path) -> tuple[list["Row"], list[Reject]]:
    """The rows that the model can read, their texts canonical; and the others with a reason, each told as a remark.

    Args:
        vae: the model.
        rows: of a table, as they stand.
        source: the file they are from.
    """
    from molvae.chem.molecule import Molecule

    good, bad = [], []
    for row in rows:
        try:
            if row.fault:
                raise DataError(row.fault)
            molecule = Molecule.parse(row.text)
            vae.check(molecule.smiles)
            good.append(row._replace(text=molecule.smiles))
        except MolvaeError as error:
            bad.append({"SMILES": row.text, "line": row.line, "reason": str(error).splitlines()[0]})
            remark(f"{source}:{row.line}: {error}")
    return good, bad


def tell_rejected(bad: list[Reject], output: Path | None, good: int) -> None:
    """Write the rejects beside the output, where there is one.

    Raises:
        MolvaeError: there are rejects; says where they are.
    """
    import pandas as pd

    from molvae.data.tables import write_table

    if not bad:
        return
    where = "the remarks say why"
    if output is not None:
        rejects = output.with_name(output.stem + ".rejects.csv")
        write_table(pd.DataFrame(bad), rejects)
        where = f"all reasons are in {rejects}"
    raise MolvaeError(f"{len(bad)} of {good + len(bad)} rows were not encoded; {where}")
