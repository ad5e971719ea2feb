"""The cells of a text file of molecules, row by row and as they stand: the one reader beneath `molvae.data.tables`."""

import codecs
import csv
import difflib
import gzip
import io
import itertools
import logging
import re
import zlib
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Final, NamedTuple

from molvae.chem.molecule import parse_or_none
from molvae.errors import DataError, shorten

log = logging.getLogger("molvae")

FIELD_LIMIT: Final = 1_000_000
"""Characters of a cell beyond which a quotation mark was surely never closed."""
DAMAGE: Final = (OSError, EOFError, zlib.error)
"""What reading a damaged file raises."""
SAMPLE: Final = 100
"""Rows that show whether each of them ends with separators, and whether a .smi file is a table."""
SEPARATORS: Final = {",": "commas", "\t": "tabs", ";": "semicolons"}
OWN_SEPARATOR: Final = {".csv": ",", ".tsv": "\t"}

_ESCAPED: Final = re.compile("[\udc80-\udcff]")
"""What a byte that is not UTF-8 is decoded to at first (surrogateescape)."""

Record = tuple[int, list[str], str]
"""The line where a row begins (from 1, header counted), its cells, and why it is no row ("" where it is one)."""


class Source(NamedTuple):
    """A file of molecules, opened.

    Attributes:
        names: of its columns, without blanks around them; "" where the header has none.
        separator: of its cells.
        records: its rows, at least one, each with a cell a column. A row with fewer has empty ones at its end; one
            with more has a ``fault``, and all its cells.
        headed: whether the file itself names its columns.
    """

    names: list[str]
    separator: str
    records: Iterator[Record]
    headed: bool = True


def open_source(path: Path, column: str | None = None) -> Source:
    """The table in a .csv, .tsv, .smi or .txt file, each also as .gz; its header is read at once.

    Cells are separated by what the ending says; by another of comma, tab and semicolon if only that makes a column
    of SMILES. Without ``column`` a .smi or .txt file has two columns, "SMILES" and "name", and perhaps a header that
    begins with the word "smiles"; with ``column`` it is a table. Lines without a character are no rows of a table,
    but are rows of a .smi file. Text is UTF-8, or UTF-16 by its mark; bytes that are neither are read as Windows-1252,
    with a warning.

    Args:
        path: its ending, before a ``.gz``, tells the format.
        column: the one that is looked for; by default "SMILES" in any case.

    Raises:
        DataError: no rows, a damaged file, or a table in a .smi or .txt file.
    """
    lines = _lines(path)
    ending = text_ending(path)
    if ending in OWN_SEPARATOR or column is not None:
        source = _table(path, lines, OWN_SEPARATOR.get(ending, ""), column)
    else:
        source = _molecules(path, lines)
    first = next(source.records, None)
    if first is None:
        raise DataError(f"{path} is empty: it has no rows")
    return source._replace(records=itertools.chain([first], source.records))


def text_ending(path: Path) -> str:
    """The ending that tells the format, in lower case, without a ``.gz``; "" where there is none."""
    endings = [ending.lower() for ending in path.suffixes[-2:]]
    if endings[-1:] == [".gz"]:
        endings.pop()
    return endings[-1] if endings else ""


def find_smiles(names: Sequence[str], column: str | None) -> str | None:
    """Which of the names is the column, or by default "SMILES" in any case; None where there is none."""
    if column is not None:
        return column if column in names else None
    found = sorted((name for name in names if name.lower() == "smiles"), key=lambda name: name != "SMILES")
    return found[0] if found else None


def place_of(path: Path, names: Sequence[str], column: str | None) -> int:
    """Of a column among the names of a file's.

    Raises:
        DataError: it is not there, or twice.
    """
    name = find_smiles(names, column)
    if name is not None:
        first, *more = (k for k, known in enumerate(names, start=1) if known == name)
        if more:
            raise DataError(f"{path} has two columns {name!r}, number {first} and {more[0]}; rename one of them")
        return first - 1
    if not names:
        raise DataError(f"{path} has no columns, so none named {column!r}; the first word of a line is the SMILES")
    wanted = column or "SMILES"
    columns = shorten(", ".join(names), 500)
    by_lower = {name.lower(): name for name in names}
    close = difflib.get_close_matches(wanted.lower(), by_lower, n=1, cutoff=0.5)
    hint = f"; did you mean {by_lower[close[0]]!r}?" if close else ""
    advice = " (name the column of SMILES)" if column is None else ""
    raise DataError(f"{path} has no column {wanted!r}; its columns are {columns}{hint}{advice}")


def column_names(path: Path, names: Sequence[str], place: int) -> list[str]:
    """The names, each once, "SMILES" that at the given place."""
    found: list[str] = []
    for k, name in enumerate(names):
        name = "SMILES" if k == place else "SMILES (file)" if name == "SMILES" else name
        again = (f"{name} ({n})".strip() for n in itertools.count(2))
        unique = next(one for one in itertools.chain([name], again) if one not in found)
        if unique != name:
            log.warning("%s: the column %r that is number %d is called %r here", path, name, k + 1, unique)
        found.append(unique)
    return found


def _lines(path: Path) -> Iterator[str]:
    """Lines with their ends, which are "\\n", "\\r\\n" or "\\r"."""
    number, told = 0, False
    try:
        with _open(path) as file:
            for number, line in enumerate(file, start=1):
                if not line.isascii() and _ESCAPED.search(line):
                    line = _ESCAPED.sub(_windows_1252, line)
                    if not told:
                        text = shorten(line.strip())
                        log.warning("%s, line %d is not UTF-8 and read as Windows-1252: %s", path, number, text)
                    told = True
                yield line
    except DAMAGE as error:
        raise DataError(f"{path} cannot be read beyond line {number}: {error}") from error


def _open(path: Path) -> io.TextIOWrapper:
    file = gzip.open(path) if path.suffix.lower() == ".gz" else open(path, "rb")  # noqa: SIM115  (who reads closes)
    try:
        utf_16 = file.peek(2)[:2] in (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)
    except DAMAGE:
        file.close()
        raise
    encoding, errors = ("utf-16", "replace") if utf_16 else ("utf-8-sig", "surrogateescape")
    return io.TextIOWrapper(file, encoding, errors, newline="")


def _windows_1252(found: re.Match[str]) -> str:
    byte = bytes([ord(found[0]) - 0xDC00])
    try:
        return byte.decode("cp1252")
    except UnicodeDecodeError:  # one of its five gaps
        return byte.decode("latin-1")


def _table(path: Path, lines: Iterator[str], own: str, column: str | None) -> Source:
    head = list(_through_the_first(lines))
    if not head or not head[-1].strip():
        return Source([], own, iter(()))
    separator = _separator(head[-1], own, column)
    if not separator:
        raise DataError(f"{path} has no columns, so none named {column!r}; the first word of a line is the SMILES")
    records = _records(itertools.chain(head, lines), separator)
    line, header, fault = next(record for record in records if "".join(record[1]).strip())
    if fault:
        raise DataError(f"{path}, line {line}: the header cannot be read, {fault}")
    names = [name.strip() for name in header]
    while len(names) > 1 and not names[-1]:
        names.pop()
    first = list(itertools.islice(records, SAMPLE))
    usual = min((len(cells) for _, cells, fault in first if not fault and len(cells) >= len(names)), default=len(names))
    names += [""] * (min(usual, len(header)) - len(names))
    return Source(names, separator, _fitted(itertools.chain(first, records), len(names), usual))


def _through_the_first(lines: Iterator[str]) -> Iterator[str]:
    """Lines up to the first that is not blank."""
    for line in lines:
        yield line
        if line.strip():
            return


def _records(lines: Iterator[str], separator: str) -> Iterator[Record]:
    """Rows as they stand. One whose quotation marks do not match is its first line alone; the others are read again."""
    csv.field_size_limit(FIELD_LIMIT)
    line = 1
    while True:
        lines, behind = itertools.tee(lines)
        reader = csv.reader(lines, delimiter=separator, strict=True)
        done = 0
        try:
            for cells in reader:
                if cells:
                    yield line + done, cells, ""
                for _ in range(done, reader.line_num):
                    next(behind)
                done = reader.line_num
            return
        except csv.Error as error:
            first = next(behind)
            yield line + done, [first.rstrip("\r\n")], f"its quotation marks do not match ({error})"
            lines, line = behind, line + done + 1


def _fitted(records: Iterable[Record], columns: int, usual: int) -> Iterator[Record]:
    """Rows with a cell a column. Where all rows of the sample have ``usual`` cells or more, empty ones end each row.

    An empty cell too many is not left out elsewhere: with a comma inside a name it would be a column of its own.
    """
    padding = [""] * columns
    for record in records:
        line, cells, fault = record
        n = len(cells)
        if n == columns or fault:
            yield record
        elif n < columns:
            yield line, cells + padding[n:], ""
        elif n <= usual and not "".join(cells[columns:]).strip():
            yield line, cells[:columns], ""
        else:
            ending = usual - columns if not "".join(cells[n - (usual - columns) :]).strip() else 0
            yield line, cells, f"{n - ending} cells for {columns} columns"


def _separator(head: str, own: str, column: str | None) -> str:
    """Of a header: its own, unless only another one makes the column; "" where there is no own and none makes it."""
    order = sorted(SEPARATORS, key=lambda separator: separator != own)
    names = {separator: _cells(head, separator) for separator in order}
    for separator in order:
        if find_smiles(names[separator], column) is not None:
            return separator
    if own and len(names[own]) == 1:
        return max(order, key=lambda separator: len(names[separator]))
    return own


def _cells(line: str, separator: str) -> list[str]:
    try:
        return [cell.strip() for cell in next(csv.reader([line], delimiter=separator), [])]
    except csv.Error:
        return []


def _molecules(path: Path, lines: Iterator[str]) -> Source:
    first = list(itertools.islice(lines, SAMPLE))
    _refuse_table(path, [line.strip("\r\n") for line in first if line.strip()])
    return Source(["SMILES", "name"], "\t", _words(itertools.chain(first, lines)), headed=False)


def _words(lines: Iterable[str]) -> Iterator[Record]:
    """The first word of each line, and what follows it."""
    for number, line in enumerate(lines, start=1):
        text, *name = line.split(maxsplit=1) or [""]
        if number > 1 or text.lower() != "smiles":
            yield number, [text, name[0].strip() if name else ""], ""


def _refuse_table(path: Path, lines: Sequence[str]) -> None:
    """Refuse a table by its header, or because one of its columns holds the molecules that its first words do not.

    Raises:
        DataError: says how it can be read.
    """
    words = [line.split()[0] for line in lines]
    if not words or words[0].lower() == "smiles":
        return
    tables = {separator: [_cells(line, separator) for line in lines] for separator in SEPARATORS}
    for separator, rows in tables.items():
        if len(rows[0]) > 1 and find_smiles(rows[0], None) is not None:
            raise _looks_like_a_table(path, separator, rows[0])
    if parse_or_none(words[0]) or 4 * sum(parse_or_none(word) is not None for word in words) > len(words):
        return
    for separator, rows in tables.items():
        headed = not any(parse_or_none(cell) for cell in rows[0])
        body = rows[1:] if headed and len(rows) > 1 else rows
        for column in zip(*body, strict=False) if min(map(len, rows)) > 1 else ():
            if 2 * sum(parse_or_none(cell) is not None for cell in column) > len(body):
                raise _looks_like_a_table(path, separator, rows[0], headed)


def _looks_like_a_table(path: Path, separator: str, cells: Sequence[str], headed: bool = True) -> DataError:
    ending = ".tsv" if separator == "\t" else ".csv"
    shown = f"{path} looks like a table of {len(cells)} columns separated by {SEPARATORS[separator]}"
    if headed:
        names = shorten(", ".join(cells), 500)
        return DataError(f"{shown} ({names}): rename it to {ending}, or name its column of SMILES (--column)")
    return DataError(
        f"{shown}, without a header: put the SMILES first in each line and a tab behind it, or give the table a "
        f"first line that names its columns and rename it to {ending}"
    )
