"""How objectives are evaluated: in this process, or in worker processes that may crash or hang.

A worker imports chemistry alone, never torch, so a pool of them is light. Each executor is a recipe component
whose call opens it: ``with executor(objectives) as evaluate: for call, outcome in evaluate(proposals): ...``.
"""

import os
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, wait
from contextlib import contextmanager
from typing import Annotated, Literal

from pebble import ProcessExpired, ProcessPool
from pydantic import Field

from molvae.campaign.record.state import Failed, Observed, Outcome, Proposal
from molvae.chem.molecule import Molecule
from molvae.chem.objectives import Objective
from molvae.config import Component
from molvae.errors import CampaignError, ForeignError
from molvae.foreign import attempt
from molvae.signals import signal_errors
from molvae.workers import SPAWN, deaf_to_ctrl_c, follow_parent

START_TIMEOUT = 60
"""Seconds that the first worker may take to start; one or two are usual."""

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
        """Open a pool; closed with the block, Ctrl-C included. Its workers end if this process is killed.

        Raises:
            CampaignError: the workers do not start.
        """
        workers = self.workers or os.cpu_count() or 1
        pool = ProcessPool(workers, context=SPAWN, initializer=follow_parent)
        try:
            _await_workers(pool)
            yield lambda proposals: self._evaluate(pool, objectives, proposals)
        finally:
            pool.stop()
            pool.join()

    def _evaluate(
        self, pool: ProcessPool, objectives: Objectives, proposals: Sequence[Proposal]
    ) -> Iterator[tuple[int, Outcome]]:
        started = time.monotonic()
        futures: dict[Future[Outcome], int] = {
            pool.schedule(evaluate_one, args=(objectives, p.smiles), timeout=self.timeout): p.call for p in proposals
        }
        waiting = set(futures)
        while waiting:
            done, waiting = wait(waiting, return_when=FIRST_COMPLETED)
            for future in sorted(done, key=futures.__getitem__):
                yield futures[future], self._outcome(future, time.monotonic() - started)

    def _outcome(self, future: "Future[Outcome]", seconds: float) -> Outcome:
        try:
            return future.result()
        except TimeoutError:
            return Failed(f"took longer than {self.timeout:g} s", seconds)
        except ProcessExpired as error:
            return Failed(f"the worker process died with {_exit(error.exitcode)}", seconds)


Executor = Annotated[Inline | Processes, Field(discriminator="kind")]


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


def _await_workers(pool: ProcessPool) -> None:
    """Workers that die while starting are started again without end; this finds out."""
    with deaf_to_ctrl_c():
        first = pool.schedule(os.getpid)  # starts the pool
    try:
        first.result(timeout=START_TIMEOUT)
    except TimeoutError:
        raise CampaignError(
            f"no worker process was ready after {START_TIMEOUT} s; a script that runs a campaign needs "
            "`if __name__ == '__main__':` around it, or executor.kind = 'inline'"
        ) from None


def _exit(code: int) -> str:
    return f"exit code {code}" if code >= 0 else f"signal {-code}"
