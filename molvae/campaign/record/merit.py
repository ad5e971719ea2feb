"""How good a campaign is so far: pure functions of its state and of what is asked for."""

from typing import Literal, Protocol

import numpy as np
import numpy.typing as npt

from molvae.bo.pareto import best_first, hypervolume, reference_below
from molvae.campaign.record.state import Record, State
from molvae.chem.objectives import Objective

Matrix = npt.NDArray[np.float64]


class Problem(Protocol):
    """What is asked for; the recipe of a campaign is one."""

    @property
    def objectives(self) -> tuple[Objective, ...]:
        """Those to improve, and constraints."""

    @property
    def improved(self) -> list[int]:
        """Places of the objectives that are no constraints."""

    @property
    def constraints(self) -> list[int]:
        """Places of those that are."""

    @property
    def reference_point(self) -> tuple[float, ...] | Literal["inferred"]:
        """Raw values, one for each objective to improve, from which hypervolumes are measured."""


def utilities(state: State, problem: Problem) -> Matrix:
    """Utilities of the observed molecules, (n, objectives) float64, in the order of ``state.observed``."""
    if not state.observed:
        return np.zeros((0, len(problem.objectives)))
    return np.stack([o.utility(column) for o, column in zip(problem.objectives, state.values.T, strict=True)], axis=1)


def violations(state: State, problem: Problem) -> Matrix:
    """How much the observed molecules break the constraints, (n,): 0 for feasible ones.

    The sum over the constraints of what is missing to the bound, in standard deviations of the observed values.
    """
    U = utilities(state, problem)[:, problem.constraints]
    return np.asarray((np.maximum(-U, 0.0) / _width(U)).sum(1), dtype=np.float64)


def merits(state: State, problem: Problem) -> Matrix:
    """By what observed molecules are ordered: utilities of the objectives to improve, (n, improved) float64.

    Infeasible molecules have in each column less than any feasible one, and the less the more they violate the
    constraints [Deb, "An efficient constraint handling method for genetic algorithms", 2000]. So whatever orders by
    merits, Pareto fronts and CMA-ES included, respects constraints.
    """
    Y, violation = utilities(state, problem)[:, problem.improved], violations(state, problem)[:, None]
    if not violation.any():
        return Y
    feasible = Y[violation[:, 0] == 0]
    least = feasible.min(0) if len(feasible) else 0.0
    return np.where(violation == 0, Y, least - _width(Y) * (1 + violation))


def given_reference(problem: Problem) -> Matrix | None:
    """The given reference point as utilities, (improved,); None where it is to be inferred."""
    if problem.reference_point == "inferred":
        return None
    improved = [problem.objectives[k] for k in problem.improved]
    return np.array([o.utility(value) for o, value in zip(improved, problem.reference_point, strict=True)])


def history(state: State, problem: Problem) -> list[float]:
    """After the start set and after each round: the best utility, or the dominated hypervolume if several.

    Of feasible molecules; −∞ or 0 before the first. Hypervolumes of a campaign share one reference point: the
    given one, or one below all of the start set.
    """
    rounds = np.array([record.proposal.round for record in state.observed], dtype=np.int64)
    if not (rounds == 0).any():
        return []
    feasible = violations(state, problem) == 0
    Y, rounds = utilities(state, problem)[feasible][:, problem.improved], rounds[feasible]
    if Y.shape[1] == 1:
        highest = np.full(state.round + 1, -np.inf)
        np.maximum.at(highest, rounds, Y[:, 0])
        return list(map(float, np.maximum.accumulate(highest)))
    reference = _reference(state, problem)
    return [hypervolume(Y[rounds <= r], reference) for r in range(state.round + 1)]


def best(state: State, problem: Problem) -> tuple[str, float] | None:
    """Name and raw value of the best so far, or "hypervolume" and its size; None before the first feasible one."""
    feasible = violations(state, problem) == 0
    if not feasible.any():
        return None
    if len(problem.improved) == 1:
        [column], row = problem.improved, int(merits(state, problem)[:, 0].argmax())
        return problem.objectives[column].label, float(state.values[row, column])
    return "hypervolume", hypervolume(
        utilities(state, problem)[feasible][:, problem.improved], _reference(state, problem)
    )


def ranked(state: State, problem: Problem, rng: np.random.Generator | None = None) -> list[Record]:
    """Observed records, best first, as tables rank them; with ``rng``, in chance order within a Pareto front."""
    return [state.observed[k] for k in best_first(merits(state, problem), rng)]


def _reference(state: State, problem: Problem) -> Matrix:
    given = given_reference(problem)
    if given is not None:
        return given
    rounds = np.array([record.proposal.round for record in state.observed])
    return reference_below(utilities(state, problem)[rounds == rounds.min()][:, problem.improved])


def _width(Y: Matrix) -> Matrix:
    """Standard deviation of each column, 1 where all values are equal or there are none."""
    found = Y.std(0) if len(Y) else np.zeros(Y.shape[1])
    return np.where(found > 0, found, 1.0)
