"""Scorers that combine others: weighted sum, product, geometric mean, desirability; and the registry of all scorers."""

import math
from itertools import pairwise
from typing import Annotated, ClassVar, Final, Literal, Self

import numpy as np
from pydantic import Field, model_validator

from molvae.chem.guacamol import GuacaMol
from molvae.chem.molecule import Molecule
from molvae.chem.scorers import (
    QED,
    QEDSAS,
    SAS,
    BaseScorer,
    Descriptor,
    External,
    LogP,
    Natural,
    PenalizedLogP,
    Scorer,
    Similarity,
    value_of,
)
from molvae.errors import ObjectiveError
from molvae.registry import Registry


class WeightedSum(BaseScorer):
    """Σ weight·value over other scorers.

    Attributes:
        of: the scorers.
        weights: one for each, in their order.
    """

    kind: Literal["weighted_sum"] = "weighted_sum"
    of: tuple["Chosen", ...] = Field(min_length=1)
    weights: tuple[float, ...]
    unit: ClassVar[str] = "score"
    natural: ClassVar[Natural] = "maximize"
    meaning: ClassVar[str] = "weighted sum of other scores"

    @model_validator(mode="after")
    def _one_weight_each(self) -> Self:
        if len(self.weights) != len(self.of):
            raise ValueError(f"{len(self.of)} scorers need as many weights, not {len(self.weights)}")
        return self

    @property
    def label(self) -> str:
        """``weighted_sum``."""
        return "weighted_sum"

    def __call__(self, molecule: Molecule) -> float:
        """The weighted sum."""
        return sum(w * value_of(scorer, molecule) for w, scorer in zip(self.weights, self.of, strict=True))


class Product(BaseScorer):
    """The product of other scorers."""

    kind: Literal["product"] = "product"
    of: tuple["Chosen", ...] = Field(min_length=1)
    unit: ClassVar[str] = "score"
    natural: ClassVar[Natural] = "maximize"
    meaning: ClassVar[str] = "product of other scores"

    @property
    def label(self) -> str:
        """``product``."""
        return "product"

    def __call__(self, molecule: Molecule) -> float:
        """The product."""
        return math.prod(value_of(scorer, molecule) for scorer in self.of)


class GeometricMean(BaseScorer):
    """The geometric mean of other scorers, which must not be negative; zero as soon as one of them is."""

    kind: Literal["geometric_mean"] = "geometric_mean"
    of: tuple["Chosen", ...] = Field(min_length=1)
    unit: ClassVar[str] = "score"
    natural: ClassVar[Natural] = "maximize"
    meaning: ClassVar[str] = "geometric mean of other scores"

    @property
    def label(self) -> str:
        """``geometric_mean``."""
        return "geometric_mean"

    def __call__(self, molecule: Molecule) -> float:
        """The geometric mean.

        Raises:
            ObjectiveError: one of the values is negative.
        """
        values = [value_of(scorer, molecule) for scorer in self.of]
        for scorer, value in zip(self.of, values, strict=True):
            if value < 0:
                raise ObjectiveError(
                    f"a geometric mean takes values from 0 up, and {scorer.label} is {value:.4g} for "
                    f"{molecule}; bring it there with kind = 'desirability'"
                )
        # Roots before the product, so that many large values do not overflow on the way.
        return math.prod(math.pow(value, 1 / len(values)) for value in values)


class Desirability(BaseScorer):
    """A value mapped through straight lines between points, and flat outside of them.

    Attributes:
        of: the scorer whose value is mapped.
        points: pairs of value and desirability, values rising, such as ``[[1, 0], [2, 1], [4, 1], [5, 0]]``
            for a window from 2 to 4 with soft edges.
    """

    kind: Literal["desirability"] = "desirability"
    of: "Chosen"
    points: tuple[tuple[float, float], ...] = Field(min_length=2)
    unit: ClassVar[str] = "desirability"
    natural: ClassVar[Natural] = "maximize"
    meaning: ClassVar[str] = "another score through piecewise linear desirability"

    @model_validator(mode="after")
    def _rising(self) -> Self:
        for (a, _), (b, _) in pairwise(self.points):
            if not a < b:
                raise ValueError(f"the values of points must rise strictly, but {b:g} comes after {a:g}")
        return self

    @property
    def label(self) -> str:
        """``desirability_of_`` and the mapped scorer's label."""
        return f"desirability_of_{self.of.label}"

    def __call__(self, molecule: Molecule) -> float:
        """The desirability of the value."""
        values, desirabilities = zip(*self.points, strict=True)
        found = np.interp(value_of(self.of, molecule), values, desirabilities)
        return float(np.clip(found, min(desirabilities), max(desirabilities)))  # rounding may leave them


COMBINATIONS: Final = (WeightedSum, Product, GeometricMean, Desirability)

SCORERS: Final = Registry(
    "scorer",
    Scorer,
    (LogP, QED, SAS, PenalizedLogP, QEDSAS, Descriptor, Similarity, GuacaMol, *COMBINATIONS, External),
)

Chosen = Annotated[Scorer, SCORERS]
"""A scorer that a recipe chooses."""

for _combination in COMBINATIONS:
    _combination.model_rebuild()
