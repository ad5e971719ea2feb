"""A prepared corpus in memory, and the batches of one length that training walks through."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from molvae.errors import DataError, FolderError
from molvae.folders import MANIFEST, sha256, unseal
from molvae.vae.vocab import Vocab

Tokens = npt.NDArray[np.uint8]


@dataclass(frozen=True)
class Corpus:
    """What `prepare` wrote: canonical SMILES in three parts, and the characters of them all."""

    folder: Path
    vocab: Vocab
    train: tuple[str, ...]
    valid: tuple[str, ...]
    test: tuple[str, ...]
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
        train, valid, test = (
            tuple((folder / f"{part}.smi").read_text().split()) for part in ("train", "valid", "test")
        )
        vocab = Vocab(json.loads((folder / "vocab.json").read_text(encoding="utf-8"))["characters"])
        return cls(folder, vocab, train, valid, test, manifest, digest=sha256(folder / MANIFEST))


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
        self.groups: list[Tokens] = [
            np.array([vocab.encode(texts[row]) for row in np.flatnonzero(lengths == length)], dtype=np.uint8)
            for length in np.unique(lengths)
        ]
        self.steps = sum(-(-len(group) // batch) for group in self.groups)

    def epoch(self, seed: int, epoch: int) -> list[Tokens]:
        """All batches of an epoch, each ``(batch, time)``."""
        order = np.random.default_rng((seed, epoch))
        batches = []
        for group in self.groups:
            rows = order.permutation(len(group))
            batches += [group[rows[k : k + self.batch]] for k in range(0, len(rows), self.batch)]
        return [batches[k] for k in order.permutation(len(batches))]
