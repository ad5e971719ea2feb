"""What a campaign's stored records amount to: a fold, with no state of its own."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Final

import numpy as np
import numpy.typing as npt

from molvae.errors import CampaignError, printable
from molvae.foreign import number

RESTART: Final = "restart"
"""The move of start molecules that a search began again with."""


@dataclass(frozen=True)
class Proposal:
    """One molecule that was chosen for evaluation, and what was known of it then.

    Attributes:
        call: place in the campaign's order, from 1; also what the budget counts.
        round: 0 for the start set, then 1, 2, ...
        smiles: canonical.
        z: (latent,) float32, the posterior mean of ``smiles`` (not the point that it was decoded from).
        parent: the molecule that the move began at; None for start molecules and points of the prior.
        move: where it came from: "given", "file", "training", "prior", "restart", "noise", "interpolation", ...
        mean, sd: the surrogate's prediction of each objective's *utility* (bigger is better); None for start
            molecules.
        acquisition: value of the acquisition function when it was chosen; None for start molecules.
    """

    call: int
    round: int
    smiles: str
    z: npt.NDArray[np.float32] = field(compare=False, repr=False)
    parent: str | None = None
    move: str = "given"
    mean: tuple[float, ...] | None = None
    sd: tuple[float, ...] | None = None
    acquisition: float | None = None

    @property
    def start(self) -> bool:
        """Whether the search began, or began again, with it."""
        return self.round == 0 or self.move == RESTART


@dataclass(frozen=True)
class Round:
    """How a round was made.

    Attributes:
        decoded, valid, new: texts that were written, how many of them were molecules, and how many of these new.
        seconds: that it took.
        weights: fingerprint of the model that wrote them.
    """

    round: int
    decoded: int
    valid: int
    new: int
    seconds: float
    weights: str


@dataclass(frozen=True)
class Observed:
    """Raw values of the objectives, in the recipe's order, and the time they took; what is no finite number is refused.

    Raises:
        CampaignError: says which value.
    """

    values: tuple[float, ...]
    seconds: float

    def __post_init__(self) -> None:
        try:
            object.__setattr__(self, "values", tuple(map(number, self.values)))
            object.__setattr__(self, "seconds", number(self.seconds))
        except (TypeError, ValueError) as error:
            raise CampaignError(
                f"an outcome has finite values, one an objective, and seconds; this has {error}"
            ) from error


@dataclass(frozen=True)
class Failed:
    """An evaluation that gave no values, and why; what a store cannot hold of the reason is escaped."""

    reason: str
    seconds: float

    def __post_init__(self) -> None:
        object.__setattr__(self, "reason", printable(self.reason))


Outcome = Observed | Failed


@dataclass(frozen=True)
class Record:
    """A proposal and its outcome; None while it waits for one."""

    proposal: Proposal
    outcome: Outcome | None = None


@dataclass(frozen=True)
class State:
    """Everything a campaign knows; ``records`` are ordered by call. Made by `fold`."""

    records: tuple[Record, ...] = ()

    def concluded(self, call: int, outcome: Outcome) -> "State":
        """The state once a pending proposal has an outcome, without reading all the others again."""
        k = call - 1
        return State((*self.records[:k], Record(self.records[k].proposal, outcome), *self.records[k + 1 :]))

    @cached_property
    def pending(self) -> tuple[Proposal, ...]:
        """Proposals without an outcome, ordered by call."""
        return tuple(r.proposal for r in self.records if r.outcome is None)

    @cached_property
    def observed(self) -> tuple[Record, ...]:
        """Records with values, ordered by call."""
        return tuple(r for r in self.records if isinstance(r.outcome, Observed))

    @cached_property
    def failed(self) -> tuple[Record, ...]:
        """Records that failed, ordered by call."""
        return tuple(r for r in self.records if isinstance(r.outcome, Failed))

    @property
    def used(self) -> int:
        """Calls that the budget has paid for: evaluated or failed, each molecule once."""
        return len(self.records) - len(self.pending)

    @property
    def round(self) -> int:
        """The latest round; 0 while there is nothing but the start set, or nothing at all."""
        return max((r.proposal.round for r in self.records), default=0)

    @cached_property
    def episode(self) -> "State":
        """What the search knows: records since its last restart; one whose molecules all failed does not count."""
        began = max((record.proposal.round for record in self.observed if record.proposal.start), default=0)
        return State(tuple(r for r in self.records if r.proposal.round >= began)) if began else self

    @property
    def restarts(self) -> tuple[int, ...]:
        """The first call of each round that the search began again with."""
        calls = {r.proposal.round: r.proposal.call for r in reversed(self.records) if r.proposal.move == RESTART}
        return tuple(sorted(calls.values()))

    @cached_property
    def proposed(self) -> frozenset[str]:
        """SMILES of all molecules that were ever proposed."""
        return frozenset(r.proposal.smiles for r in self.records)

    @cached_property
    def values(self) -> npt.NDArray[np.float64]:
        """Raw objective values of ``observed``: (n, objectives) float64."""
        rows = [r.outcome.values for r in self.records if isinstance(r.outcome, Observed)]
        return np.array(rows, dtype=np.float64).reshape(len(rows), len(rows[0]) if rows else 0)


def fold(proposals: Iterable[Proposal], outcomes: Mapping[int, Outcome]) -> State:
    """The state that stored proposals and outcomes (by call) amount to.

    Raises:
        CampaignError: calls that are not 1, 2, ..., n, a molecule proposed twice, or an outcome of no
            proposal; a store that this program wrote holds none of these.
    """
    ordered: Sequence[Proposal] = sorted(proposals, key=lambda proposal: proposal.call)
    calls = [proposal.call for proposal in ordered]
    if calls != list(range(1, len(calls) + 1)):
        raise CampaignError(f"the campaign's records are damaged: its calls are not 1 to {len(calls)}")
    if len({proposal.smiles for proposal in ordered}) != len(ordered):
        raise CampaignError("the campaign's records are damaged: a molecule was proposed twice")
    if not set(outcomes) <= set(calls):
        raise CampaignError("the campaign's records are damaged: there is an outcome without a proposal")
    return State(tuple(Record(proposal, outcomes.get(proposal.call)) for proposal in ordered))
