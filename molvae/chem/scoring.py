"""Objectives over a table of molecules."""

from collections.abc import Callable, Mapping, Sequence
from functools import partial

import pandas as pd

from molvae.chem.molecule import Molecule
from molvae.chem.objectives import Objective
from molvae.errors import ForeignError, UsageError
from molvae.foreign import attempt
from molvae.signals import signal_errors


def score_table(
    table: pd.DataFrame,
    objectives: Sequence[Objective],
    progress: Callable[[int, int], object] | None = None,
    faults: Mapping[int, str] | None = None,
) -> pd.DataFrame:
    """The table with a column of raw values for each objective, and ``failure``: why a row has none, else "".

    Args:
        table: with a column ``SMILES``; kept as it is, other columns too.
        objectives: of different labels.
        progress: called with the molecules done and the molecules there are.
        faults: why a row is none, by its place in the table; its SMILES is not read.

    Raises:
        UsageError: a label is already a column of the table, or two objectives share one.
        ObjectiveError: an objective's module cannot be imported.
    """
    labels = [objective.label for objective in objectives]
    twice = [label for k, label in enumerate(labels) if label in labels[:k]]
    if twice:
        raise UsageError(f"the objective {twice[0]!r} is asked for twice; once is enough")
    taken = [label for label in (*labels, "failure") if label in table.columns]
    if taken:
        raise UsageError(f"the table already has a column {taken[0]!r}; rename it, or drop the objective")
    for objective in objectives:
        objective.prepare()
    values: list[list[float | None]] = []
    failures: list[str] = []
    nothing: list[float | None] = [None] * len(objectives)
    with signal_errors():  # once for all
        for k, text in enumerate(table["SMILES"]):
            fault = (faults or {}).get(k)
            row, failure = (nothing, fault) if fault else _score(str(text), objectives)
            values.append(row)
            failures.append(failure)
            if progress is not None and (k % 100 == 99 or k + 1 == len(table)):
                progress(k + 1, len(table))
    scored = pd.DataFrame(values, columns=labels, index=table.index, dtype=float)
    return pd.concat([table, scored, pd.Series(failures, name="failure", index=table.index, dtype=str)], axis=1)


def _score(text: str, objectives: Sequence[Objective]) -> tuple[list[float | None], str]:
    row: list[float | None] = []
    failures = []
    try:
        molecule = Molecule.parse(text)
    except Exception as error:
        return [None] * len(objectives), str(error).splitlines()[0]
    for objective in objectives:
        try:
            row.append(attempt(partial(objective.evaluate, molecule)))
        except ForeignError as error:  # the other objectives and molecules still count
            row.append(None)
            failures.append(f"{objective.label}: {error}")
    return row, "; ".join(failures)
