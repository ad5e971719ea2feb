"""How objectives are evaluated: in this process, or in worker processes that may crash or hang.

A worker imports chemistry alone, never torch, so a pool of them is light. Each executor is a recipe component
whose call opens it: ``with executor(objectives) as evaluate: for call, outcome in evaluate(proposals): ...``.
"""

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from functools import partial
from typing import Literal, Protocol

from pydantic import Field

from molvae.campaign.record.state import Failed, Observed, Outcome, Proposal
from molvae.chem.molecule import Molecule
from molvae.chem.objectives import Objective
from molvae.config import Component
from molvae.errors import ForeignError
from molvae.foreign import attempt
from molvae.registry import Registry
from molvae.signals import signal_errors
from molvae.workers import Lost, worker_pool

Objectives = tuple[Objective, ...]
Evaluate = Callable[[Sequence[Proposal]], Iterator[tuple[int, Outcome]]]
"""Proposals → (call, outcome) as they finish, in any order."""


class Inline(Component):
    """In this process, one after another: for debugging, and for objectives that are quick and tame."""

    kind: Literal["inline"] = "inline"

    @contextmanager
    def __call__(self, objectives: Objectives) -> Iterator[Evaluate]:
        """Open: a signal, such as Ctrl-C, is told from what an objective raises."""
        with signal_errors():
            yield lambda proposals: ((p.call, evaluate_one(objectives, p.smiles)) for p in proposals)


class Processes(Component):
    """In worker processes: an objective that crashes or hangs costs its own molecule, not the campaign.

    Attributes:
        workers: number of processes; None for one a core.
        timeout: seconds that one molecule may take; None for no limit.
    """

    kind: Literal["processes"] = "processes"
    workers: int | None = Field(default=None, ge=1)
    timeout: float | None = Field(default=None, gt=0)

    @contextmanager
    def __call__(self, objectives: Objectives) -> Iterator[Evaluate]:
        """Open a pool of workers; closed with the block, Ctrl-C included.

        Raises:
            WorkerError: the workers do not start; so may what is opened, if no more of them do.
        """
        with worker_pool(partial(evaluate_one, objectives), self.workers) as pool:

            def evaluate(proposals: Sequence[Proposal]) -> Iterator[tuple[int, Outcome]]:
                for k, found in pool.unordered((p.smiles for p in proposals), self.timeout):
                    yield proposals[k].call, Failed(found.reason, found.seconds) if isinstance(found, Lost) else found

            yield evaluate


class Executor(Protocol):
    """Where molecules are evaluated: opened once for a run, then given the proposals of each round."""

    def __call__(self, objectives: Objectives) -> AbstractContextManager[Evaluate]:
        """Open it."""


EXECUTORS = Registry("executor", Executor, (Inline, Processes))


def evaluate_one(objectives: Objectives, smiles: str) -> Outcome:
    """All objectives of one molecule; whatever one of them raises becomes the reason of a failure."""
    started = time.monotonic()

    def values() -> tuple[float, ...]:
        molecule = Molecule.parse(smiles)
        return tuple([objective.evaluate(molecule) for objective in objectives])  # a generator changes a StopIteration

    try:
        return Observed(attempt(values), time.monotonic() - started)
    except ForeignError as error:
        return Failed(str(error), time.monotonic() - started)
