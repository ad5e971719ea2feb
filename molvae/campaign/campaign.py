"""Ask, tell, run: the loop of a campaign. It holds no state; everything is in the store of its run folder."""

import logging
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from molvae.arguments import checked
from molvae.campaign.recipe import CampaignRecipe
from molvae.campaign.record.merit import best, ranked, violations
from molvae.campaign.record.state import Failed, Observed, Outcome, Proposal, Round, State
from molvae.campaign.record.store import FILE, Store
from molvae.campaign.report.diagnostics import diagnose
from molvae.campaign.space import LatentSpace, Space
from molvae.config import read_recipe
from molvae.data.tables import read_rows
from molvae.data.training_index import KnownMolecules
from molvae.errors import CampaignError, ModelError, RecipeError
from molvae.folders import PARTS, only_writer, pin_recipe, read_recorded

if TYPE_CHECKING:  # reading the status of a campaign should not load pandas
    import pandas as pd

    from molvae.campaign.report.table import Facts
    from molvae.campaign.rounds import Asked
    from molvae.chem.features import Featurizer

log = logging.getLogger("molvae")


@dataclass(frozen=True)
class Event:
    """What happened last, for a progress bar.

    Attributes:
        used, budget: calls.
        failed: how many of them failed.
        best: name and raw value of the best so far, or ``"hypervolume"`` and its size if there are several
            objectives; None before the first observation.
        made: how the round that is being evaluated was made: its number, points decoded, valid, new.
    """

    used: int
    budget: int
    failed: int
    best: tuple[str, float] | None
    made: Round


Progress = Callable[[Event], object]


class Campaign:
    """A search for better molecules, kept in a run folder; the same call on the same folder goes on with it.

    Example:
        >>> campaign = Campaign.open("pipelines/campaign.toml", out="runs/demo")
        >>> campaign.run()
        >>> campaign.table()
    """

    def __init__(self, recipe: CampaignRecipe, out: Path, space: Space | None = None) -> None:
        self.recipe, self.out = recipe, out
        self._given_space = space

    @classmethod
    @checked
    def open(
        cls,
        recipe: str | Path | CampaignRecipe,
        out: str | Path,
        overrides: Iterable[str] = (),
        space: Space | None = None,
    ) -> "Campaign":
        """Begin a campaign, or go on with one.

        Args:
            recipe: a TOML file, or the recipe itself.
            out: the run folder, made if it does not exist.
            overrides: such as ``"budget.evaluations=100"``, applied to the file.
            space: in place of the recipe's model.

        Raises:
            RecipeError: the recipe cannot be read, or the folder was begun with another one.
            FolderBusy: another process is beginning there with another recipe.
        """
        if not isinstance(recipe, CampaignRecipe):
            recipe = read_recipe(recipe, CampaignRecipe, overrides)
        _claim(Path(out), recipe)
        return cls(recipe, Path(out), space)

    @classmethod
    @checked
    def read(cls, out: str | Path, space: Space | None = None) -> "Campaign":
        """The campaign of a run folder, with the recipe that it was begun with.

        Raises:
            CampaignError: there is no campaign, or one of another version of molvae.
        """
        path = Path(out) / "recipe.json"
        if not path.is_file():
            raise CampaignError(f"there is no campaign in {out}: it has no recipe.json")
        return cls(read_recorded(path, CampaignRecipe), Path(out), space)

    @cached_property
    def space(self) -> Space:
        """The model, loaded when it is first needed."""
        return self._given_space or LatentSpace.load(self.recipe.model)

    @cached_property
    def _featurizer(self) -> "Featurizer":
        """Keeps features from round to round."""
        from molvae.chem.features import Featurizer

        return Featurizer()

    def state(self) -> State:
        """All records, as of now."""
        return Store.read(self.out).state()

    def ask(self) -> tuple[Proposal, ...]:
        """Molecules that wait for their values: those still pending, else a new round; none if it is over.

        Raises:
            FolderBusy: another process runs this campaign.
        """
        with self._writing() as store:
            return self._next(store)

    def tell(self, outcomes: Mapping[int, Outcome]) -> State:
        """Outcomes of pending proposals, by call.

        Raises:
            CampaignError: a call that is not pending, or values that do not fit the objectives.
            FolderBusy: another process runs this campaign.
        """
        with self._writing() as store:
            pending = {proposal.call for proposal in store.state().pending}
            for call, outcome in sorted(outcomes.items()):
                if call not in pending:
                    raise CampaignError(f"call {call} is not pending; pending are {sorted(pending)}")
                self._check(outcome)
            for call, outcome in sorted(outcomes.items()):
                store.conclude(call, outcome)
            return store.state()

    def run(self, progress: Progress | None = None) -> State:
        """Ask, evaluate and tell until the budget is used or another reason to stop; may be stopped any time.

        Args:
            progress: called after each evaluation.

        Raises:
            FolderBusy: another process runs this campaign.
            ObjectiveError: an objective's module cannot be imported.
            CampaignError: all start molecules failed, the model is another one, or the store cannot be written.
        """
        with self._writing() as store:
            for objective in self.recipe.objectives:
                objective.prepare()
            if self._next(store):
                with self.recipe.executor(self.recipe.objectives) as evaluate:
                    while pending := self._next(store):
                        state, made = store.state(), store.rounds()[-1]
                        for call, outcome in evaluate(pending):
                            store.conclude(call, outcome)
                            if progress is not None:
                                state = state.concluded(call, outcome)
                                progress(self._event(state, made))
            return store.state()

    def status(self) -> dict[str, Any]:
        """Where the campaign stands, as plain values; see `molvae.campaign.report.diagnostics`."""
        store = Store.read(self.out)
        state, facts = store.state(), store.facts()
        labels = [objective.label for objective in self.recipe.objectives]
        measure = best(state, self.recipe)
        diagnosis = asdict(diagnose(state, store.rounds(), self.recipe))
        feasible = (violations(state, self.recipe) == 0).tolist() if self.recipe.constraints else []
        holds = {r.proposal.call: {"feasible": one} for r, one in zip(state.observed, feasible, strict=False)}
        return {
            "folder": str(self.out),
            "model": self.recipe.model,
            "objectives": {o.label: o.direction for o in self.recipe.objectives},
            "improved": len(self.recipe.improved),
            "used": state.used,
            "budget": self.recipe.budget.evaluations,
            "failed": len(state.failed),
            "feasible": sum(feasible) / len(feasible) if feasible else None,
            "pending": len(state.pending),
            "round": state.round,
            "restarts": list(state.restarts),
            "best": None if measure is None else {measure[0]: measure[1]},
            "molecules": [
                {"SMILES": r.proposal.smiles, **dict(zip(labels, r.outcome.values, strict=True))}
                | holds.get(r.proposal.call, {})
                for r in ranked(state, self.recipe)[:10]
                if isinstance(r.outcome, Observed)
            ],
            "stopped": facts.get("stopped"),
            "model_fingerprint": facts.get("model"),
            "warnings": list(diagnosis.pop("warnings")),
            "diagnosis": diagnosis,
        }

    def table(self) -> "pd.DataFrame":
        """One row a molecule, SMILES first; `molvae.campaign.report.table` says what the columns mean."""
        from molvae.campaign.report.table import table

        return table(self.state(), self.recipe, self.facts())

    def export(self, path: str | Path) -> int:
        """Write the table in the format of the path's ending, ``columns.json`` beside it; the number of rows."""
        from molvae.campaign.report.table import export

        return export(self.state(), self.recipe, self.facts(), path)

    def facts(self) -> "Facts":
        """What tables tell beyond recipe and records; the model is loaded to know what it was trained on."""
        from molvae.campaign.report.table import Facts

        store = Store.read(self.out)
        weights = {made.round: made.weights for made in store.rounds()}
        path = self.recipe.reference
        reference = None if path is None else [row.text for row in read_rows(path)]
        return Facts(weights, reference, self._known(store.facts().get("model")))

    @contextmanager
    def _writing(self) -> Iterator[Store]:
        with only_writer(self.out, "this campaign"):
            pin_recipe(self.out, self.recipe)
            with Store.create(self.out) as store:
                yield store

    def _next(self, store: Store) -> tuple[Proposal, ...]:
        """Pending proposals, else those of a new round, which is in the store before they are returned."""
        state = store.state()
        if state.pending:
            return state.pending
        reason = self.recipe.budget(state, self.recipe)
        if reason is None:
            self._check_model(store, "model", self.space.fingerprint)
            proposals, made, pins = self._asked(state)
            for name, fingerprint in pins:
                self._check_model(store, name, fingerprint)
            log.info("round %d: %d decoded, %d valid, %d new", made.round, made.decoded, made.valid, made.new)
            if proposals:
                store.propose(proposals, made)
                return proposals
            reason = f"search exhausted: {made.decoded} texts gave no new molecule"
        store.note(stopped=reason)
        log.info("stopped: %s", reason)
        return ()

    def _asked(self, state: State) -> "Asked":
        from molvae.campaign.rounds import next_round, start_set

        if state.records:
            return next_round(self.recipe, self.space, state, self.out / "models", self._featurizer)
        self._warn_if_unfit()
        return start_set(self.recipe, self.space)

    def _warn_if_unfit(self) -> None:
        from molvae.vae.evaluation.doctor import quick_check

        if isinstance(self.space, LatentSpace):
            for warning in quick_check(self.space.model):
                log.warning("the model %s is not fit for campaigns: %s", self.recipe.model, warning)

    def _known(self, fingerprint: str | None) -> KnownMolecules | None:
        try:
            if self.space.fingerprint == fingerprint:
                return self.space.training_index
            log.warning("the model %s has changed since; training molecules are not told apart", self.recipe.model)
        except ModelError as error:
            log.warning("training molecules are not told apart: %s", error)
        return None

    def _event(self, state: State, made: Round) -> Event:
        return Event(
            state.used,
            self.recipe.budget.evaluations,
            len(state.failed),
            best(state, self.recipe),
            made,
        )

    def _check(self, outcome: Outcome) -> None:
        expected = len(self.recipe.objectives)
        if isinstance(outcome, Failed):
            return
        if len(outcome.values) != expected:
            raise CampaignError(f"an outcome has {expected} finite values, one an objective; got {outcome.values}")

    def _check_model(self, store: Store, name: str, fingerprint: str) -> None:
        facts = store.facts()
        kept = facts.get(name) or facts.get(name.replace("retraining", "lesson"))  # as earlier releases called it
        if kept is None:
            store.note(**{name: fingerprint})
        elif kept != fingerprint:
            what = f"was begun with another model called {self.recipe.model!r}"
            if name != "model":
                what = f"went on with other weights after {name}"
            raise CampaignError(
                f"{self.out} {what} (weights {kept}, now {fingerprint}); bring them back, or take another --out folder"
            )


def _claim(out: Path, recipe: CampaignRecipe) -> None:
    """Keep the recipe in the run folder; one that never led to a molecule may still be corrected."""
    try:
        pin_recipe(out, recipe)
    except RecipeError:
        with only_writer(out, "this campaign"):
            if not (out / FILE).exists() or Store.read(out).state().records:
                raise
            for path in (out / "recipe.json", out / PARTS, *out.glob(f"{FILE}*")):
                path.unlink(missing_ok=True)
            pin_recipe(out, recipe)
