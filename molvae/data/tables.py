"""Tables of SMILES in files: read row by row with line numbers, or whole; written whole or not at all."""

import csv
import difflib
import gzip
import io
import itertools
import logging
import zlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, Final, NamedTuple

import rdkit
from rdkit import Chem, RDConfig
from rdkit.Chem.rdDepictor import Compute2DCoords

from molvae.chem.molecule import Molecule
from molvae.errors import DataError, InvalidSmiles, UsageError, shorten
from molvae.folders import atomic_path
from molvae.signals import defer_signals

if TYPE_CHECKING:  # pandas and pyarrow wait inside the functions that need them: worker processes load this module
    import numpy as np
    import numpy.typing as npt
    import pandas as pd

log = logging.getLogger("molvae")

RDKIT_VERSION: Final[str] = rdkit.__version__
FIELD_LIMIT: Final = 1_000_000
"""Characters of a field beyond which a quotation mark was surely never closed."""
_DAMAGE: Final = (OSError, EOFError, zlib.error)


class Row(NamedTuple):
    """Where a row begins in the file (line from 1, header counted; parquet: row from 1), and its text."""

    line: int
    text: str


def read_rows(path: str | Path, column: str | None = None) -> Iterator[Row]:
    """Stream the SMILES of a file, stripped of white space; nothing is parsed, blank rows come as ``""``.

    Args:
        path: ``.smi`` or ``.txt`` (a SMILES, white space, a name; a first line that begins with the word
            "smiles" is a header), ``.csv`` or ``.tsv`` (with a header), each also as ``.gz``; ``.parquet``.
        column: its name; by default the column called "SMILES" in any case.

    Raises:
        DataError: no such file, an unknown ending, no rows, no such column, a damaged file.
    """
    path = Path(path)
    ending = _ending(path)
    readers: dict[str, Callable[[Path, str | None], Iterator[Row]]] = {
        ".smi": _smi_rows,
        ".txt": _smi_rows,
        ".csv": _csv_rows,
        ".tsv": _csv_rows,
        ".parquet": _parquet_rows,
    }
    rows = readers[ending](path, column)
    first = next(rows, None)
    if first is None:
        raise DataError(f"{path} is empty: it has no rows")
    yield first
    yield from rows


def read_table(path: str | Path, column: str | None = None) -> "pd.DataFrame":
    """The whole table, the SMILES column first and named "SMILES" (text, stripped, ``""`` where empty).

    The same files and the same errors as `read_rows`. What follows the SMILES in a ``.smi`` line is the
    column "name". A column "SMILES" that is not the one asked for becomes "SMILES (file)".
    """
    import pandas as pd

    path = Path(path)
    ending = _ending(path)
    next(read_rows(path, column))  # its errors are the better ones
    if ending in (".smi", ".txt"):
        pairs = [(text, name) for _, text, name in _smi_lines(path)]
        frame = pd.DataFrame(pairs, columns=["SMILES", "name"])
        return frame if frame["name"].any() else frame[["SMILES"]]
    frame = _read_frame(path, ending)
    name = _find_column(path, [str(known) for known in frame.columns], column)
    frame.columns = pd.Index([str(known) for known in frame.columns])
    if name != "SMILES":
        frame = frame.rename(columns={"SMILES": "SMILES (file)"}).rename(columns={name: "SMILES"})
    frame["SMILES"] = frame["SMILES"].fillna("").astype(str).str.strip()
    return _smiles_first(frame, path)


def read_columns(path: str | Path, names: Sequence[str]) -> "npt.NDArray[np.float32]":
    """The named columns of a .csv, .tsv or .parquet table as float32 numbers, ``(rows, len(names))``.

    Raises:
        DataError: the file is missing, damaged or empty, lacks one of the columns, or holds something else than
            finite numbers in them.
    """
    import numpy as np

    path = Path(path)
    frame = _read_frame(path, _ending(path))
    missing = [name for name in names if name not in frame.columns]
    if missing:
        raise DataError(
            f"{path} lacks {len(missing)} of the {len(names)} columns {names[0]} … {names[-1]}, the first is "
            f"{missing[0]!r}; its columns are {', '.join(map(str, frame.columns[:8]))}"
        )
    try:
        values = frame[list(names)].to_numpy(dtype=np.float32)
    except ValueError as error:
        raise DataError(
            f"{path}: the columns {names[0]} … {names[-1]} hold something else than numbers: {error}"
        ) from None
    if not len(values) or not np.isfinite(values).all():
        raise DataError(f"{path} has " + ("no rows" if not len(values) else "a missing or infinite number in a row"))
    return values


def write_table(frame: "pd.DataFrame", path: str | Path) -> int:
    """Write a table with a column "SMILES", all or nothing, in the format of the ending; without its index.

    ``.csv``, ``.tsv``, ``.parquet`` and ``.xlsx`` (header row frozen) have the SMILES first. ``.smi`` has the
    SMILES, a tab, and the column "rank" or the row number from 1. ``.sdf`` has 2D coordinates, every other
    column that has a value as a property, and as title the first that is there of "name", "rank", "InChIKey".

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
    endings = [ending.lower() for ending in path.suffixes[-2:]]
    if endings and endings[-1] == ".gz":
        endings.pop()
    elif endings and endings[-1] == ".parquet":
        return ".parquet"
    if not endings or endings[-1] not in (".smi", ".txt", ".csv", ".tsv"):
        known = ".smi, .txt, .csv, .tsv (each also with .gz) and .parquet"
        raise DataError(f"{path}: the ending tells the format; known are {known}")
    return endings[-1]


def _read_frame(path: Path, ending: str) -> "pd.DataFrame":
    """All columns of a .parquet, .tsv or .csv file."""
    import pandas as pd

    try:
        if ending == ".parquet":
            return pd.read_parquet(path)
        separator = "\t" if ending == ".tsv" else ","
        return pd.read_csv(path, sep=separator, encoding="utf-8-sig", encoding_errors="replace")
    except (*_DAMAGE, ValueError) as error:
        raise DataError(f"{path} cannot be read: {error}") from error


def _open(path: Path) -> IO[str]:
    """Text of a plain or gzipped file; a byte that is not UTF-8 becomes "�", which no SMILES has."""
    opener: Callable[..., IO[str]] = gzip.open if path.suffix.lower() == ".gz" else open
    return opener(path, "rt", encoding="utf-8-sig", errors="replace", newline="")


def _smi_lines(path: Path) -> Iterator[tuple[int, str, str]]:
    """Line number, SMILES and name; universal newlines."""
    number = 0
    try:
        with _open(path) as file:
            for number, line in enumerate(file, start=1):
                text, *name = line.split(maxsplit=1) or [""]
                if number == 1 and text.lower() == "smiles":
                    continue
                yield number, text, name[0].strip() if name else ""
    except _DAMAGE as error:
        raise DataError(f"{path} cannot be read beyond line {number}: {error}") from error


def _smi_rows(path: Path, column: str | None) -> Iterator[Row]:
    if column is not None:
        raise DataError(f"{path} has no columns, so none named {column!r}; the first word of a line is the SMILES")
    return (Row(number, text) for number, text, _ in _smi_lines(path))


def _csv_rows(path: Path, column: str | None) -> Iterator[Row]:
    csv.field_size_limit(FIELD_LIMIT)
    line = 0
    try:
        with _open(path) as file:
            reader = csv.reader(file, delimiter="\t" if ".tsv" in path.name.lower() else ",")
            header = next(reader, None)
            if header is None:
                return
            names = [name.strip() for name in header]
            place = names.index(_find_column(path, names, column))
            line = reader.line_num
            for cells in reader:
                yield Row(line + 1, cells[place].strip() if place < len(cells) else "")
                line = reader.line_num
    except (*_DAMAGE, csv.Error) as error:
        raise DataError(f"{path} cannot be read beyond line {line}: {error}") from error


def _parquet_rows(path: Path, column: str | None) -> Iterator[Row]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        with pq.ParquetFile(path) as file:
            name = _find_column(path, list(file.schema_arrow.names), column)
            number = itertools.count(1)
            for batch in file.iter_batches(batch_size=10_000, columns=[name]):
                for value in batch.column(0).to_pylist():
                    yield Row(next(number), "" if value is None else str(value).strip())
    except (OSError, pa.ArrowException) as error:
        raise DataError(f"{path} cannot be read: {error}") from error


def _find_column(path: Path, names: Sequence[str], column: str | None) -> str:
    if column is not None and column in names:
        return column
    if column is None:
        found = sorted((name for name in names if name.lower() == "smiles"), key=lambda name: name != "SMILES")
        if found:
            return found[0]
    wanted = column or "SMILES"
    columns = shorten(", ".join(names), 500)
    by_lower = {name.lower(): name for name in names}
    close = difflib.get_close_matches(wanted.lower(), by_lower, n=1, cutoff=0.5)
    hint = f"; did you mean {by_lower[close[0]]!r}?" if close else ""
    advice = " (name the column of SMILES)" if column is None else ""
    raise DataError(f"{path} has no column {wanted!r}; its columns are {columns}{hint}{advice}")


def _smiles_first(frame: "pd.DataFrame", path: Path) -> "pd.DataFrame":
    if "SMILES" not in frame.columns:
        columns = ", ".join(map(str, frame.columns))
        raise DataError(f"the table for {path} has no column 'SMILES'; its columns are {columns}")
    return frame[["SMILES", *(name for name in frame.columns if name != "SMILES")]]


def _write_csv(table: "pd.DataFrame", path: Path) -> int:
    table.to_csv(path, sep="\t" if path.suffix.lower() == ".tsv" else ",", index=False, lineterminator="\n")
    return len(table)


def _write_parquet(table: "pd.DataFrame", path: Path) -> int:
    table.to_parquet(path, index=False)
    return len(table)


def _write_smi(table: "pd.DataFrame", path: Path) -> int:
    labels: Iterable[Any] = table["rank"] if "rank" in table.columns else itertools.count(1)
    lines = [f"{smiles}\t{label}\n" for smiles, label in zip(table["SMILES"], labels, strict=False) if smiles]
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
    title = next((name for name in ("name", "rank", "InChIKey") if name in table.columns), None)
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
            for name, value in row.items():
                if _one_line(value):
                    mol.SetProp(_one_line(name), _one_line(value))
            file.write(Chem.SDWriter.GetText(mol))
            written += 1
    return written


def _one_line(value: object) -> str:
    """Text without line breaks, which would end a property."""
    return " ".join(str(value).split())


_WRITERS: Final[dict[str, Callable[["pd.DataFrame", Path], int]]] = {
    ".csv": _write_csv,
    ".tsv": _write_csv,
    ".parquet": _write_parquet,
    ".sdf": _write_sdf,
    ".smi": _write_smi,
    ".xlsx": _write_xlsx,
}
