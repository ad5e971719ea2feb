"""From a file of molecules to a corpus folder: canonical, unique, split; each reject with its reason."""

import csv
import hashlib
import itertools
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Annotated, Any, Final, Literal, NamedTuple

from pydantic import Field

from molvae.arguments import checked
from molvae.chem.molecule import Molecule
from molvae.config import Component, as_table, differing_keys
from molvae.data.labels import (
    LABELS,
    LabelTable,
    count_rows,
    labelled_rows,
    prepare_scores,
    property_names,
    scored,
    write_labels,
)
from molvae.data.tables import RDKIT_VERSION, Row
from molvae.data.vocab import Vocab
from molvae.errors import DataError, FolderError, InvalidSmiles, UsageError
from molvae.folders import (
    MANIFEST,
    atomic_path,
    only_writer,
    seal,
    sha256,
    unfinished,
    unseal,
    write_atomic,
    write_json,
)
from molvae.workers import cores, worker_pool

PARTS: Final = ("train", "valid", "test")
FILES: Final = ("train.smi", "valid.smi", "test.smi", "vocab.json", "rejects.csv")
CHUNK: Final = 200
"""Rows a worker gets at a time: about a twentieth of a second of work, or a second where scores are computed."""
SMALL: Final = 50
"""Up to so many chunks are cleaned in this process, a tenth of it with scores: starting others would take as long."""

Share = Annotated[float, Field(ge=0, lt=1)] | Annotated[int, Field(ge=0)]
Progress = Callable[[int, int], None]
Labelled = tuple[Row, tuple[float, ...]]


class PrepareSettings(Component):
    """How a corpus is made.

    Attributes:
        column: name of the column of SMILES; by default "SMILES" in any case.
        split: "random" by molecule; "scaffold": molecules of one Murcko scaffold stay together; "given": as
            the source's own parts say. By default "given" for a source in parts, "random" for any other.
        valid: size of the validation part: a fraction below 1, or a number of molecules; unused by "given".
        test: size of the test part, likewise.
        seed: of the split.
        keep_largest_fragment: of a salt or mixture keep the largest molecule; otherwise its row is rejected.
        max_length: characters of the longest canonical SMILES that is kept.
        labels: columns of numbers that are kept with the molecules; empty cells and text are missing labels, and a
            warning tells of text.
        scores: further labels, computed: what `molvae.chem.objectives.named` understands, such as "qed" or "MolWt".
    """

    column: str | None = None
    split: Literal["random", "scaffold", "given"] | None = None
    valid: Share = 0.05
    test: Share = 0.05
    seed: int = 0
    keep_largest_fragment: bool = False
    max_length: int = Field(default=120, ge=1)
    labels: tuple[str, ...] = ()
    scores: tuple[str, ...] = ()

    @property
    def properties(self) -> tuple[str, ...]:
        """What the labels are called, columns first: "QED" for the score "qed"."""
        return property_names(self.labels, self.scores)


class Accepted(NamedTuple):
    """A canonical SMILES, its Murcko scaffold where the split asks for it (else empty), its labels."""

    smiles: str
    scaffold: str
    labels: tuple[float, ...] = ()


class Rejected(NamedTuple):
    """A row that is left out, and why."""

    row: Row
    reason: str


class _Source(NamedTuple):
    """A file to read, the part it stands for ("" for none), and its SHA-256."""

    part: str
    path: Path
    sha256: str


@checked
def prepare(
    source: str | Path,
    out: str | Path,
    settings: PrepareSettings,
    progress: Progress | None = None,
    workers: int | None = None,
) -> dict[str, Any]:
    """Clean, split and write a corpus folder, its manifest last; the same call again returns the manifest at once.

    The folder holds ``train.smi``, ``valid.smi`` and ``test.smi`` (canonical SMILES, one a line), ``vocab.json`` (the
    characters of all three), ``rejects.csv`` (line, text, reason, file) and, where labels are asked for,
    ``labels.safetensors``: for each part float32 ``(molecules, properties)``, NaN where one is missing. The result
    depends on the source, the settings and RDKit's version alone, not on the number of workers. A molecule that occurs
    twice is kept once: its first row; where the source has parts, in the test part before the validation part before
    the train part, so that nothing of the test part is trained on. Each of its labels is the mean of what all its rows
    give. Memory grows by about 0.5 kB a molecule.

    Args:
        source: a file for `molvae.data.tables.read_rows`, or a folder that `molvae.data.datasets.fetch` made.
        out: the folder to make; an unfinished one is started over.
        settings: see `PrepareSettings`.
        progress: called with the rows done and the rows there are.
        workers: processes; by default one for each core.

    Raises:
        DataError: a source that cannot be read, or from which no training molecule is left; a label column that
            is not there, or without a number.
        UsageError: there is no such score, or two labels have one name.
        ObjectiveError: a score's module cannot be imported.
        FolderError: ``out`` holds something else: a corpus of other inputs or settings, or foreign files.
        FolderBusy: another process is filling ``out``.
        WorkerError: the workers do not start, or one was killed; the same call starts over.
    """
    source, out = Path(source), Path(out)
    properties = settings.properties
    sources, settings = _resolve(source, settings)
    if out.resolve() in (source.resolve(), *source.resolve().parents):
        raise FolderError(f"{out} is where the source lies; take another folder for the corpus")
    asked = {"source": {item.path.name: item.sha256 for item in sources}, "settings": as_table(settings)}
    done = (out / MANIFEST).exists()  # then its source is not read
    total = 0 if done else count_rows([item.path for item in sources], settings.column, settings.labels)
    with only_writer(out, "a preparation"):
        if (out / MANIFEST).exists():
            return _finished(out, asked)
        with unfinished(out):
            prepare_scores(settings.scores)
            facts = _fill(sources, out, settings, total, progress, workers or cores())
            facts = {"kind": "corpus", **asked, "split": settings.split, "seed": settings.seed, **facts}
            seal(out, [*FILES, LABELS] if properties else list(FILES), **facts, rdkit=RDKIT_VERSION)
    return unseal(out, verify=False)


def clean(row: Row, settings: PrepareSettings, labels: tuple[float, ...] = ()) -> Accepted | Rejected:
    """The canonical molecule of one row with the row's labels and its scores, or the reason why it is left out."""
    if row.fault:
        return Rejected(row, row.fault)
    if not row.text:
        return Rejected(row, "empty")
    try:
        molecule = Molecule.parse(row.text)
        if "." in molecule.smiles:
            if not settings.keep_largest_fragment:
                fragments = molecule.smiles.count(".") + 1
                return Rejected(row, f"{fragments} fragments, a salt or mixture; keep_largest_fragment keeps one")
            molecule = molecule.largest_fragment()
    except InvalidSmiles as error:
        place = "" if error.position is None else f" at character {error.position + 1}"
        return Rejected(row, error.reason + place)
    length = len(molecule.smiles)
    if length > settings.max_length:
        return Rejected(row, f"{length} characters, at most {settings.max_length} are kept (max_length)")
    scaffold = molecule.scaffold if settings.split == "scaffold" else ""
    return Accepted(molecule.smiles, scaffold, labels + scored(molecule, settings.scores))


def split_by_seed(groups: Mapping[str, str], valid: int, test: int, seed: int) -> dict[str, list[str]]:
    """Deal molecules to parts, whole groups at a time; each part keeps the order of ``groups``.

    Groups are taken in the order of a hash of seed and name, so the split does not depend on the order of the
    file or on a library's generator. Each goes to the validation part if it still fits, else to the test part
    if it fits there, else to the train part: sizes are exact for groups of one, else at most as asked.

    Args:
        groups: molecule to name of its group.
        valid: molecules in the validation part, at most.
        test: molecules in the test part, at most.
        seed: another seed, another split.
    """
    sizes: dict[str, int] = {}
    for group in groups.values():
        sizes[group] = sizes.get(group, 0) + 1
    room = {"valid": valid, "test": test}
    part_of: dict[str, str] = {}
    for group in sorted(sizes, key=lambda name: hashlib.blake2b(f"{seed}:{name}".encode()).digest()):
        part = next((part for part, left in room.items() if sizes[group] <= left), "train")
        part_of[group] = part
        if part in room:
            room[part] -= sizes[group]
    return _deal((smiles, part_of[group]) for smiles, group in groups.items())


def _deal(pairs: Iterable[tuple[str, str]]) -> dict[str, list[str]]:
    parts: dict[str, list[str]] = {part: [] for part in PARTS}
    for smiles, part in pairs:
        parts[part].append(smiles)
    return parts


def _resolve(source: Path, settings: PrepareSettings) -> tuple[list[_Source], PrepareSettings]:
    """The files to read, in the order in which their molecules win; the settings with their split decided."""
    if not source.exists():
        raise DataError(f"there is no file {source}")
    if not source.is_dir():
        if settings.split == "given":
            raise UsageError(f"split 'given' needs a source in parts; {source} is one file, take random or scaffold")
        sources = [_Source("", source, sha256(source))]
        return sources, settings.model_copy(update={"split": settings.split or "random"})
    manifest = unseal(source)
    if manifest.get("kind") != "dataset":
        what = manifest.get("kind", "something else")
        raise DataError(f"{source} is no fetched dataset but {what}; name a file, or a folder that fetch made")
    files = {part: source / entry["file"] for part, entry in manifest["parts"].items()}
    if len(files) == 1:
        return _resolve(next(iter(files.values())), settings)
    sources = [
        _Source(part, files[part], manifest["files"][files[part].name]["sha256"])
        for part in reversed(PARTS)
        if part in files
    ]
    return sources, settings.model_copy(update={"split": settings.split or "given"})


def _finished(out: Path, asked: dict[str, Any]) -> dict[str, Any]:
    manifest = unseal(out)
    if manifest.get("kind") != "corpus":
        raise FolderError(f"{out} holds something else ({manifest.get('kind')}); take another folder")
    kept = {key: manifest[key] for key in asked}
    kept["settings"] = as_table(PrepareSettings()) | kept["settings"]  # older corpora do not name newer settings
    changed = differing_keys(kept, asked)
    if changed:
        lines = "".join(f"\n  {line}" for line in changed)
        raise FolderError(f"{out} was made otherwise (old → new):{lines}\ntake another folder, or delete this one")
    return manifest


def _fill(
    sources: Sequence[_Source],
    out: Path,
    settings: PrepareSettings,
    total: int,
    progress: Progress | None,
    workers: int,
) -> dict[str, Any]:
    """Write every file but the manifest; give its counts, the longest length and what is labelled."""
    groups: dict[str, str] = {}
    labels = LabelTable(settings.properties)
    done = rejected = 0
    with (
        atomic_path(out / "rejects.csv") as partial,
        open(partial, "w", encoding="utf-8", newline="") as file,
    ):
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(["line", "text", "reason", "file"])
        for item, results in _read(sources, settings, workers):
            for result in results:
                if isinstance(result, Accepted):
                    groups.setdefault(result.smiles, _group(result, item, settings))
                    if labels.names:
                        labels.add(result.smiles, result.labels)
                else:
                    rejected += 1
                    writer.writerow([result.row.line, result.row.text, result.reason, item.path.name])
            done += len(results)
            if progress is not None:
                progress(done, total)
    parts = _split(groups, settings)
    if not parts["train"]:
        raise DataError(
            f"no training molecule is left: {total} rows came, {rejected} were rejected "
            f"({out / 'rejects.csv'} says why), {len(groups)} molecules remain, "
            f"of which valid = {settings.valid}, test = {settings.test}"
        )
    counts = {part: len(smiles) for part, smiles in parts.items()}
    counts |= {"rejected": rejected, "duplicates": total - rejected - len(groups)}
    return {"counts": counts, "longest": max(map(len, groups)), **_write_parts(out, parts, labels)}


def _write_parts(out: Path, parts: Mapping[str, Sequence[str]], labels: LabelTable) -> dict[str, Any]:
    """Write the molecules of each part, their characters and their labels; give what is labelled."""
    for part, smiles in parts.items():
        write_atomic(out / f"{part}.smi", "".join(f"{text}\n" for text in smiles))
    every = itertools.chain.from_iterable(parts.values())
    write_json(out / "vocab.json", {"characters": Vocab.of(list(every)).characters})
    if not labels.names:
        return {}
    written = write_labels(out, labels.names, {part: labels.of(smiles) for part, smiles in parts.items()})
    return {"properties": labels.names, "labelled": written}


def _read(
    sources: Sequence[_Source], settings: PrepareSettings, workers: int
) -> Iterator[tuple[_Source, list[Accepted | Rejected]]]:
    for item in sources:
        rows = labelled_rows(item.path, settings.column, settings.labels)
        for results in _cleaned(rows, settings, workers):
            yield item, results


def _group(accepted: Accepted, item: _Source, settings: PrepareSettings) -> str:
    """What decides on the part of a molecule: itself, its scaffold or the file it came from."""
    choices = {"random": accepted.smiles, "scaffold": accepted.scaffold, "given": item.part}
    return choices[settings.split or "random"]


def _split(groups: Mapping[str, str], settings: PrepareSettings) -> dict[str, list[str]]:
    if settings.split == "given":
        return _deal(groups.items())
    valid, test = (_share(share, len(groups)) for share in (settings.valid, settings.test))
    return split_by_seed(groups, valid, test, settings.seed)


def _share(share: float | int, molecules: int) -> int:
    return share if isinstance(share, int) else round(share * molecules)


def _cleaned(rows: Iterator[Labelled], settings: PrepareSettings, workers: int) -> Iterator[list[Accepted | Rejected]]:
    """Cleaned chunks in the order of the rows; few are under way at a time, so memory stays bounded."""
    chunks = iter(lambda: list(itertools.islice(rows, CHUNK)), [])
    small = SMALL // 10 if settings.scores else SMALL
    first = list(itertools.islice(chunks, small + 1))
    everything = itertools.chain(first, chunks)
    if workers == 1 or len(first) <= small:
        yield from (_clean_chunk(settings, chunk) for chunk in everything)
        return
    with worker_pool(partial(_clean_chunk, settings), workers) as pool:
        yield from pool.ordered(everything)


def _clean_chunk(settings: PrepareSettings, chunk: list[Labelled]) -> list[Accepted | Rejected]:
    return [clean(row, settings, labels) for row, labels in chunk]
