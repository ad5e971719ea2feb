"""A prepared corpus in memory, and the batches of one length that training walks through."""

import json
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from molvae.data.labels import Labels, read_labels
from molvae.data.vocab import Vocab
from molvae.errors import DataError, FolderError
from molvae.folders import MANIFEST, sha256, unseal

Tokens = npt.NDArray[np.uint8]


class Batch(NamedTuple):
    """Strings of one length: their ids ``(batch, time)``, and where each stands among the texts ``(batch,)``."""

    tokens: Tokens
    rows: npt.NDArray[np.int32]


@dataclass(frozen=True, eq=False)
class Corpus:
    """What `prepare` wrote: canonical SMILES in three parts, the characters of them all, and labels.

    Attributes:
        properties: what the columns of the labels are called; there may be none.
        labels: for "train", "valid" and "test" ``(molecules, properties)`` in the properties' own units, row by row
            those of the part's SMILES; NaN where one is missing.
        digest: SHA-256 of the manifest, so of everything.
    """

    folder: Path
    vocab: Vocab
    train: tuple[str, ...]
    valid: tuple[str, ...]
    test: tuple[str, ...]
    properties: tuple[str, ...]
    labels: dict[str, Labels]
    manifest: dict[str, Any]
    digest: str

    @classmethod
    def load(cls, folder: str | Path) -> "Corpus":
        """Read a prepared folder.

        Raises:
            DataError: it is not one, or it is damaged.
        """
        folder = Path(folder)
        try:
            manifest = unseal(folder)
        except FolderError as error:
            raise DataError(f"{error}; `molvae data prepare INPUT -o {folder}` makes one") from error
        if manifest.get("kind") != "corpus":
            raise DataError(f"{folder} is not a prepared corpus; `molvae data prepare INPUT -o DIR` makes one")
        parts = {part: tuple((folder / f"{part}.smi").read_text().split()) for part in ("train", "valid", "test")}
        vocab = Vocab(json.loads((folder / "vocab.json").read_text(encoding="utf-8"))["characters"])
        properties = tuple(manifest.get("properties", ()))
        return cls(
            folder,
            vocab,
            **parts,
            properties=properties,
            labels=read_labels(folder, properties, {part: len(texts) for part, texts in parts.items()}),
            manifest=manifest,
            digest=sha256(folder / MANIFEST),
        )

    def within(self, characters: str) -> "Corpus":
        """The molecules alone that are written with these characters."""
        alphabet = set(characters)
        parts = {"train": self.train, "valid": self.valid, "test": self.test}
        rows = {name: [k for k, text in enumerate(part) if alphabet.issuperset(text)] for name, part in parts.items()}
        train, valid, test = (tuple(parts[name][k] for k in kept) for name, kept in rows.items())
        labels = {name: self.labels[name][kept] for name, kept in rows.items()}
        return replace(self, train=train, valid=valid, test=test, labels=labels)


class LengthBatches:
    """Strings as token arrays, grouped by length; each epoch gives the same batches in another order.

    Exact lengths need no padding and no packing. The order is a pure function of (seed, epoch), so a training can
    start again anywhere.

    Args:
        texts: all encodable by ``vocab``.
        batch: most strings in a batch; each length leaves one smaller batch.
    """

    def __init__(self, texts: tuple[str, ...], vocab: Vocab, batch: int) -> None:
        if not texts:
            raise DataError("there are no molecules")
        lengths = np.array([len(text) for text in texts])
        self.batch = batch
        self.groups: list[Batch] = []
        for length in np.unique(lengths):
            rows = np.flatnonzero(lengths == length).astype(np.int32)
            self.groups.append(Batch(np.array([vocab.encode(texts[row]) for row in rows], dtype=np.uint8), rows))
        self.steps = sum(-(-len(group.rows) // batch) for group in self.groups)

    def epoch(self, seed: int, epoch: int) -> list[Batch]:
        """All batches of an epoch."""
        order = np.random.default_rng((seed, epoch))
        batches = []
        for tokens, rows in self.groups:
            places = order.permutation(len(rows))
            chosen = (places[k : k + self.batch] for k in range(0, len(rows), self.batch))
            batches += [Batch(tokens[some], rows[some]) for some in chosen]
        return [batches[k] for k in order.permutation(len(batches))]
