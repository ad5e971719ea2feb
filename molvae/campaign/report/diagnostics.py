"""How well a campaign's search works, beyond its best value; and sentences where something looks wrong."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

from molvae.bo.surrogates import AdditiveGP
from molvae.campaign.propose.bayes import Bayes
from molvae.campaign.recipe import CampaignRecipe
from molvae.campaign.record.merit import merits, ranked, utilities
from molvae.campaign.record.state import Observed, Record, Round, State
from molvae.chem.degeneracy import longest_chain, mean_similarity
from molvae.chem.fingerprints import nearest_similarity
from molvae.chem.molecule import Molecule
from molvae.chem.scorers import SAS, Descriptor, LogP

Matrix = npt.NDArray[np.float64]

WINDOW: Final = 200
"""Proposals that predictions and moves are judged by, the most recent of those evaluated."""
ROUNDS: Final = 10
"""Rounds that texts and times are averaged over, the most recent."""
TOP: Final = 10
"""Molecules that are called the best: the first in the order of tables."""
START: Final = 300
"""Start molecules, evenly spread, that the best are compared with where there are more."""
FEWEST: Final = 10
"""Start molecules that make a range."""
ENOUGH: Final = 50
"""Predictions from which on they may be found fault with."""
CHAIN: Final = 8
"""Atoms of one element in a row that no drug-like molecule needs."""
SEVERAL: Final = 3
"""Of the best, so many with the same fault are no chance."""

PROPERTIES: Final[dict[str, Callable[[Molecule], float]]] = {
    "heavy atoms": Descriptor(name="HeavyAtomCount"),
    "logP": LogP(),
    "SAS": SAS(),
}


@dataclass(frozen=True)
class Calibration:
    """How an objective's utilities turned out, beside what the surrogate had predicted of them.

    The molecules were chosen because their predictions were high, so a good surrogate, too, has a little less than
    the shares below.

    Attributes:
        n: predictions.
        within_1, within_2: share of utilities within one and two predicted standard deviations of the predicted
            mean; 0.68 and 0.95 are expected.
        rank_correlation: Spearman's, of predicted mean and utility; None where either is constant.
    """

    n: int
    within_1: float
    within_2: float
    rank_correlation: float | None


@dataclass(frozen=True)
class Move:
    """How often a move was proposed, and how many of those entered the best.

    Attributes:
        entered: were among the ten best at their time; with several objectives, on the first front.
    """

    proposed: int
    entered: int


@dataclass(frozen=True)
class Best:
    """The ten best molecules beside the start set, and beside each other.

    Attributes:
        nearest_start: mean Tanimoto similarity to the nearest start molecule, of restarts as well; 1 for one itself.
        alike: mean Tanimoto similarity of all pairs; None for one molecule.
        far: how many lie outside the start set's least and largest value by more than half its width, by property
            (`PROPERTIES`); None where the start set has fewer than ten molecules.
        far_in_any: how many are far in at least one of them.
        chains: how many have eight or more atoms of one element in a row outside rings.
    """

    nearest_start: float
    alike: float | None
    far: dict[str, int] | None
    far_in_any: int | None
    chains: int


@dataclass(frozen=True)
class Diagnosis:
    """Plain numbers; None, or no entry, where there is nothing to say.

    Attributes:
        window: evaluated proposals that ``calibration`` and ``moves`` are about: the most recent
            200 that are no start molecules.
        calibration: of each objective, by label; none without predictions.
        moves: by name.
        invalid: share of the texts of the last ten rounds that were no molecule, restarts not counted.
        known: share of the valid ones that were proposed before, found twice, or cannot be encoded.
        seconds: that choosing one molecule took, in these rounds.
        rounds: evaluated after the start set.
        without_gain: rounds since the best value rose; with several objectives, since the first front grew.
        best: the ten best; None before the first observation.
        warnings: sentences, each with what to do.
    """

    window: int
    calibration: dict[str, Calibration]
    moves: dict[str, Move]
    invalid: float | None
    known: float | None
    seconds: float | None
    rounds: int
    without_gain: int
    best: Best | None
    warnings: tuple[str, ...]


def diagnose(state: State, rounds: Sequence[Round], recipe: CampaignRecipe) -> Diagnosis:
    """What a campaign's records and rounds tell of its search."""
    Y = merits(state, recipe)
    recent = [r for r in state.records if not r.proposal.start and r.outcome is not None][-WINDOW:]
    rows = {record.proposal.call: k for k, record in enumerate(state.observed)}
    predicted = [r for r in recent if isinstance(r.outcome, Observed) and r.proposal.mean is not None]
    outcomes = utilities(state, recipe)[[rows[record.proposal.call] for record in predicted]]
    calls = [record.proposal.call for record in state.observed]
    best_then = {call for call, new in zip(calls, _entered(Y, TOP if Y.shape[1] == 1 else 1), strict=True) if new}
    begun = {record.proposal.round for record in state.records if record.proposal.start}
    made = [one for one in rounds if one.round not in begun][-ROUNDS:]
    decoded, valid, new = (sum(getattr(one, name) for one in made) for name in ("decoded", "valid", "new"))
    chosen = sum(record.proposal.round in {one.round for one in made} for record in state.records)
    done = max((record.proposal.round for record in state.records if record.outcome is not None), default=0)
    calibration = _calibration(predicted, outcomes, recipe)
    best = _best(state, recipe)
    invalid = 1 - valid / decoded if decoded else None
    warnings = (
        *_stale(state.episode, done, recipe),
        *(text for label, one in calibration.items() for text in _doubtful(label, one, recipe)),
        *_illegible(invalid, recipe),
        *(_exploited(best) if best is not None and done and len(state.observed) >= TOP else ()),
    )
    return Diagnosis(
        window=len(recent),
        calibration=calibration,
        moves=_moves(recent, best_then),
        invalid=invalid,
        known=1 - new / valid if valid else None,
        seconds=sum(one.seconds for one in made) / chosen if chosen else None,
        rounds=done,
        without_gain=_without_gain(state, Y, done),
        best=best,
        warnings=warnings,
    )


def _entered(Y: Matrix, places: int) -> list[bool]:
    """Of each row, whether fewer than ``places`` of those before it are at least as good in everything."""
    kept, beaten = Y[:0], np.zeros(0, dtype=np.int64)
    found = []
    for row in Y:
        over = int(np.all(kept >= row, axis=1).sum())
        found.append(over < places)
        if over < places:
            beaten = np.append(beaten + np.all(kept <= row, axis=1), over)
            kept = np.vstack([kept, row])[beaten < places]
            beaten = beaten[beaten < places]
    return found


def _calibration(predicted: Sequence[Record], outcomes: Matrix, recipe: CampaignRecipe) -> dict[str, Calibration]:
    if not predicted:
        return {}
    mean = np.array([record.proposal.mean for record in predicted])
    sd = np.array([record.proposal.sd for record in predicted])
    off = np.abs(outcomes - mean)
    return {
        objective.label: Calibration(
            n=len(predicted),
            within_1=float(np.mean(off[:, k] <= sd[:, k])),
            within_2=float(np.mean(off[:, k] <= 2 * sd[:, k])),
            rank_correlation=_rank_correlation(mean[:, k], outcomes[:, k]),
        )
        for k, objective in enumerate(recipe.objectives)
    }


def _rank_correlation(a: Matrix, b: Matrix) -> float | None:
    """Spearman's; None where either is constant. By hand: importing SciPy's takes longer than all else done here."""
    x, y = _ranks(a), _ranks(b)
    squares = float((x @ x) * (y @ y))
    return float(x @ y) / squares**0.5 if squares > 0 else None


def _ranks(values: Matrix) -> Matrix:
    """Ranks less their mean; equal values share one."""
    _, where, counts = np.unique(values, return_inverse=True, return_counts=True)
    ranks: Matrix = (np.cumsum(counts) - (counts - 1) / 2)[where]
    ranks -= ranks.mean()
    return ranks


def _moves(recent: Sequence[Record], best_then: set[int]) -> dict[str, Move]:
    entered: dict[str, list[bool]] = {}
    for record in recent:
        entered.setdefault(record.proposal.move, []).append(record.proposal.call in best_then)
    return {move: Move(len(each), sum(each)) for move, each in sorted(entered.items())}


def _best(state: State, recipe: CampaignRecipe) -> Best | None:
    smiles = [record.proposal.smiles for record in state.records if record.proposal.start]
    if not state.observed or not smiles:
        return None
    best = [Molecule.trusted(record.proposal.smiles) for record in ranked(state, recipe)[:TOP]]
    start = [Molecule.trusted(text) for text in smiles[:: -(-len(smiles) // START)]]
    far: dict[str, list[bool]] = {}
    if len(start) >= FEWEST:
        for name, value in PROPERTIES.items():
            among = [value(molecule) for molecule in start]
            low, high = min(among), max(among)
            margin = (high - low) / 2
            far[name] = [not low - margin <= value(molecule) <= high + margin for molecule in best]
    return Best(
        nearest_start=float(nearest_similarity(best, start).mean()),
        alike=mean_similarity(best),
        far={name: sum(each) for name, each in far.items()} or None,
        far_in_any=sum(map(any, zip(*far.values(), strict=True))) if far else None,
        chains=sum(longest_chain(molecule) >= CHAIN for molecule in best),
    )


def _without_gain(state: State, Y: Matrix, done: int) -> int:
    gains = [record.proposal.round for record, new in zip(state.observed, _entered(Y, 1), strict=True) if new]
    return done - gains[-1] if gains else 0


def _stale(episode: State, done: int, recipe: CampaignRecipe) -> list[str]:
    """A search that began again is only to be as good as it was since."""
    without_gain = _without_gain(episode, merits(episode, recipe), done)
    rounds = done - min((record.proposal.round for record in episode.records), default=0)
    if without_gain < 10 or 3 * without_gain < rounds:
        return []
    return [
        f"nothing better in the last {without_gain} of {rounds} rounds: the search is stale; stop, or begin another "
        "run with another seed or start set (budget.plateau stops a run by itself, method.restarts.patience makes it "
        "begin again)"
    ]


def _doubtful(label: str, one: Calibration, recipe: CampaignRecipe) -> list[str]:
    additive = isinstance(recipe.method, Bayes) and isinstance(recipe.method.surrogate, AdditiveGP)
    other = "latent" if additive else "additive"
    found = []
    if one.n >= ENOUGH and one.rank_correlation is not None and one.rank_correlation < 0.1:
        found.append(
            f"{label}: predictions do not rank what was chosen (rank correlation {one.rank_correlation:.2f} over "
            f"{one.n} molecules); begin another run with more start molecules, or with "
            f"method.surrogate.kind = {other!r}"
        )
    if one.n >= ENOUGH and one.within_2 < 0.7:
        found.append(
            f"{label}: only {one.within_2:.0%} of the values lie within two predicted standard deviations, 95% are "
            f"expected: the surrogate is overconfident; begin another run with method.surrogate.kind = {other!r}, or "
            "one that explores more (larger method.acquisition.weights)"
        )
    return found


def _illegible(invalid: float | None, recipe: CampaignRecipe) -> list[str]:
    if invalid is None or invalid <= 0.6:
        return []
    return [
        f"{invalid:.0%} of the texts of the last rounds were no molecules; see `molvae doctor {recipe.model}`, or "
        "begin another run with a smaller method.search.length, less method.search.noise or more method.search.mutation"
    ]


def _exploited(best: Best) -> list[str]:
    found = []
    if best.chains >= SEVERAL:
        found.append(
            f"{best.chains} of the ten best have a string of {CHAIN} or more atoms of one element: the objective can "
            "be gamed; begin another run that also asks for QED or SAS, as a second objective or in a geometric_mean"
        )
    if best.far is not None and (best.far_in_any or 0) >= SEVERAL:
        where = ", ".join(f"{name}: {n}" for name, n in best.far.items() if n)
        found.append(
            f"{best.far_in_any} of the ten best are far outside the start set's range ({where}); where that is not "
            "wanted, begin another run with a desirability of that property in the objective"
        )
    if best.alike is not None and best.alike > 0.9:
        found.append(
            f"the ten best are nearly one molecule (mean Tanimoto similarity {best.alike:.2f}); for other ones, begin "
            "another run with another seed or start set"
        )
    return found
