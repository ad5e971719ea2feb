"""Labels of a corpus: numbers of its molecules, read from columns or computed by RDKit; any may be missing, NaN."""

import functools
import logging
import math
from array import array
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Final

import numpy as np
import numpy.typing as npt
from safetensors import SafetensorError
from safetensors.numpy import load_file, save

from molvae.chem.molecule import Molecule
from molvae.chem.objectives import Objective, named
from molvae.data.tables import Row, as_number, read_cells
from molvae.errors import DataError, ForeignError, UsageError, shorten
from molvae.folders import write_atomic
from molvae.foreign import attempt

log = logging.getLogger("molvae")

LABELS: Final = "labels.safetensors"
LARGEST: Final = float(np.finfo(np.float32).max)

EXAMPLES: Final = 8
"""Different texts that are shown of the cells that are no numbers."""

Labels = npt.NDArray[np.float32]


def property_names(columns: Sequence[str], scores: Sequence[str]) -> tuple[str, ...]:
    """What the labels are called: columns as they are, then scores by their objective's label ("qed" is "QED").

    Raises:
        UsageError: there is no such score, or two labels have one name.
    """
    names = (*columns, *(score.label for score in _objectives(tuple(scores))))
    twice = [name for k, name in enumerate(names) if name in names[:k]]
    if twice:
        raise UsageError(f"the label {twice[0]!r} is asked for twice; once is enough")
    return names


def prepare_scores(scores: Sequence[str]) -> None:
    """Import what the scores need, so that a missing module is known before the first molecule.

    Raises:
        ObjectiveError: names what is missing.
    """
    for objective in _objectives(tuple(scores)):
        objective.prepare()


def scored(molecule: Molecule, scores: tuple[str, ...]) -> tuple[float, ...]:
    """A number for each score, as `molvae.chem.objectives.named` understands it; NaN where it has none."""
    return tuple(_score(objective, molecule) for objective in _objectives(scores))


def labelled_rows(path: Path, column: str | None, labels: Sequence[str]) -> Iterator[tuple[Row, tuple[float, ...]]]:
    """`molvae.data.tables.read_rows`, each row with the numbers of its label columns; NaN where there is none."""
    for row, cells in read_cells(path, column, labels):
        yield row, tuple(_usable(as_number(cell)) for cell in cells)


def count_rows(paths: Sequence[Path], column: str | None, labels: Sequence[str]) -> int:
    """Rows of all the files; warns of cells in label columns that hold something else than a number.

    Raises:
        DataError: a label column holds not one number.
    """
    rows = 0
    numbers = [0] * len(labels)
    begins = [""] * len(labels)
    for path in paths:
        others = [_Others() for _ in labels]
        for row, cells in read_cells(path, column, labels):
            rows += 1
            for k, cell in enumerate(cells):
                if not math.isnan(_usable(as_number(cell))):
                    numbers[k] += 1
                elif text := cell.strip():
                    others[k].add(row.line, text)
                    begins[k] = begins[k] or text
        for label, found in zip(labels, others, strict=True):
            if found.cells:
                log.warning("%s: %d cells of %r %s", path, found.cells, label, found)
    for k, label in enumerate(labels):
        if not numbers[k]:
            beginning = f"it begins with {shorten(begins[k])!r}" if begins[k] else "it is empty"
            where = ", ".join(map(str, paths))
            raise DataError(
                f"the column {label!r} of {where} has not one number; {beginning}; labels are columns of numbers"
            )
    return rows


class _Others:
    """The cells of a label column that are neither empty nor numbers: how many, and the first of their texts."""

    def __init__(self) -> None:
        self.cells = 0
        self.more = False
        self.lines: dict[str, int] = {}

    def add(self, line: int, text: str) -> None:
        self.cells += 1
        if text not in self.lines:
            self.more = len(self.lines) == EXAMPLES
            if not self.more:
                self.lines[text] = line

    def __str__(self) -> str:
        examples = ", ".join(f"line {line} {shorten(text, 20)!r}" for text, line in self.lines.items())
        return (
            f"hold something else than a number and count as empty: {examples}{', …' if self.more else ''}; "
            "a number is of digits with a decimal point, such as 6.25 or 1e-3"
        )


class LabelTable:
    """Labels gathered row by row. A molecule of several rows has the mean of the numbers that they give.

    Args:
        names: of the properties, at least one.
    """

    def __init__(self, names: Sequence[str]) -> None:
        self.names = tuple(names)
        self._places: dict[str, int] = {}
        self._sums = array("d")
        self._counts = array("l")

    def add(self, smiles: str, numbers: Sequence[float]) -> None:
        """What one row gives: a finite number or NaN for each property."""
        width = len(self.names)
        start = width * self._places.setdefault(smiles, len(self._places))
        if start == len(self._sums):
            self._sums.extend([0.0] * width)
            self._counts.extend([0] * width)
        for k, number in enumerate(numbers, start):
            if not math.isnan(number):
                self._sums[k] += number
                self._counts[k] += 1

    def of(self, texts: Sequence[str]) -> Labels:
        """``(len(texts), properties)``; NaN where no row gave a number."""
        rows = np.fromiter((self._places[text] for text in texts), dtype=np.int64, count=len(texts))
        sums, counts = (np.array(values).reshape(-1, len(self.names))[rows] for values in (self._sums, self._counts))
        with np.errstate(invalid="ignore"):  # 0 / 0 is the missing label
            means: Labels = (sums / counts).astype(np.float32)
        return means


def write_labels(folder: Path, names: Sequence[str], labels: Mapping[str, Labels]) -> dict[str, dict[str, int]]:
    """Write the labels of each part; give how many molecules of it have a number, for each property.

    Raises:
        DataError: a property has none in all of them.
    """
    labelled = {
        name: {part: int(np.count_nonzero(~np.isnan(values[:, k]))) for part, values in labels.items()}
        for k, name in enumerate(names)
    }
    for name, counts in labelled.items():
        if not any(counts.values()):
            raise DataError(f"not one molecule that is kept has a value of {name!r}; leave it out, or see why it fails")
    write_atomic(folder / LABELS, save(dict(labels)))
    return labelled


def read_labels(folder: Path, names: Sequence[str], sizes: Mapping[str, int]) -> dict[str, Labels]:
    """Labels ``(molecules, properties)`` of each part, whose size is given; no columns where there are no names.

    Raises:
        DataError: the file is missing or damaged, or does not fit the molecules.
    """
    if not names:
        return {part: np.empty((size, 0), dtype=np.float32) for part, size in sizes.items()}
    path = folder / LABELS
    try:
        found = load_file(path)
    except (OSError, SafetensorError) as error:
        raise DataError(f"{path} cannot be read: {error}; prepare the corpus again") from error
    for part, size in sizes.items():
        values = found.get(part)
        if values is None or values.shape != (size, len(names)) or values.dtype != np.float32:
            shape = None if values is None else (*values.shape, str(values.dtype))
            raise DataError(
                f"{path} does not fit {part}.smi: {(size, len(names), 'float32')} should be there, "
                f"it has {shape}; prepare the corpus again"
            )
        if np.isinf(values).any():
            raise DataError(f"{path} has an infinite label in {part}; prepare the corpus again")
    return {part: found[part] for part in sizes}


@functools.cache
def _objectives(scores: tuple[str, ...]) -> tuple[Objective, ...]:
    return tuple(named(score) for score in scores)


def _score(objective: Objective, molecule: Molecule) -> float:
    try:
        return _usable(attempt(functools.partial(objective.evaluate, molecule)))
    except ForeignError:  # a descriptor without a value, a function of the user's that raises: this label is missing
        return math.nan


def _usable(number: float) -> float:
    """The number, or NaN where float32 has none for it."""
    return number if abs(number) <= LARGEST else math.nan
