"""Keep, of a model's samples, those that look like molecules of its corpus.

python scripts/resemble.py samples.csv --like data/zinc250k/prepared/train.smi -o like.csv

A classifier learns to tell the one from the other, by fragments, descriptors and synthetic accessibility; a sample is
kept with a chance in proportion to the odds that it gives for the corpus, up to a cap (discriminator rejection
sampling, Azadi et al., 2019, arXiv:1810.06758). Each half of the samples is judged by a classifier that learnt from the
other half. Alone that would prefer small molecules, which have less to betray them: so it is done within strata of
molecular weight, logP and SAS, and of each as many are kept as the corpus has, by the share ``--keep`` of all.
"""

import argparse
import itertools
import math
from collections.abc import Sequence

import numpy as np
import torch
from rdkit import RDLogger
from torch import nn

from molvae.chem.features import ELEMENTS, PROPERTIES, features
from molvae.chem.molecule import parse_or_none
from molvae.chem.scorers import SAS
from molvae.data.tables import read_rows
from molvae.errors import DataError
from molvae.folders import write_atomic
from molvae.workers import worker_pool

HIDDEN, BATCH, RATE, CHUNK = 256, 1024, 1e-3, 1000

STRATIFIED = [len(ELEMENTS) + PROPERTIES.index("amw"), len(ELEMENTS) + PROPERTIES.index("CrippenClogP"), -1]
SYNTHETIC_ACCESSIBILITY = SAS()


def described(texts: Sequence[str]) -> tuple[list[str], np.ndarray, np.ndarray]:
    """The valid ones, counts of their fragments (n, 2048), and their descriptors and SAS (n, 26)."""
    RDLogger.DisableLog("rdApp.*")
    molecules = [molecule for molecule in map(parse_or_none, texts) if molecule is not None]
    counts, descriptors = features(molecules)
    sas = np.array([SYNTHETIC_ACCESSIBILITY(molecule) for molecule in molecules]).reshape(-1, 1)
    return [molecule.smiles for molecule in molecules], counts, np.hstack([descriptors, sas])


def describe(paths: Sequence[str]) -> tuple[list[str], torch.Tensor, torch.Tensor]:
    """`described`, of the different strings of some files, by all cores."""
    texts = list(dict.fromkeys(row.text for path in paths for row in read_rows(path)))
    chunks = [texts[k : k + CHUNK] for k in range(0, len(texts), CHUNK)]
    with worker_pool(described) as pool:
        smiles, counts, descriptors = zip(*pool.ordered(chunks), strict=True)
    if not any(smiles):
        raise DataError(f"{', '.join(paths)}: no valid SMILES among {len(texts)} different strings")
    found = torch.from_numpy(np.concatenate(descriptors)).float()
    return list(itertools.chain(*smiles)), torch.from_numpy(np.concatenate(counts)), found


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
        return self.layers(read)[:, 0]


def fit(counts: torch.Tensor, descriptors: torch.Tensor, real: torch.Tensor, epochs: int) -> Classifier:
    """A classifier for which both kinds weigh alike."""
    net = Classifier(counts, descriptors)
    optimizer = torch.optim.AdamW(net.parameters(), weight_decay=0.01)
    loss = nn.BCEWithLogitsLoss(pos_weight=(~real).sum() / real.sum())
    steps = epochs * math.ceil(len(real) / BATCH)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, RATE, total_steps=steps)
    for _ in range(epochs):
        for rows in torch.randperm(len(real)).split(BATCH):
            optimizer.zero_grad()
            loss(net(counts[rows], descriptors[rows]), real[rows].float()).backward()
            optimizer.step()
            schedule.step()
    return net.eval()


def log_odds(counts: torch.Tensor, descriptors: torch.Tensor, real: torch.Tensor, epochs: int) -> np.ndarray:
    """Of each row, by a classifier that has not seen it: ``(n,)``."""
    half = torch.rand(len(real)) < 0.5
    odds = torch.empty(len(real))
    for part in (half, ~half):
        net = fit(counts[~part], descriptors[~part], real[~part], epochs)
        with torch.no_grad():
            odds[part] = torch.cat([net(counts[r], descriptors[r]) for r in part.nonzero()[:, 0].split(BATCH)])
    return odds.numpy()


def cap(odds: np.ndarray, keep: float) -> float:
    """The log odds from which on a sample is surely kept, for ``keep`` of all to be kept."""
    low, high = float(odds.min()), float(odds.max()) - math.log(keep)
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (middle, high) if np.exp(np.minimum(0, odds - middle)).mean() > keep else (low, middle)
    return low


def strata(theirs: np.ndarray, ours: np.ndarray, bins: int) -> tuple[np.ndarray, np.ndarray]:
    """The stratum of each row of descriptors, between quantiles of the corpus: ``bins`` of each of `STRATIFIED`."""
    cells = np.zeros(len(theirs), dtype=int), np.zeros(len(ours), dtype=int)
    for column in STRATIFIED:
        edges = np.quantile(theirs[:, column], np.linspace(0, 1, bins + 1)[1:-1])
        cells = tuple(
            c * bins + np.searchsorted(edges, d[:, column]) for c, d in zip(cells, (theirs, ours), strict=True)
        )
    return cells


def choose(
    odds: np.ndarray, theirs: np.ndarray, ours: np.ndarray, keep: float, chance: np.random.Generator
) -> np.ndarray:
    """Which samples to keep ``(n,)``: of each stratum what the corpus has of it, or all where there are fewer."""
    kept = np.zeros(len(odds), dtype=bool)
    for cell, count in zip(*np.unique(theirs, return_counts=True), strict=True):
        rows = np.flatnonzero(ours == cell)
        wanted = keep * len(odds) * (count / len(theirs))
        if wanted >= len(rows):
            kept[rows] = True
        else:
            chances = np.exp(np.minimum(0, odds[rows] - cap(odds[rows], wanted / len(rows))))
            kept[rows] = chance.random(len(rows)) < chances
    return kept


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("samples", nargs="+", help="tables with SMILES, as `molvae sample` writes them")
    parser.add_argument("--like", required=True, help="a file of SMILES, or a table")
    parser.add_argument("--keep", type=float, default=0.3, help="the share of valid samples that is kept")
    parser.add_argument("--epochs", type=int, default=3, help="of the classifier")
    parser.add_argument("--strata", type=int, default=10, help="of each property; 1: none")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("-o", "--output", required=True)
    options = parser.parse_args()
    torch.manual_seed(options.seed)
    try:
        theirs, ours = describe([options.like]), describe(options.samples)
    except DataError as error:
        raise SystemExit(f"error: {error}") from None
    n = len(theirs[0])
    counts, descriptors = torch.cat([theirs[1], ours[1]]), torch.cat([theirs[2], ours[2]])
    odds = log_odds(counts, descriptors, torch.arange(len(counts)) < n, options.epochs)
    chance = np.random.default_rng(options.seed)
    cells = strata(theirs[2].numpy(), ours[2].numpy(), options.strata)
    kept = choose(odds[n:], *cells, options.keep, chance)
    below = chance.choice(odds[n:], 100_000) < chance.choice(odds[:n], 100_000)
    write_atomic(options.output, "\n".join(["SMILES", *itertools.compress(ours[0], kept)]) + "\n")
    for name, rows in [("corpus", theirs[2]), ("samples", ours[2]), ("kept", ours[2][torch.from_numpy(kept)])]:
        weight, logp, sas = rows[:, STRATIFIED].mean(0).tolist()
        print(f"{name:8} {len(rows):9,}  means: molecular weight {weight:.1f}, logP {logp:.3f}, SAS {sas:.3f}")
    print(f"the classifier is right in {below.mean():.1%} of pairs of a molecule and a sample it has not seen")


if __name__ == "__main__":
    main()
