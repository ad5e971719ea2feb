"""Of a model's samples, those that look like molecules of its corpus: discriminator rejection sampling.

A classifier learns to tell the one from the other, by fragments, descriptors and synthetic accessibility; a sample is
kept with a chance in proportion to the odds that it gives for the corpus, up to a cap (Azadi et al., 2019,
arXiv:1810.06758). Each half of the samples is classified by a classifier that learnt from the other half. Alone that
would prefer small molecules, which have less to betray them: so it is done within strata of molecular weight, logP and
SAS, and of each stratum as many are kept as the corpus has, by the share ``keep`` of all.
"""

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from pydantic import Field
from torch import nn

from molvae.chem.features import ELEMENTS, PROPERTIES, Featurizer
from molvae.chem.molecule import parse_or_none
from molvae.chem.scorers import SAS
from molvae.config import Component
from molvae.data.tables import read_rows
from molvae.errors import DataError
from molvae.workers import cores, worker_pool

HIDDEN: Final = 256
BATCH: Final = 1024
LEARNING_RATE: Final = 1e-3
"""Of AdamW, at its peak."""
CHUNK: Final = 1000
"""Strings that a worker describes at a time."""
PAIRS: Final = 100_000
"""Pairs of a molecule and a sample by which it is told how well the classifier tells them apart."""
STRATIFIED: Final = (len(ELEMENTS) + PROPERTIES.index("amw"), len(ELEMENTS) + PROPERTIES.index("CrippenClogP"), -1)
"""Columns of the descriptors: molecular weight, logP and, last, SAS."""

Array = npt.NDArray[Any]


class MatchSettings(Component):
    """How samples are chosen.

    Attributes:
        keep: the share of the valid samples that is kept.
        epochs: of the classifier.
        strata: of each property, between quantiles of the corpus; 1 for none.
        seed: of all chance.
    """

    keep: float = Field(default=0.3, gt=0, le=1)
    epochs: int = Field(default=3, ge=1)
    strata: int = Field(default=10, ge=1)
    seed: int = Field(default=0, ge=0)


@dataclass(frozen=True)
class Matched:
    """What was kept.

    Attributes:
        smiles: the samples that were kept.
        means: of molecular weight, logP and SAS, and how many: of the corpus, of the samples, of those kept.
        told_apart: share of pairs of a molecule and a sample, neither of which it has seen, in which the classifier
            gives the molecule the higher odds; 0.5 where they are alike.
    """

    smiles: list[str]
    means: dict[str, tuple[int, list[float]]]
    told_apart: float


def match(samples: Sequence[str | Path], like: str | Path, settings: MatchSettings) -> Matched:
    """Choose among the valid samples of some tables, each string once, those that resemble the molecules of another.

    Raises:
        DataError: a table cannot be read, or has no valid SMILES.
    """
    corpus, ours = _describe([like]), _describe(samples)
    n = len(corpus.smiles)
    counts = torch.cat([corpus.counts, ours.counts])
    descriptors = torch.cat([corpus.descriptors, ours.descriptors])
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(settings.seed)
        odds = log_odds(counts, descriptors, torch.arange(len(counts)) < n, settings.epochs)
    rng = np.random.default_rng(settings.seed)
    cells = strata(corpus.descriptors.numpy(), ours.descriptors.numpy(), settings.strata)
    kept = choose(odds[n:], *cells, settings.keep, rng)
    below = rng.choice(odds[n:], PAIRS) < rng.choice(odds[:n], PAIRS)
    tables = (
        ("corpus", corpus.descriptors),
        ("samples", ours.descriptors),
        ("kept", ours.descriptors[torch.from_numpy(kept)]),
    )
    means = {name: (len(rows), rows[:, list(STRATIFIED)].mean(0).tolist()) for name, rows in tables}
    return Matched(list(itertools.compress(ours.smiles, kept)), means, float(below.mean()))


class _Described(NamedTuple):
    """The valid ones; counts of their fragments ``(n, 2048)``; their descriptors and SAS ``(n, 26)``."""

    smiles: list[str]
    counts: torch.Tensor
    descriptors: torch.Tensor


def _described(texts: Sequence[str]) -> tuple[list[str], Array, Array]:
    molecules = [molecule for molecule in map(parse_or_none, texts) if molecule is not None]
    counts, descriptors = Featurizer()(molecules)
    sas = np.array([SAS()(molecule) for molecule in molecules]).reshape(-1, 1)
    return [molecule.smiles for molecule in molecules], counts, np.hstack([descriptors, sas])


def _describe(paths: Sequence[str | Path]) -> _Described:
    """The different strings of some files, by all cores."""
    texts = list(dict.fromkeys(row.text for path in paths for row in read_rows(path)))
    chunks = [texts[k : k + CHUNK] for k in range(0, len(texts), CHUNK)]
    with worker_pool(_described, cores()) as pool:
        smiles, counts, descriptors = zip(*pool.ordered(chunks), strict=True)
    if not any(smiles):
        raise DataError(f"{', '.join(map(str, paths))}: no valid SMILES among {len(texts)} different strings")
    found = torch.from_numpy(np.concatenate(descriptors)).float()
    return _Described(list(itertools.chain(*smiles)), torch.from_numpy(np.concatenate(counts)), found)


class Classifier(nn.Module):
    """From fragments ``(n, 2048)`` and descriptors ``(n, 26)`` to the log odds ``(n,)`` of a molecule of the corpus."""

    def __init__(self, counts: torch.Tensor, descriptors: torch.Tensor) -> None:
        super().__init__()
        self.mean, self.sd = descriptors.mean(0), descriptors.std(0).clamp_min(1e-6)
        width = counts.shape[1] + descriptors.shape[1]
        self.layers = nn.Sequential(
            nn.Linear(width, HIDDEN),
            nn.GELU(),
            nn.Dropout(0.3),
            nn.Linear(HIDDEN, HIDDEN),
            nn.GELU(),
            nn.Linear(HIDDEN, 1),
        )

    def forward(self, counts: torch.Tensor, descriptors: torch.Tensor) -> torch.Tensor:
        """The log odds."""
        read = torch.cat([counts.float().sqrt(), (descriptors - self.mean) / self.sd], dim=1)
        found: torch.Tensor = self.layers(read)[:, 0]
        return found


def fit(counts: torch.Tensor, descriptors: torch.Tensor, real: torch.Tensor, epochs: int) -> Classifier:
    """A classifier for which both kinds weigh alike."""
    net = Classifier(counts, descriptors)
    optimizer = torch.optim.AdamW(net.parameters(), weight_decay=0.01)
    loss = nn.BCEWithLogitsLoss(pos_weight=(~real).sum() / real.sum())
    steps = epochs * math.ceil(len(real) / BATCH)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, LEARNING_RATE, total_steps=steps)
    for _ in range(epochs):
        for rows in torch.split(torch.randperm(len(real)), BATCH):
            optimizer.zero_grad()
            loss(net(counts[rows], descriptors[rows]), real[rows].float()).backward()
            optimizer.step()
            schedule.step()
    return net.eval()


def log_odds(counts: torch.Tensor, descriptors: torch.Tensor, real: torch.Tensor, epochs: int) -> Array:
    """Of each row, by a classifier that has not seen it: ``(n,)``."""
    half = torch.rand(len(real)) < 0.5
    odds = torch.empty(len(real))
    for part in (half, ~half):
        net = fit(counts[~part], descriptors[~part], real[~part], epochs)
        with torch.no_grad():
            odds[part] = torch.cat([net(counts[r], descriptors[r]) for r in torch.split(part.nonzero()[:, 0], BATCH)])
    return odds.numpy()


def cap(odds: Array, keep: float) -> float:
    """The log odds from which on a sample is surely kept, for ``keep`` of all to be kept."""
    low, high = float(odds.min()), float(odds.max()) - math.log(keep)
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (middle, high) if np.exp(np.minimum(0, odds - middle)).mean() > keep else (low, middle)
    return low


def strata(theirs: Array, ours: Array, bins: int) -> tuple[Array, Array]:
    """The stratum of each row of descriptors, between quantiles of the corpus: ``bins`` of each of `STRATIFIED`."""
    first, second = np.zeros(len(theirs), dtype=int), np.zeros(len(ours), dtype=int)
    for column in STRATIFIED:
        edges = np.quantile(theirs[:, column], np.linspace(0, 1, bins + 1)[1:-1])
        first = first * bins + np.searchsorted(edges, theirs[:, column])
        second = second * bins + np.searchsorted(edges, ours[:, column])
    return first, second


def choose(odds: Array, theirs: Array, ours: Array, keep: float, rng: np.random.Generator) -> Array:
    """Which samples to keep ``(n,)``: of each stratum what the corpus has of it, or all where there are fewer."""
    kept = np.zeros(len(odds), dtype=bool)
    for cell, count in zip(*np.unique(theirs, return_counts=True), strict=True):
        rows = np.flatnonzero(ours == cell)
        wanted = keep * len(odds) * (count / len(theirs))
        if wanted >= len(rows):
            kept[rows] = True
        else:
            chances = np.exp(np.minimum(0, odds[rows] - cap(odds[rows], wanted / len(rows))))
            kept[rows] = rng.random(len(rows)) < chances
    return kept
