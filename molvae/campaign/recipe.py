"""What a campaign is asked to do: a frozen recipe, read from TOML by `molvae.config.read_recipe`."""

from collections.abc import Mapping
from typing import Annotated, ClassVar, Literal

from pydantic import Field, model_validator

from molvae.campaign.budget import Budget
from molvae.campaign.evaluate.executors import EXECUTORS, Executor, Processes
from molvae.campaign.propose.baselines import BASELINES, GradientAscent, LatentCMAES
from molvae.campaign.propose.bayes import Bayes
from molvae.campaign.propose.initial import INITIALS, FromPrior, Given, Initial
from molvae.campaign.propose.method import Method
from molvae.chem.objectives import Objective
from molvae.config import Component
from molvae.registry import Registry

METHODS = Registry("method", Method, (Bayes, *BASELINES))


class CampaignRecipe(Component):
    """Everything that a campaign's course depends on.

    Attributes:
        seed: of every draw; each round's draws depend on it and on the round alone.
        model: name of an installed model, or a model folder.
        objectives: one, or several for a Pareto campaign; besides these, constraints.
        reference_point: what hypervolumes are measured from, one raw value for each objective to improve, in the
            recipe's order; by default inferred.
        method: how molecules are proposed, with its parts; the others are what Bayesian optimisation is compared with.
        start: the initial design, the first molecules.
        budget: when to stop.
        q: molecules proposed in one round.
        executor: where objectives are evaluated.
        reference: a table of molecules that the results are compared with for novelty, or None.
    """

    seed: int = Field(default=0, ge=0)
    model: str = "zinc250k"
    objectives: tuple[Objective, ...] = Field(min_length=1, max_length=12)
    reference_point: tuple[float, ...] | Literal["inferred"] = "inferred"
    method: Annotated[Method, METHODS] = Bayes()
    start: Annotated[Initial, INITIALS] = FromPrior()
    budget: Budget = Budget()
    q: int = Field(default=10, ge=1)
    executor: Annotated[Executor, EXECUTORS] = Processes()
    reference: str | None = None

    ALIASES: ClassVar[Mapping[str, str]] = {
        "acquisition.reference": "reference_point",
        "acquisition": "method.acquisition",
        "learning.drawn": "method.retrain.sampled",
        "learning.rate": "method.retrain.learning_rate",
        "learning": "method.retrain",
        "method.strangers": "method.ood_sd_factor",
        "restarts": "method.restarts",
        "search": "method.search",
        "surrogate": "method.surrogate",
    }

    @property
    def improved(self) -> list[int]:
        """Places of the objectives that are no constraints."""
        return [k for k, objective in enumerate(self.objectives) if not objective.constraint]

    @property
    def constraints(self) -> list[int]:
        """Places of those that are."""
        return [k for k, objective in enumerate(self.objectives) if objective.constraint]

    @model_validator(mode="after")
    def _consistent(self) -> "CampaignRecipe":
        labels = [objective.label for objective in self.objectives]
        twice = sorted({label for label in labels if labels.count(label) > 1})
        if twice:
            raise ValueError(f"two objectives are called {twice[0]!r}; give one of them another name")
        n = len(self.improved)
        if not n:
            raise ValueError(
                "all objectives are constraints and none is to be improved; add one with another direction, "
                "such as 'maximize', 'minimize' or 'target'"
            )
        if n > 4:
            raise ValueError(f"at most 4 objectives can be improved at once, and there are {n}; combine some of them")
        if self.budget.target is not None and n > 1:
            raise ValueError(f"budget.target is for a single objective, and there are {n}")
        if isinstance(self.method, LatentCMAES) and n > 1:
            raise ValueError(f"method.kind cmaes is for a single objective, and there are {n}")
        if isinstance(self.method, GradientAscent) and not self.method.weights:
            raise ValueError("method.kind gradient needs method.weights, such as {QED = 5.0, SAS = -1.0}")
        if self.reference_point != "inferred" and len(self.reference_point) != n:
            raise ValueError(f"reference_point has {len(self.reference_point)} values for {n} objectives to improve")
        given = self.start.smiles if isinstance(self.start, Given) else ()
        start = len(given) or getattr(self.start, "n", None) or 0
        if start > self.budget.evaluations:
            raise ValueError(f"{start} start molecules are more than the {self.budget.evaluations} budget.evaluations")
        return self
