"""Objectives: a scorer and which way is better.

The scorers are in `molvae.chem.scorers` and `molvae.chem.combine`. In a recipe::

    [[objectives]]
    score = {kind = "qed"}

    [[objectives]]
    name = "balanced"
    score = {kind = "weighted_sum", of = [{kind = "qed"}, {kind = "sas"}], weights = [5.0, -1.0]}

    [[objectives]]
    score = {kind = "logp"}
    direction = "target"
    target = 2.5
    tolerance = 0.5

    [[objectives]]
    score = {kind = "sas"}
    direction = "at most"
    bound = 4.0
"""

from collections.abc import Iterator
from types import FunctionType
from typing import Any, Literal, Self, TypeVar

import numpy as np
import numpy.typing as npt
from pydantic import Field, field_validator, model_validator

from molvae.chem.combine import SCORERS, Chosen, Desirability, GeometricMean, Product, WeightedSum
from molvae.chem.molecule import Molecule
from molvae.chem.scorers import DESCRIPTORS, Descriptor, External, Scorer, value_of
from molvae.config import Component, nearest, parse_recipe
from molvae.errors import UsageError
from molvae.registry import import_path, path_of

Value = TypeVar("Value", float, npt.NDArray[np.float64])


class Objective(Component):
    """A score and which way it is better. Directions are applied here and nowhere else: see `utility`.

    With the direction "at most" or "at least" it is a constraint: nothing to improve, but a bound that has to hold.

    Attributes:
        score: what is computed.
        name: the column's name; None for the scorer's own.
        direction: None for the scorer's natural one; after building it is never None.
        target: the value to come close to, with ``direction = "target"`` only.
        tolerance: how far from the target is still as good as on it.
        bound: the largest or least value that is allowed, with ``direction = "at most"`` or ``"at least"`` only.
    """

    score: Chosen
    name: str | None = Field(default=None, min_length=1)
    direction: Literal["maximize", "minimize", "target", "at most", "at least"] | None = None
    target: float | None = None
    tolerance: float = Field(default=0.0, ge=0)
    bound: float | None = Field(default=None, exclude_if=lambda bound: bound is None)  # runs older than bounds resume

    @field_validator("score", mode="before")
    @classmethod
    def _function(cls, score: Any) -> Any:
        """A function of one's own is recorded by its import path, so it has to have one."""
        if isinstance(score, Component) or not isinstance(score, FunctionType):
            return score
        path = path_of(score)
        try:
            same = score.__module__ != "__main__" and import_path(path) is score
        except ImportError:
            same = False
        if not same:
            raise ValueError(
                "a function has to be found again by workers and when the run goes on, and this one cannot be "
                f"imported as {path}: put it into a file, such as mine.py, and name it 'mine:{score.__name__}'"
            )
        return External(call=path)

    @model_validator(mode="after")
    def _direction_and_target(self) -> Self:
        if self.direction == "target" and self.target is None:
            raise ValueError("direction = 'target' needs target, a number")
        if self.direction != "target" and (self.target is not None or self.tolerance):
            raise ValueError("target and tolerance go with direction = 'target'; set it, or leave them out")
        if self.constraint and self.bound is None:
            raise ValueError(f"direction = {self.direction!r} needs bound, a number")
        if self.bound is not None and not self.constraint:
            raise ValueError("bound goes with direction = 'at most' or 'at least'; set it, or leave bound out")
        if self.direction is None:
            # The model is frozen, and not yet seen by anyone.
            object.__setattr__(self, "direction", self.score.natural)
        return self

    @property
    def constraint(self) -> bool:
        """Whether this is a bound that has to hold, rather than something to improve."""
        return self.direction in ("at most", "at least")

    @property
    def label(self) -> str:
        """Name of the column: ``name`` where given, else the scorer's label, such as ``QED``."""
        return self.name or self.score.label

    @property
    def unit(self) -> str:
        """Unit of the raw value, for the column dictionary."""
        return self.score.named_unit if isinstance(self.score, Descriptor) else self.score.unit

    @property
    def meaning(self) -> str:
        """One line on what the raw value is, for the column dictionary."""
        return self.score.meaning

    def prepare(self) -> None:
        """Import what the score needs, so that a missing module is known before the first molecule.

        Raises:
            ObjectiveError: names what is missing.
        """
        for scorer in _parts(self.score):
            if isinstance(scorer, External):
                scorer.load()

    def evaluate(self, molecule: Molecule) -> float:
        """The raw value, in the score's unit. What the scorer raises goes through as it is.

        Raises:
            ObjectiveError: NaN, an infinity, or something that is not a number.
        """
        return value_of(self.score, molecule)

    def utility(self, value: Value) -> Value:
        """How good a raw value is, or each of an array; bigger is better.

        value, −value, or −max(0, |value − target| − tolerance), by the direction. Of a constraint, how far within its
        bound: it holds from 0 up.
        """
        if self.direction == "target" and self.target is not None:
            away: Value = abs(value - self.target) - self.tolerance
            return -(away * (away > 0))
        if self.bound is not None:
            return self.bound - value if self.direction == "at most" else value - self.bound
        return -value if self.direction == "minimize" else value

    def value(self, utility: Value) -> Value:
        """The raw value that has this utility; of a target, where there are two, the utility itself."""
        if self.bound is not None:
            return self.bound - utility if self.direction == "at most" else self.bound + utility
        return -utility if self.direction == "minimize" else utility


def named(kind_or_name: str) -> Objective:
    """The objective that a word on the command line means.

    Args:
        kind_or_name: a scorer that needs no settings ("logp", "qed", "sas", "penalized_logp", "qed_sas", in
            any case), an RDKit descriptor ("MolWt"), or a function ("package.module:name").

    Raises:
        UsageError: no such objective (names the nearest), or one that needs the settings of a recipe.
    """
    if ":" in kind_or_name:
        return _built({"kind": "callable", "call": kind_or_name}, kind_or_name)
    kinds = SCORERS.kinds
    plain = {kind: model for kind, model in kinds.items() if not _required(model)}
    if kind_or_name.lower() in plain:
        return _built({"kind": kind_or_name.lower()}, kind_or_name)
    if kind_or_name in DESCRIPTORS:
        return _built({"kind": "descriptor", "name": kind_or_name}, kind_or_name)
    if kind_or_name in kinds:
        settings = ", ".join(_required(kinds[kind_or_name]))
        raise UsageError(f"the objective {kind_or_name!r} needs settings ({settings}); put it in a recipe")
    hint = nearest(kind_or_name, [*plain, *DESCRIPTORS])
    if "did you mean" not in hint:
        hint = f"; known are {', '.join(plain)}, any RDKit descriptor such as MolWt, and package.module:function"
    raise UsageError(f"there is no objective {kind_or_name!r}{hint}")


def _built(score: dict[str, str], word: str) -> Objective:
    return parse_recipe({"score": score}, Objective, source=f"the objective {word!r}")


def _required(model: type[Component]) -> list[str]:
    return [name for name, field in model.model_fields.items() if field.is_required()]


def _parts(scorer: Scorer) -> Iterator[Scorer]:
    """The scorer and all that it is combined of."""
    yield scorer
    if isinstance(scorer, WeightedSum | Product | GeometricMean):
        for part in scorer.of:
            yield from _parts(part)
    elif isinstance(scorer, Desirability):
        yield from _parts(scorer.of)
