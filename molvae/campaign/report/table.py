"""State → candidate table, and a dictionary that explains each of its columns."""

import logging
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import pandas as pd

from molvae.bo.pareto import ranking
from molvae.campaign.recipe import CampaignRecipe
from molvae.campaign.record.merit import merits, violations
from molvae.campaign.record.state import Failed, Record, State
from molvae.chem.filters import structural_alerts
from molvae.chem.fingerprints import nearest_similarity
from molvae.chem.molecule import Molecule, parse_or_none
from molvae.chem.objectives import Objective
from molvae.config import recipe_hash
from molvae.data.tables import write_table
from molvae.data.training_index import KnownMolecules
from molvae.errors import DataError
from molvae.folders import write_json

log = logging.getLogger("molvae")

REFERENCES_AT_ONCE: Final = 10_000
"""Reference molecules held in memory as RDKit molecules, some kilobytes each."""


@dataclass(frozen=True)
class Facts:
    """What a table tells beyond the campaign's recipe and records.

    Attributes:
        weights: fingerprint of the model that proposed each round.
        reference: SMILES that the results are compared with for novelty; None for the start set.
        known: the model's training molecules; None where it keeps no record of them.
    """

    weights: Mapping[int, str] = field(default_factory=dict)
    reference: Sequence[str] | None = None
    known: KnownMolecules | None = None


@dataclass(frozen=True)
class Column:
    """What the column dictionary says of a column.

    Attributes:
        meaning: one sentence.
        unit: None where there is none.
        direction: "maximize", "minimize", "target 2.5 ± 0.5", "at most 3"; None where neither way is better.
    """

    meaning: str
    unit: str | None = None
    direction: str | None = None


def table(state: State, recipe: CampaignRecipe, facts: Facts) -> pd.DataFrame:
    """One row an observed molecule, best first; the columns are those of `columns`, in its order.

    Molecules that failed have no values to be ranked by: they are in `failures`.

    Raises:
        DataError: none of the reference molecules can be read.
    """
    Y = merits(state, recipe)
    front, rank = ranking(Y)
    molecules = [Molecule.parse(record.proposal.smiles) for record in state.observed]
    known = None if facts.known is None else facts.known.contains([molecule.smiles for molecule in molecules])
    values: dict[str, Any] = {
        "SMILES": _text(molecule.smiles for molecule in molecules),
        "InChIKey": _text(molecule.inchikey for molecule in molecules),
        "rank": rank,
        "front": front,
        "feasible": violations(state, recipe) == 0,
        **dict(zip(_labels(recipe), state.values.T if len(Y) else np.zeros((len(recipe.objectives), 0)), strict=True)),
        **_origins(state.observed),
        **_predictions(state.observed, recipe),
        "acquisition": _numbers(record.proposal.acquisition for record in state.observed),
        "nearest_similarity": _nearest(molecules, state, facts),
        "in_training": pd.Series([None] * len(Y) if known is None else known, dtype="boolean"),
        "scaffold": _text(molecule.scaffold for molecule in molecules),
        "alerts": _text("; ".join(structural_alerts(molecule)) for molecule in molecules),
        "model": _text(f"{recipe.model}@{facts.weights.get(r.proposal.round, 'unknown')}" for r in state.observed),
        "recipe": _text([recipe_hash(recipe)] * len(Y)),
        "seed": np.full(len(Y), recipe.seed, dtype=np.int64),
    }
    frame = pd.DataFrame({name: values[name] for name in columns(recipe, facts)})
    return frame.sort_values("rank", ignore_index=True)


def columns(recipe: CampaignRecipe, facts: Facts) -> dict[str, Column]:
    """The column dictionary, in the table's order.

    Predictions are of the raw value where that can be told from the utility that the surrogate models: when
    maximised it is the utility, when minimised its negative, of a constraint it lies that far within the bound. The
    utility of a target is a distance to it, which does not say on which side; there the columns are called
    ``_utility_predicted`` and ``_utility_sd``.
    """
    labelled = list(zip(_labels(recipe), recipe.objectives, strict=True))
    of = "the start molecules (1 for themselves)" if facts.reference is None else "the recipe's reference molecules"
    nearest = _LAST["nearest_similarity"]
    found = dict(_FIRST)
    if recipe.constraints:
        found |= _FEASIBLE
    for label, objective in labelled:
        found[label] = Column(f"raw value: {objective.meaning}", objective.unit or None, _direction(objective))
    found |= _ORIGINS
    for label, objective in labelled:
        found |= _prediction_columns(label, objective)
    return found | _LAST | {"nearest_similarity": replace(nearest, meaning=f"{nearest.meaning} {of}")}


def failures(state: State) -> pd.DataFrame:
    """One row a molecule whose evaluation failed, by call: SMILES, reason, round, call, parent, move, seconds."""
    pairs = [(r, r.outcome) for r in state.failed if isinstance(r.outcome, Failed)]
    return pd.DataFrame(
        {
            "SMILES": _text(record.proposal.smiles for record, _ in pairs),
            "reason": _text(failed.reason for _, failed in pairs),
            **_origins([record for record, _ in pairs]),
            "seconds": _numbers(failed.seconds for _, failed in pairs),
        }
    )


def export(state: State, recipe: CampaignRecipe, facts: Facts, path: str | Path) -> int:
    """Write the table in the format of the ending, and ``columns.json`` beside it, each whole or not at all.

    Molecules that failed go to ``<name of the table>.failed.csv`` beside it, where there are any: so each row of the
    table is a scored candidate, whichever program opens it, and yet nothing is hidden.

    Returns:
        Molecules in the table.

    Raises:
        UsageError: the ending is none of .csv, .tsv, .parquet, .sdf, .smi, .xlsx.
        FolderError: a file cannot be written.
    """
    path = Path(path)
    written, failed = write_table(table(state, recipe, facts), path), failures(state)
    write_json(path.with_name("columns.json"), {name: asdict(c) for name, c in columns(recipe, facts).items()})
    companion = path.with_name(f"{path.stem}.failed.csv")
    if len(failed):
        write_table(failed, companion)
        log.info("%d molecules that failed: %s", len(failed), companion)
    else:
        companion.unlink(missing_ok=True)  # it told of the table that was just replaced
    return written


_FIRST: Final = {
    "SMILES": Column("canonical isomeric SMILES of the molecule"),
    "InChIKey": Column("hashed InChI, for searching databases"),
    "rank": Column(
        "place by Pareto front (with one objective: by its value), then by the mean over the objectives of the share "
        "of molecules that this one is at least as good as, then by call; 1 is best",
        direction="minimize",
    ),
    "front": Column(
        "Pareto front: 1 is not dominated by any molecule, 2 only by those of front 1, and so on", direction="minimize"
    ),
}
_FEASIBLE: Final = {
    "feasible": Column(
        "whether all constraints hold; where one does not, the molecule ranks behind all feasible ones, on a front of "
        "its own, by what is missing to the bounds in standard deviations of the observed values, summed"
    )
}
_ORIGINS: Final = {
    "round": Column("0 for the start set, then 1, 2, ..., restarts included"),
    "call": Column("place in the campaign's order of evaluations, from 1"),
    "parent": Column(
        "SMILES of the molecule that the move began at, observed or of the same round's search; empty for start "
        "molecules and for points of the prior"
    ),
    "move": Column(
        "where the molecule came from: the kind of start set, the move that made it (prior: a point of N(0, I)), or "
        "restart: a start molecule with which the search began again"
    ),
}
_LAST: Final = {
    "acquisition": Column(
        "value of the acquisition function for the batch up to and with this molecule when it was chosen; to be "
        "compared within a round only; empty for start molecules",
        direction="maximize",
    ),
    "nearest_similarity": Column("Tanimoto similarity (Morgan, radius 2) to the nearest of", "0 to 1"),
    "in_training": Column("whether the model was trained on the molecule; empty where that was not recorded"),
    "scaffold": Column("SMILES of the Bemis-Murcko scaffold; empty where there is no ring"),
    "alerts": Column("structural alerts (PAINS, BRENK): reasons to look again, not verdicts; empty where none"),
    "model": Column("name of the model and, after @, the fingerprint of the weights that proposed the molecule"),
    "recipe": Column("hash of the campaign's recipe, which is recipe.json in the run folder"),
    "seed": Column("seed of the campaign"),
}


def _origins(records: Sequence[Record]) -> dict[str, Any]:
    proposals = [record.proposal for record in records]
    return {
        "round": np.array([p.round for p in proposals], dtype=np.int64),
        "call": np.array([p.call for p in proposals], dtype=np.int64),
        "parent": _text(p.parent for p in proposals),
        "move": _text(p.move for p in proposals),
    }


def _predictions(records: Sequence[Record], recipe: CampaignRecipe) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for k, (label, objective) in enumerate(zip(_labels(recipe), recipe.objectives, strict=True)):
        mean_name, sd_name = _prediction_columns(label, objective)
        means, sds = [r.proposal.mean for r in records], [r.proposal.sd for r in records]
        found[mean_name] = _numbers(None if mean is None else objective.value(mean[k]) for mean in means)
        found[sd_name] = _numbers(None if sd is None else sd[k] for sd in sds)
    return found


def _prediction_columns(label: str, objective: Objective) -> dict[str, Column]:
    """The two columns of a prediction: mean, then standard deviation."""
    when = "by the surrogate when the molecule was proposed; empty for start molecules"
    unit, direction = objective.unit or None, _direction(objective)
    if objective.direction != "target":
        return {
            f"{label}_predicted": Column(f"{label} as predicted {when}", unit, direction),
            f"{label}_sd": Column(f"standard deviation of {label}_predicted", unit),
        }
    return {
        f"{label}_utility_predicted": Column(
            f"utility of {label}, which is -max(0, |value - target| - tolerance), as predicted {when}", unit, "maximize"
        ),
        f"{label}_utility_sd": Column(f"standard deviation of {label}_utility_predicted", unit),
    }


def _direction(objective: Objective) -> str:
    if objective.direction == "target":
        return f"target {objective.target:g} ± {objective.tolerance:g}"
    if objective.constraint:
        return f"{objective.direction} {objective.bound:g}"
    return str(objective.direction)


def _labels(recipe: CampaignRecipe) -> list[str]:
    """The objectives' columns; a label that would make two columns of one name gets " (objective)" after it."""
    taken, labels = {*_FIRST, *(_FEASIBLE if recipe.constraints else ()), *_ORIGINS, *_LAST}, []
    for objective in recipe.objectives:
        label = objective.label
        while not taken.isdisjoint(own := {label, *_prediction_columns(label, objective)}):
            label += " (objective)"
        taken |= own
        labels.append(label)
    return labels


def _nearest(molecules: Sequence[Molecule], state: State, facts: Facts) -> npt.NDArray[np.float64]:
    """(n,): similarity to the nearest reference molecule, or start molecule; references are read in portions."""
    start = [record.proposal.smiles for record in state.records if record.proposal.start]
    texts = start if facts.reference is None else facts.reference
    found, used = np.zeros(len(molecules)), 0
    if not molecules:
        return found
    for first in range(0, len(texts), REFERENCES_AT_ONCE):
        parsed = map(parse_or_none, texts[first : first + REFERENCES_AT_ONCE])
        references = [molecule for molecule in parsed if molecule is not None]
        if references:
            found = np.maximum(found, nearest_similarity(molecules, references))
        used += len(references)
    if not used:
        raise DataError(f"none of the {len(texts)} reference molecules is a SMILES that RDKit can read")
    if used < len(texts):
        log.warning("%d of %d reference molecules are skipped: RDKit cannot read them", len(texts) - used, len(texts))
    return found


def _text(values: Iterable[str | None]) -> "pd.Series[str]":
    return pd.Series(list(values), dtype="string")


def _numbers(values: Iterable[float | None]) -> "pd.Series[float]":
    return pd.Series(list(values), dtype="float64")
