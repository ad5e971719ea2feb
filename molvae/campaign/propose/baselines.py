"""What Bayesian optimisation is compared with: screening, a genetic algorithm, CMA-ES, gradient ascent.

Each is a method of a campaign: a pure function of the records and a seed, which keeps nothing from round to round.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Any, Final, Literal

import numpy as np
import numpy.typing as npt
from pydantic import Field

from molvae.bo.pareto import best_first
from molvae.campaign.propose.inner_loop import Offspring, keep_new
from molvae.campaign.propose.method import Candidate, Context, Suggestion
from molvae.campaign.record.state import State
from molvae.campaign.space import LatentSpace, Points, Space
from molvae.chem.graph_moves import cross, mutate
from molvae.chem.molecule import Molecule, parse_or_none
from molvae.config import Component
from molvae.data.tables import read_rows
from molvae.errors import RecipeError

if TYPE_CHECKING:  # a recipe holds these settings, and reading a recipe should not load torch
    from torch import Tensor

    from molvae.vae.model import SmilesVAE

Matrix = npt.NDArray[np.float64]

BATCHES = 20
"""A round gives up after this many batches of decoded points."""
CHILDREN = 100
"""A round gives up after this many tries to make a child for each molecule that it should propose."""
WIDER = 1.2
"""Where a batch did not bring enough new molecules, the next one is drawn this many times as wide."""


class RandomScreening(Component):
    """Molecules drawn by chance, whatever the values: the floor that every other method should be above.

    Attributes:
        path: a table of molecules to draw from (.smi, .csv, .tsv, .parquet); by default the model's prior.
    """

    kind: Literal["random"] = "random"
    path: str | None = None

    def __call__(self, context: Context) -> Suggestion:
        """At most ``q`` new molecules.

        Raises:
            DataError: the file cannot be read.
        """
        return _new(context, self._sampled(context.space, context.q, _rng(context)))

    def _sampled(self, space: Space, q: int, rng: np.random.Generator) -> Iterator[list[Offspring]]:
        if self.path is not None:
            rows = list(read_rows(self.path))
            yield from ([Offspring(rows[k].text, None, "file")] for k in rng.permutation(len(rows)))
            return
        for _ in range(BATCHES):
            yield [Offspring(text, None, "prior") for text in space.sample(2 * q, int(rng.integers(2**31)))]


class GeneticAlgorithm(Component):
    """A genetic algorithm on molecular graphs [J. H. Jensen, Chem. Sci. 10, 3567 (2019)], like the PMO benchmark's.

    The population is the best molecules observed so far, by fronts where there are several objectives. Both parents
    of a child are drawn from it with weight 1 / rank: by rank, since utilities may be negative. Children that the
    model cannot encode are dropped, since a record says where its molecule lies in the latent space.

    Attributes:
        population: molecules that may be parents.
        mutation: probability that a child is mutated after the crossing.
    """

    kind: Literal["genetic"] = "genetic"
    population: int = Field(default=120, ge=1)
    mutation: float = Field(default=0.067, ge=0, le=1)

    def __call__(self, context: Context) -> Suggestion:
        """At most ``q`` new molecules; fewer where the population hardly has children that are new."""
        best = best_first(context.merits)[: self.population]
        population = [Molecule.trusted(context.state.observed[k].proposal.smiles) for k in best]
        return _new(context, self._children(population, CHILDREN * context.q, _rng(context)))

    def _children(
        self, population: Sequence[Molecule], tries: int, rng: np.random.Generator
    ) -> Iterator[list[Offspring]]:
        n = len(population)
        odds = 1 / np.arange(1, n + 1)
        odds /= odds.sum()
        for _ in range(tries):
            one, other = (population[k] for k in rng.choice(n, size=2, p=odds))
            text, move = cross(one.mol, other.mol, rng), "crossing"
            if rng.random() < self.mutation:
                child = one if text is None else parse_or_none(text)
                text, move = None if child is None else mutate(child.mol, rng), "mutation"
            if text is not None:
                yield [Offspring(text, one.smiles, move)]


class LatentCMAES(Component):
    """CMA-ES in the latent space [N. Hansen, arXiv:1604.00772], for one objective.

    The mean begins at the best start molecule. A generation is ``population`` molecules in the order in which they
    were proposed, whatever their rounds, so failures and rounds of another size do no harm. The optimiser is told
    the points of the molecules, which is what was evaluated, not those that it drew.

    Nothing is kept between rounds: the optimiser is told all generations again, and then asked with the round's
    seed. Telling draws and decodes nothing; in 64 dimensions it takes some 2 ms a generation.

    Attributes:
        sigma: standard deviation in each dimension at the beginning; the prior's is about 1.
        population: molecules of a generation; by default 4 + 3 ln(dimensions), 16 for 64 dimensions.
    """

    kind: Literal["cmaes"] = "cmaes"
    sigma: float = Field(default=0.4, gt=0)
    population: int | None = Field(default=None, ge=4)

    def __call__(self, context: Context) -> Suggestion:
        """At most ``q`` new molecules, sampled wider and wider until there are as many.

        Raises:
            RecipeError: there are several objectives.
        """
        merits = context.merits
        if merits.shape[1] != 1:
            raise RecipeError(
                f"CMA-ES is for one objective, and there are {merits.shape[1]}; take another method, such as genetic, "
                "or make them one by a combination"
            )
        optimizer = self._replayed(context.state, merits[:, 0])
        optimizer.reseed_rng(int(_rng(context).integers(2**31)))
        return _new(context, _asked(optimizer, context.space, context.q))

    def _replayed(self, state: State, y: Matrix) -> Any:
        """The optimiser after all whole generations."""
        from cmaes import CMA  # slow: it loads SciPy's statistics

        points = np.array([record.proposal.z for record in state.observed], dtype=np.float64)
        rounds = np.array([record.proposal.round for record in state.observed])
        start = np.flatnonzero(rounds == rounds.min())
        optimizer = CMA(points[start[y[start].argmax()]], self.sigma, seed=0, population_size=self.population)
        told = [(points[k], -float(y[k])) for k in np.flatnonzero(rounds > rounds.min())]
        size = optimizer.population_size
        for k in range(size, len(told) + 1, size):
            optimizer.tell(told[k - size : k])
        return optimizer


class GradientAscent(Component):
    """Up the gradient of the model's property heads, from the best molecules observed.

    A path of short steps, all of one length, begins near each of them and is decoded point by point; those new
    molecules are proposed whose own latent points have the best prediction. What the heads predict along a path
    says little: it rises also where the text does not change. The values observed only say where to begin.

    Attributes:
        weights: what to ascend: a sum of the model's properties, each in its own unit and times its weight, for
            instance ``{"QED": 5.0, "SAS": -1.0}``. It is for the recipe to say; there is no default that fits.
        paths: how many begin, at the best molecules, one each.
        steps: of each path.
        length: of a step; the prior's standard deviation is about 1 in each dimension.
        noise: standard deviation, in each dimension, of where a path begins around its molecule. It grows until
            there are enough new molecules.
    """

    kind: Literal["gradient"] = "gradient"
    weights: dict[str, float] | None = Field(default=None, min_length=1)
    paths: int = Field(default=30, ge=1)
    steps: int = Field(default=10, ge=1)
    length: float = Field(default=0.5, gt=0)
    noise: float = Field(default=0.4, gt=0)

    def __call__(self, context: Context) -> Suggestion:
        """At most ``q`` new molecules, the best by prediction first.

        Raises:
            RecipeError: the model has no heads, or ``weights`` are not of its properties.
        """
        space = context.space
        model, weights = self._ascended(space)
        begin = [context.state.observed[k].proposal for k in np.resize(best_first(context.merits), self.paths)]
        rng = _rng(context)

        def batches() -> Iterator[list[Offspring]]:
            z = np.stack([proposal.z for proposal in begin])
            parents = [proposal.smiles for proposal in begin] * self.steps
            for batch in range(BATCHES):
                noise = self.noise * WIDER**batch * rng.standard_normal(z.shape)
                texts = space.decode(np.concatenate(self._path(model, weights, (z + noise).astype(np.float32))))
                yield [Offspring(text, parent, "gradient") for text, parent in zip(texts, parents, strict=True)]

        def predicted(smiles: Sequence[str]) -> Matrix:
            import torch

            properties = model.predict(torch.from_numpy(space.encode(smiles)))
            return np.asarray(_weighed(properties, weights).numpy(), dtype=np.float64)

        return _new(context, batches(), predicted)

    def _ascended(self, space: Space) -> tuple["SmilesVAE", list[float]]:
        """The model, and a weight for each of its properties."""
        model = space.model if isinstance(space, LatentSpace) else None
        if model is None or not model.properties:
            raise RecipeError(
                "gradient ascent goes by the property heads of the model, and this one has none; train one with "
                "net.properties, or take another method"
            )
        unknown = [name for name in self.weights or () if name not in model.properties]
        if self.weights is None or unknown:
            came = f"a property {unknown[0]!r}" if unknown else "no weights"
            raise RecipeError(
                f"gradient ascent needs a weight for one or more of {', '.join(model.properties)}, which this model "
                f"predicts, such as weights = {{{model.properties[0]} = 1.0}}; it got {came}"
            )
        return model, [self.weights.get(name, 0.0) for name in model.properties]

    def _path(self, model: "SmilesVAE", weights: Sequence[float], z: Points) -> list[Points]:
        """The points of all paths after each step."""
        import torch

        place = torch.from_numpy(z).to(model.device)
        path = []
        for _ in range(self.steps):
            place.requires_grad_()
            slope = torch.autograd.grad(_weighed(model.net.predict(place), weights).sum(), place)[0]
            place = place.detach() + self.length * torch.nn.functional.normalize(slope)
            path.append(np.asarray(place.cpu().numpy(), dtype=np.float32))
        return path


BASELINES: Final = (RandomScreening, GeneticAlgorithm, LatentCMAES, GradientAscent)

_Score = Callable[[Sequence[str]], Matrix]


def _rng(context: Context) -> np.random.Generator:
    return np.random.default_rng(int(context.rng().integers(2**31)))


def _new(context: Context, batches: Iterable[Iterable[Offspring]], score: _Score | None = None) -> Suggestion:
    """At most ``q`` different molecules that are valid, were never proposed, and that the model can encode.

    Of the batches that it takes to have as many: those with the highest score, or else the first.
    """
    found: dict[str, Candidate] = {}
    written = valid = 0
    for batch in batches:
        counts = keep_new(batch, context.space, context.state.proposed, found)
        written, valid = written + counts[0], valid + counts[1]
        if len(found) >= context.q:
            break
    candidates = list(found.values())
    if score is not None and candidates:
        best = np.argsort(-score(list(found)), kind="stable")
        candidates = [candidates[k] for k in best]
    chosen = tuple(candidates[: context.q])
    return Suggestion(chosen, written, valid, len(chosen))


def _asked(optimizer: Any, space: Space, q: int) -> Iterator[list[Offspring]]:
    """What draws of the optimiser decode to, each batch drawn wider than the one before."""
    for batch in range(BATCHES):
        drawn = np.stack([optimizer.ask() for _ in range(2 * q)])
        z = optimizer.mean + WIDER**batch * (drawn - optimizer.mean)
        yield [Offspring(text, None, "cmaes") for text in space.decode(z.astype(np.float32))]


def _weighed(properties: "Tensor", weights: Sequence[float]) -> "Tensor":
    """Weighed sums of ``(n, properties)``: ``(n,)``."""
    return properties @ properties.new_tensor(weights)
