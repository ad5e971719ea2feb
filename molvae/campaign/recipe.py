"""What a campaign is asked to do: a frozen recipe, read from TOML by `molvae.config.read_recipe`."""

from collections.abc import Mapping
from typing import Annotated, ClassVar, Literal

from pydantic import Field, model_validator

from molvae.bo.acquisitions import ACQUISITIONS, UCB, Acquisition
from molvae.bo.surrogates import SURROGATES, AdditiveGP, Surrogate
from molvae.campaign.evaluate.executors import Executor, Processes
from molvae.campaign.propose.baselines import Baseline, GradientAscent, LatentCMAES
from molvae.campaign.propose.initial import FromPrior, Given, Start
from molvae.campaign.propose.inner_loop import Search
from molvae.campaign.propose.restarts import Restarts
from molvae.campaign.propose.retrain import Learning
from molvae.chem.objectives import Objective
from molvae.config import Component


class Budget(Component):
    """When to stop.

    Attributes:
        evaluations: different molecules that may be evaluated, start set and failures included.
        target: stop after the round in which the one objective's raw value is at least as good as this.
        plateau: stop after this many rounds in a row without a better molecule (or a larger hypervolume, or, as long
            as none is feasible, one that violates the constraints less).
    """

    evaluations: int = Field(default=300, ge=1)
    target: float | None = None
    plateau: int | None = Field(default=None, ge=1)


class Bayes(Component):
    """Bayesian optimisation, by the recipe's search, surrogate and acquisition.

    A molecule that the model cannot write back from its latent point is unlike those that it was trained on. What is
    not known of such a stranger counts for little: it is proposed for what is expected of it, hardly for what it
    might turn out to be.

    Attributes:
        strangers: share of their predicted standard deviation that counts; 1 for no difference, which saves time.
    """

    kind: Literal["bayes"] = "bayes"
    strangers: float = Field(default=0.1, ge=0, le=1)


Method = Annotated[Bayes | Baseline, Field(discriminator="kind")]


class CampaignRecipe(Component):
    """Everything that a campaign's course depends on.

    Attributes:
        seed: of every draw; each round's draws depend on it and on the round alone.
        model: name of an installed model, or a model folder.
        objectives: one, or several for a Pareto campaign; besides these, constraints.
        method: how molecules are proposed; the others are what Bayesian optimisation is compared with.
        start: the first molecules.
        budget: when to stop.
        q: molecules proposed in one round.
        search, surrogate, acquisition: the parts of Bayesian optimisation, each with good defaults.
        reference_point: what several objectives are measured from, one raw value for each to improve, in their order;
            by default inferred from the Pareto front.
        learning: whether the model is fine-tuned on what was found.
        restarts: when Bayesian optimisation that has gone stale begins again.
        executor: where objectives are evaluated.
        reference: a table of molecules that the results are compared with for novelty, or None.
    """

    ALIASES: ClassVar[Mapping[str, str]] = {"acquisition.reference": "reference_point"}

    seed: int = Field(default=0, ge=0)
    model: str = "zinc250k"
    objectives: tuple[Objective, ...] = Field(min_length=1, max_length=12)
    method: Method = Bayes()
    start: Start = FromPrior()
    budget: Budget = Budget()
    q: int = Field(default=10, ge=1)
    search: Search = Search()
    surrogate: Annotated[Surrogate, SURROGATES] = AdditiveGP()
    acquisition: Annotated[Acquisition, ACQUISITIONS] = UCB()
    reference_point: tuple[float, ...] | Literal["inferred"] = "inferred"
    learning: Learning = Learning()
    restarts: Restarts = Restarts()
    executor: Executor = Processes()
    reference: str | None = None

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
        if self.learning.every and not isinstance(self.method, Bayes):
            raise ValueError(f"learning.every is for method.kind bayes; with {self.method.kind} it has to be 0")
        if isinstance(self.method, GradientAscent) and not self.method.weights:
            raise ValueError("method.kind gradient needs method.weights, such as {QED = 5.0, SAS = -1.0}")
        point = self.reference_point
        if point != "inferred" and len(point) != n:
            raise ValueError(f"reference_point has {len(point)} values for {n} objectives to improve")
        given = self.start.smiles if isinstance(self.start, Given) else ()
        start = len(given) or getattr(self.start, "n", None) or 0
        if start > self.budget.evaluations:
            raise ValueError(f"{start} start molecules are more than the {self.budget.evaluations} budget.evaluations")
        return self
