"""Tables of SMILES in files: read row by row with line numbers, or whole; written whole or not at all."""

import contextlib
import io
import itertools
import logging
import math
import re
from array import array
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, Final, NamedTuple

import rdkit
from rdkit import Chem, RDConfig
from rdkit.Chem.rdDepictor import Compute2DCoords

from molvae.chem.molecule import Molecule
from molvae.data.cells import column_names, open_source, place_of, text_ending
from molvae.data.parquet import parquet_cells, read_parquet
from molvae.errors import DataError, InvalidSmiles, UsageError
from molvae.folders import atomic_path
from molvae.signals import defer_signals

if TYPE_CHECKING:  # pandas and pyarrow wait inside the functions that need them: worker processes load this module
    import numpy as np
    import numpy.typing as npt
    import pandas as pd

log = logging.getLogger("molvae")

RDKIT_VERSION: Final[str] = rdkit.__version__
CHUNK: Final = 100
"""Rows whose cells become parts of columns together: so few that the garbage collector never sees them."""
_NUMBER: Final = re.compile(r"[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]+)?")
_LINE_BREAK: Final = re.compile(r"\r\n|[\r\n]")


class Row(NamedTuple):
    """A row of a file of molecules.

    Attributes:
        line: where it begins in the file (from 1, header counted; parquet: row from 1).
        text: its SMILES, stripped of white space; where it has a fault all of it, which is no SMILES.
        fault: why it is no row of its table, such as "5 cells for 4 columns"; "" where it is one.
    """

    line: int
    text: str
    fault: str = ""


class Table(NamedTuple):
    """A whole file.

    Attributes:
        frame: its cells, as `read_table` gives them.
        lines: where each row begins.
        faults: rows that are none, by their place among the rows.
    """

    frame: "pd.DataFrame"
    lines: Sequence[int]
    faults: dict[int, Row]

    def rows(self) -> Iterator[Row]:
        """As `read_rows` gives them."""
        for k, (line, text) in enumerate(zip(self.lines, self.frame["SMILES"], strict=True)):
            yield self.faults.get(k) or Row(line, text)


def read_rows(path: str | Path, column: str | None = None) -> Iterator[Row]:
    """Stream the SMILES of a file; they are not parsed, and come as ``""`` where their cell is blank.

    Args:
        path: ``.smi`` or ``.txt`` (a SMILES, white space, a name; a first line that begins with the word
            "smiles" is a header), ``.csv`` or ``.tsv`` (with a header), each also as ``.gz``; ``.parquet``.
            `molvae.data.cells.open_source` tells how they are read.
        column: its name, which makes a ``.smi`` or ``.txt`` file a table; by default "SMILES" in any case.

    Raises:
        DataError: no such file, an unknown ending, no rows, no such column or two of its name, a damaged file.
    """
    return (row for row, _ in read_cells(path, column))


def read_cells(
    path: str | Path, column: str | None = None, others: Sequence[str] = ()
) -> Iterator[tuple[Row, list[str]]]:
    """`read_rows`, each row with its cells in other columns, as they stand; ``""`` where it has a fault.

    Raises:
        DataError: as `read_rows`, also for the other columns.
    """
    path = Path(path)
    if _ending(path) == ".parquet":
        for number, (text, *cells) in enumerate(parquet_cells(path, column, others), start=1):
            yield Row(number, text.strip()), cells
        return
    source = open_source(path, column)
    place = place_of(path, source.names, column)
    places = [place_of(path, source.names if source.headed else (), name) for name in others]
    nothing = [""] * len(places)
    for line, cells, fault in source.records:
        if fault:
            yield Row(line, source.separator.join(cells), fault), nothing
        else:
            yield Row(line, cells[place].strip()), [cells[k] for k in places] if places else nothing


def read_table(path: str | Path, column: str | None = None) -> "pd.DataFrame":
    """The whole table, the SMILES column first and named "SMILES" (text, stripped, ``""`` where empty).

    The same files, rows and errors as `read_rows`. All cells of a text file are text, as they stand; a row with a
    fault has those there is a column for. What follows the SMILES in a ``.smi`` line is the column "name". A column
    "SMILES" that is not the one asked for becomes "SMILES (file)", the second column "y" becomes "y (2)".
    """
    return read_whole(path, column).frame


def read_whole(path: str | Path, column: str | None = None) -> Table:
    """`read_table` together with `read_rows`, by one reading."""
    import pandas as pd

    path = Path(path)
    if _ending(path) == ".parquet":
        return _parquet_table(path, column)
    source = open_source(path, column)
    place, width = place_of(path, source.names, column), len(source.names)
    lines: list[int] = []
    faults: dict[int, Row] = {}
    columns: list[list[str]] = [[] for _ in source.names]
    while chunk := list(itertools.islice(source.records, CHUNK)):
        more_lines, more_cells, more_faults = zip(*chunk, strict=True)
        for k, fault in enumerate(more_faults) if any(more_faults) else ():
            if fault:
                cells = more_cells[k]
                faults[len(lines) + k] = Row(more_lines[k], source.separator.join(cells), fault)
                cells[:] = (cells + [""] * width)[:width]
        lines += more_lines
        for known, more in zip(columns, zip(*more_cells, strict=True), strict=True):
            known += more
    while (
        width > place + 1
        and not (source.headed and source.names[width - 1])
        and not any(map(str.strip, columns[width - 1]))
    ):
        width -= 1  # at the end: without a name, and empty
    columns[place] = [cell.strip() for cell in columns[place]]
    frame = pd.DataFrame(dict(enumerate(columns[:width])))
    frame.columns = pd.Index(column_names(path, source.names[:width], place))
    return Table(_smiles_first(frame, path), lines, faults)


def read_columns(path: str | Path, names: Sequence[str]) -> "npt.NDArray[np.float32]":
    """The named columns of a table as float32 numbers, ``(rows, len(names))``.

    Raises:
        DataError: the file is missing, damaged or empty, lacks one of the columns, or holds something else than
            finite numbers in them.
    """
    import numpy as np

    path = Path(path)
    if _ending(path) == ".parquet":
        frame = read_parquet(path)
        _check_columns(path, list(frame.columns), names)
        try:
            with np.errstate(over="ignore"):
                values = frame[list(names)].to_numpy(dtype=np.float32, na_value=np.nan)
        except (ValueError, TypeError) as error:
            raise DataError(
                f"{path}: the columns {names[0]} … {names[-1]} hold something else than numbers: {error}"
            ) from None
        if not np.isfinite(values).all():
            raise DataError(f"{path} has a missing or infinite number in a row")
        return values
    source = open_source(path, names[0])
    _check_columns(path, source.names, names)
    places = [source.names.index(name) for name in names]
    numbers = array("f")
    for line, cells, fault in source.records:
        if fault:
            raise DataError(f"{path}, line {line}: {fault}")
        numbers.extend(_finite([cells[k] for k in places], names, f"{path}, line {line}"))
    return np.frombuffer(numbers, dtype=np.float32).reshape(-1, len(names))


def as_number(text: str) -> float:
    """The number that a cell holds, in digits with a point and perhaps an exponent; NaN where it holds anything else.

    ``1,5``, ``>10``, ``5 nM``, ``1_000``, ``nan``, ``inf`` and digits of other scripts are no numbers.
    """
    text = text.strip()
    return float(text) if _NUMBER.fullmatch(text) else math.nan


def write_table(frame: "pd.DataFrame", path: str | Path) -> int:
    """Write a table with a column "SMILES", all or nothing, in the format of the ending; without its index.

    ``.csv``, ``.tsv``, ``.parquet`` and ``.xlsx`` (header row frozen) have the SMILES first. ``.smi`` has the
    SMILES, a tab, and a title, or the row number from 1. ``.sdf`` has 2D coordinates, a title, and every other
    column that has a value as a property. The title is the first column that is there of "name", "rank", "id" and
    "InChIKey", in any case.

    Returns:
        Rows written: in an SDF those that RDKit can parse, in a .smi those with a SMILES (warnings tell of the
        others), else all.

    Raises:
        UsageError: another ending.
        DataError: no column "SMILES".
        FolderError: the file cannot be written.
    """
    path = Path(path)
    write = _WRITERS[check_ending(path)]
    table = _smiles_first(frame, path)
    with defer_signals(), atomic_path(path) as partial:
        return write(table, partial)


def check_ending(path: str | Path) -> str:
    """The ending of a table to be written: to be asked before the work that fills it.

    Raises:
        UsageError: `write_table` does not know it.
    """
    ending = Path(path).suffix.lower()
    if ending not in _WRITERS:
        known = ", ".join(_WRITERS)
        raise UsageError(f"{path}: tables are written as {known}; {ending or 'no ending'} is none of them")
    return ending


def rdkit_file(relative: str) -> Path:
    """A file of the data folder inside RDKit's package, such as ``"NCI/first_5K.smi"``.

    Raises:
        DataError: this installation of RDKit lacks it.
    """
    path = Path(RDConfig.RDDataDir) / relative
    if not path.is_file():
        raise DataError(f"this RDKit ({RDKIT_VERSION}) lacks its data file {relative}: there is no {path}")
    return path


def _ending(path: Path) -> str:
    if not path.exists():
        raise DataError(f"there is no file {path}")
    if path.is_dir():
        raise DataError(f"{path} is a folder; name a file of molecules in it")
    ending = ".parquet" if path.suffix.lower() == ".parquet" else text_ending(path)
    if ending not in (".smi", ".txt", ".csv", ".tsv", ".parquet") or path.name.lower().endswith(".parquet.gz"):
        known = ".smi, .txt, .csv, .tsv (each also with .gz) and .parquet"
        raise DataError(f"{path}: the ending tells the format; known are {known}")
    return ending


def _parquet_table(path: Path, column: str | None) -> Table:
    import pandas as pd

    frame = read_parquet(path)
    place = place_of(path, list(frame.columns), column)
    frame.columns = pd.Index(column_names(path, list(frame.columns), place))
    texts = ["" if pd.isna(value) else str(value).strip() for value in frame.iloc[:, place]]
    frame = frame.assign(SMILES=texts)
    return Table(_smiles_first(frame, path), range(1, len(texts) + 1), {})


def _check_columns(path: Path, known: Sequence[str], names: Sequence[str]) -> None:
    missing = [name for name in names if name not in known]
    if missing:
        raise DataError(
            f"{path} lacks {len(missing)} of the {len(names)} columns {names[0]} … {names[-1]}, the first is "
            f"{missing[0]!r}; its columns are {', '.join(known[:8])}"
        )


def _finite(cells: Sequence[str], names: Sequence[str], where: str) -> "array[float]":
    """The numbers of some cells of a row, each finite as a float32."""
    everything = "".join(cells)
    if everything.isascii() and "_" not in everything:  # else Python's float reads what is no number
        with contextlib.suppress(ValueError):
            found = array("f", map(float, cells))
            if math.isfinite(sum(found)):
                return found
    name, cell = next((name, cell) for name, cell in zip(names, cells, strict=True) if not _is_float32(as_number(cell)))
    raise DataError(
        f"{where}: {name} is {cell!r}; the columns {names[0]} … {names[-1]} hold something else than numbers"
    )


def _is_float32(value: float) -> bool:
    return math.isfinite(array("f", [value])[0])


def _smiles_first(frame: "pd.DataFrame", path: Path) -> "pd.DataFrame":
    if "SMILES" not in frame.columns:
        columns = ", ".join(map(str, frame.columns))
        raise DataError(f"the table for {path} has no column 'SMILES'; its columns are {columns}")
    return frame[["SMILES", *(name for name in frame.columns if name != "SMILES")]]


class _LineFeeds:
    """A text file for rows that end with "\\r\\n", which has the csv module quote both; they end with "\\n" in it."""

    def __init__(self, file: IO[str]) -> None:
        self._file = file

    def write(self, row: str) -> int:
        return self._file.write(f"{row[:-2]}\n")


def _write_csv(table: "pd.DataFrame", path: Path) -> int:
    separator = "\t" if path.suffix.lower() == ".tsv" else ","
    with open(path, "w", encoding="utf-8", newline="") as file:
        table.to_csv(_LineFeeds(file), sep=separator, index=False, lineterminator="\r\n")  # type: ignore[call-overload]
    return len(table)


def _write_parquet(table: "pd.DataFrame", path: Path) -> int:
    table.to_parquet(path, index=False)
    return len(table)


def _write_smi(table: "pd.DataFrame", path: Path) -> int:
    column = _title_column(table)
    titles: Iterable[Any] = range(1, len(table) + 1) if column is None else table[column]
    pairs = zip(table["SMILES"], titles, strict=True)
    lines = [f"{_one_line(smiles)}\t{_one_line(title)}".rstrip() + "\n" for smiles, title in pairs if smiles]
    path.write_text("".join(lines), encoding="utf-8", newline="\n")
    if len(lines) < len(table):
        log.warning("%d rows without a SMILES are left out of the .smi file", len(table) - len(lines))
    return len(lines)


def _write_xlsx(table: "pd.DataFrame", path: Path) -> int:
    import pandas as pd
    from openpyxl.cell.cell import ILLEGAL_CHARACTERS_RE

    def legal(value: object) -> object:
        return ILLEGAL_CHARACTERS_RE.sub("", value) if isinstance(value, str) else value

    # into memory first: the ZIP writer of a file that filled the disk complains once more when it is thrown away
    content = io.BytesIO()
    with pd.ExcelWriter(content, engine="openpyxl") as writer:
        table.map(legal).to_excel(writer, sheet_name="molecules", index=False, freeze_panes=(1, 0))
        for row in writer.sheets["molecules"].iter_rows():
            for cell in row:
                if cell.data_type in ("f", "e"):  # text that begins with "=", or such as "#N/A", is text here
                    cell.data_type = "s"
    path.write_bytes(content.getvalue())
    return len(table)


def _write_sdf(table: "pd.DataFrame", path: Path) -> int:
    """Text by RDKit, file by Python: a full disk then raises instead of cutting the file short."""
    title = _title_column(table)
    known = table.astype(object).where(table.notna(), "")
    written = 0
    with open(path, "w", encoding="utf-8", newline="\n") as file:
        for row in known.to_dict("records"):
            text = str(row.pop("SMILES"))
            try:
                mol = Chem.Mol(Molecule.parse(text).mol)
            except InvalidSmiles as error:
                log.warning("a row is left out of the SDF: %s", error)
                continue
            Compute2DCoords(mol)
            if title is not None:
                mol.SetProp("_Name", _one_line(row[title]))
            for k, (name, value) in enumerate(row.items(), start=2):
                if _one_line(value).strip():
                    mol.SetProp(_one_line(name).strip() or f"column {k}", _one_line(value))
            file.write(Chem.SDWriter.GetText(mol))
            written += 1
    return written


def _title_column(table: "pd.DataFrame") -> str | None:
    """What a molecule is called by in files that have a place for it."""
    by_lower = {str(name).lower(): str(name) for name in reversed(table.columns)}
    return next((by_lower[name] for name in ("name", "rank", "id", "inchikey") if name in by_lower), None)


def _one_line(value: object) -> str:
    """Text with blanks for its line breaks, which would end a property."""
    return _LINE_BREAK.sub(" ", str(value))


_WRITERS: Final[dict[str, Callable[["pd.DataFrame", Path], int]]] = {
    ".csv": _write_csv,
    ".tsv": _write_csv,
    ".parquet": _write_parquet,
    ".sdf": _write_sdf,
    ".smi": _write_smi,
    ".xlsx": _write_xlsx,
}
