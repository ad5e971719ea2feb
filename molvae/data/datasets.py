"""Public sets of molecules: which there are, and a way to have them that survives a bad line."""

import gzip
import hashlib
import http.client
import logging
import os
import time
import tomllib
import urllib.error
import urllib.request
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, Final, Literal, Self

from pydantic import model_validator

from molvae.arguments import checked
from molvae.config import Component, nearest, parse_recipe
from molvae.data.tables import rdkit_file
from molvae.errors import DataError, FolderError, UsageError
from molvae.folders import MANIFEST, atomic_path, only_writer, seal, sha256, unfinished, unseal

log = logging.getLogger("molvae")

Progress = Callable[[str, int, int | None], None]
"""Called with the name of a part, its bytes that are here, and its bytes in all where the server tells."""

PAUSES: Final = (1.0, 3.0, 9.0)
"""Seconds between the tries of a download; one more try than pauses."""
TIMEOUT: Final = 30.0
"""Seconds without a byte after which a try is given up."""
BLOCK: Final = 1 << 18
_ENDINGS: Final = (".smi", ".txt", ".smi.gz", ".txt.gz")


class Part(Component):
    """One file of a dataset: from an address, or from the data folder of RDKit's package.

    Attributes:
        name: "train", "valid" and "test", or "all" for a set in one file.
        molecules: as published.
        url: where it is.
        rdkit: or its path below RDKit's data folder.
        sha256: of the published file; None where that is not known.
    """

    name: Literal["train", "valid", "test", "all"]
    molecules: int
    url: str | None = None
    rdkit: str | None = None
    sha256: str | None = None

    @model_validator(mode="after")
    def _one_source(self) -> Self:
        if (self.url is None) == (self.rdkit is None):
            raise ValueError("a part has either a url or a path in rdkit")
        return self

    @property
    def file(self) -> str:
        """Its name in a fetched folder."""
        return f"{self.name}.smi"


class Dataset(Component):
    """A public set of molecules; the first part is the one that a fetched folder cannot lack."""

    name: str
    description: str
    citation: str
    licence: str
    homepage: str
    columns: dict[str, str]
    parts: tuple[Part, ...]


def available() -> tuple[Dataset, ...]:
    """The sets of ``data/datasets.toml`` (in an installed package: ``molvae/datasets.toml``), in its order.

    Raises:
        DataError: the file is missing: the installation is damaged.
    """
    package = Path(__file__).parents[1]
    places = (package / "datasets.toml", package.parent / "data" / "datasets.toml")
    path = next((place for place in places if place.is_file()), None)
    if path is None:
        raise DataError(f"the list of datasets is missing: neither {places[0]} nor {places[1]} exists; install again")
    tables = tomllib.loads(path.read_text(encoding="utf-8"))
    return tuple(parse_recipe({"name": name, **table}, Dataset, str(path)) for name, table in tables.items())


@checked
def fetch(name: str, out: str | Path, from_files: Iterable[str | Path] = (), progress: Progress | None = None) -> Path:
    """Bring a dataset into the folder ``out`` and return that; one ``.smi`` file a part, its manifest last.

    What is there already is kept; an interrupted download goes on where it stopped. The manifest says where each part
    came from, whether it was compared with a published checksum, and which parts are missing.

    Args:
        name: of a dataset in `available`.
        out: the folder to make or complete.
        from_files: files or folders at hand, plain or ``.gz``, instead of a download: each part is found by its
            checksum where that is known, else by its name in the file's name. The first part must be among them.
        progress: see `Progress`.

    Raises:
        UsageError: no such dataset.
        DataError: no network, a file that differs from its checksum, a file for no part, or two for one.
        FolderError: ``out`` holds something else, or cannot be written.
    """
    dataset = next((item for item in available() if item.name == name), None)
    if dataset is None:
        raise UsageError(f"there is no dataset {name!r}{nearest(name, [item.name for item in available()])}")
    out, from_files = Path(out), tuple(from_files)
    with only_writer(out, "a download"):
        had = _already(out, dataset)
        at_hand = _match(dataset, from_files, out, had)
        wanted = [part for part in dataset.parts if part.name not in had]
        if from_files:
            wanted = [part for part in wanted if part.name in at_hand]
        if had and not wanted:
            return out
        with unfinished(out):
            came = dict(had)
            for part in wanted:
                origin = _bring(part, dataset, out, at_hand.get(part.name), progress)
                came[part.name] = {"file": part.file, "from": origin, "verified": part.sha256 is not None}
            for part in wanted:  # all or none: an interrupted download begins no half-made set
                _place(out / part.file)
            _seal(out, dataset, came)
    return out


def _already(out: Path, dataset: Dataset) -> dict[str, Any]:
    """Parts that a finished folder has, as its manifest tells them."""
    if not (out / MANIFEST).exists():
        return {}
    manifest = unseal(out)
    if manifest.get("kind") != "dataset" or manifest.get("name") != dataset.name:
        what = f"{manifest.get('kind', 'something else')} {manifest.get('name', '')}".strip()
        raise FolderError(f"{out} holds {what}, not the dataset {dataset.name}; take another folder")
    parts: dict[str, Any] = manifest["parts"]
    return parts


def _seal(out: Path, dataset: Dataset, came: Mapping[str, Any]) -> None:
    parts = {part.name: came[part.name] for part in dataset.parts if part.name in came}
    seal(
        out,
        [entry["file"] for entry in parts.values()],
        kind="dataset",
        name=dataset.name,
        parts=parts,
        missing=[part.name for part in dataset.parts if part.name not in parts],
        citation=dataset.citation,
        licence=dataset.licence,
    )


def _bring(part: Part, dataset: Dataset, out: Path, at_hand: Path | None, progress: Progress | None) -> str:
    """Have the whole content of a part in its ``.part`` file, checked.

    Returns:
        Where it came from.
    """
    partial = _partial(out / part.file)
    if at_hand is None and part.rdkit is not None:
        at_hand = rdkit_file(part.rdkit)
    if at_hand is not None:
        with atomic_path(partial) as unfinished_copy, open(unfinished_copy, "wb") as file:
            for block in _blocks(at_hand):
                file.write(block)
        return at_hand.name
    assert part.url is not None
    try:
        _download(part.url, partial, lambda done, total: progress and progress(part.name, done, total))
    except _NetworkError as error:
        raise DataError(
            f"the part {part.name!r} of {dataset.name} could not be downloaded from {part.url}: {error}. "
            "What came is kept: the same command goes on from there. A copy at hand is taken with --from FILE"
        ) from error
    found = sha256(partial)
    if part.sha256 not in (None, found):
        partial.unlink()
        raise DataError(
            f"{part.url} is not the published file: its SHA-256 is {found}, expected is {part.sha256}; "
            "try again, or give a copy at hand with --from FILE"
        )
    return part.url


def _partial(target: Path) -> Path:
    return target.with_name(f"{target.name}.part")


def _place(target: Path) -> None:
    try:
        with open(_partial(target), "rb+") as file:
            os.fsync(file.fileno())
        os.replace(_partial(target), target)
    except OSError as error:
        raise FolderError(f"{target} could not be written: {error.strerror or error}") from error


class _NetworkError(Exception):
    """A download that cannot go on now."""


def _download(url: str, partial: Path, report: Callable[[int, int | None], object]) -> None:
    """Fill ``partial`` from where it ends until it is whole, in a few tries."""
    for pause in (*PAUSES, None):
        try:
            _continue(url, partial, report)
            return
        except urllib.error.HTTPError as error:
            why = f"the server answered {error.code} {error.reason}"
            if error.code < 500 and error.code not in (408, 429):
                raise _NetworkError(why) from error
        except (OSError, http.client.HTTPException, _NetworkError) as error:
            why = str(getattr(error, "reason", None) or error or type(error).__name__)
        if pause is None:
            raise _NetworkError(why)
        log.warning("the download of %s stopped (%s); it goes on in %g s", url, why, pause)
        time.sleep(pause)


def _continue(url: str, partial: Path, report: Callable[[int, int | None], object]) -> None:
    """One try: ask for the bytes that are missing, and check that as many came as were announced."""
    have = partial.stat().st_size if partial.exists() else 0
    headers = {"User-Agent": "molvae", **({"Range": f"bytes={have}-"} if have else {})}
    try:
        response = urllib.request.urlopen(urllib.request.Request(url, headers=headers), timeout=TIMEOUT)
    except urllib.error.HTTPError as error:
        if error.code != 416 or not have:
            raise
        if error.headers.get("Content-Range", "").rpartition("/")[2] == str(have):
            return  # it was whole already
        partial.unlink()
        raise _NetworkError("the server has no such range; from the beginning again") from error
    with response:
        start = have if response.status == 206 else 0
        if response.status == 206 and not response.headers.get("Content-Range", "").startswith(f"bytes {have}-"):
            partial.unlink()
            raise _NetworkError("the server sent another range than asked for; from the beginning again")
        length = response.headers.get("Content-Length")
        total = start + int(length) if length is not None else None
        done = _append(response, partial, start, lambda done: report(done, total))
    if total is not None and done != total:
        raise _NetworkError(f"the connection ended after {done} of {total} bytes")


def _append(response: http.client.HTTPResponse, partial: Path, start: int, report: Callable[[int], object]) -> int:
    """Write the body at ``start``, each block as it comes, so a cut connection or a kill loses little.

    Returns:
        Bytes in the file.
    """
    done = start
    with open(partial, "r+b" if start else "wb") as file:
        file.seek(start)
        while block := response.read1(BLOCK):
            try:
                file.write(block)
                file.flush()
            except OSError as error:
                raise FolderError(f"{partial} could not be written: {error.strerror or error}") from error
            done += len(block)
            report(done)
    return done


def _match(dataset: Dataset, from_files: Iterable[str | Path], out: Path, had: Mapping[str, Any]) -> dict[str, Path]:
    """Which file at hand is which part."""
    found: dict[str, Path] = {}
    for path, named in _listed(from_files):
        digest = _content_sha256(path)
        part = _part_of(dataset, path, digest)
        if part is None and named:
            names = ", ".join(part.name for part in dataset.parts)
            raise DataError(f"{path} is none of the parts of {dataset.name}: its name should have one of {names}")
        if part is None:
            continue
        if part.name in found:
            raise DataError(f"{found[part.name]} and {path} both stand for the part {part.name!r}; give one of them")
        if part.name in had and sha256(out / part.file) != digest:
            raise FolderError(f"{out} has another {part.file} than {path} already; take another folder")
        found[part.name] = path
    first = dataset.parts[0].name
    if from_files and first not in found and first not in had:
        raise DataError(f"the part {first!r} of {dataset.name} is not among the files at hand; it cannot be missing")
    return found


def _part_of(dataset: Dataset, path: Path, digest: str) -> Part | None:
    by_content = [part for part in dataset.parts if part.sha256 == digest]
    if by_content:
        return by_content[0]
    by_name = [part for part in dataset.parts if part.name in path.name.lower() or len(dataset.parts) == 1]
    if len(by_name) != 1:
        return None
    (part,) = by_name
    if part.sha256 is not None:
        raise DataError(
            f"{path} is not the published part {part.name!r} of {dataset.name}: its SHA-256 is {digest}, "
            f"expected is {part.sha256}; `molvae data prepare` takes any file of molecules as it is"
        )
    return part


def _listed(from_files: Iterable[str | Path]) -> Iterator[tuple[Path, bool]]:
    """Each file, and whether it was named itself; of a folder those whose ending fits."""
    for item in from_files:
        path = Path(item)
        if path.is_dir():
            yield from ((file, False) for file in sorted(path.iterdir()) if file.name.lower().endswith(_ENDINGS))
        elif path.is_file():
            yield path, True
        else:
            raise DataError(f"there is no file {path}")


def _content_sha256(path: Path) -> str:
    digest, size = hashlib.sha256(), 0
    for block in _blocks(path):
        digest.update(block)
        size += len(block)
    if not size:
        raise DataError(f"{path} is empty")
    return digest.hexdigest()


def _blocks(path: Path) -> Iterator[bytes]:
    """The content of a plain or gzipped file, uncompressed."""
    zipped = path.suffix.lower() == ".gz"
    try:
        with gzip.open(path, "rb") if zipped else open(path, "rb") as file:
            while block := file.read(BLOCK):
                yield block
    except (OSError, EOFError, zlib.error) as error:
        raise DataError(f"{path} cannot be read: {error}") from error
