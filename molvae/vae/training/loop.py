"""The training: one visible loop, exact resume.

Everything that a step does is a pure function of the recipe, the corpus and the step's number: which batch, which
noise, which β and learning rate. So weights, optimiser moments and the number are the whole state, and a training that
was killed ends with the same bits as one that was not (same machine, same number of threads).
"""

import contextlib
import math
import threading
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from lightning_fabric import Fabric

from molvae.arguments import checked
from molvae.data.corpus import Batch
from molvae.errors import TrainingError
from molvae.folders import only_writer, pin_recipe
from molvae.signals import defer_signals
from molvae.vae.evaluation.metrics import evaluate
from molvae.vae.folder import save_model
from molvae.vae.prior import Prior
from molvae.vae.training.logger import MetricsTable
from molvae.vae.training.recipe import TrainRecipe, TrainSettings
from molvae.vae.training.resume import Progress, load_state, save_state
from molvae.vae.training.setup import Setup, hardware_facts, make_fabric, set_up
from molvae.vae.training.step import StepFigures, TrainingStep

COLLAPSE_AFTER = 0.2
"""Share of the training after which a latent space with no active unit, or under 0.1 nats of KL, is an error."""
PRIOR_MOLECULES = 500_000
"""Most training molecules that the prior is fitted to."""


@dataclass(frozen=True)
class TrainEvent:
    """What a progress bar shows: after each step, and with ``figures`` after each evaluation."""

    step: int
    steps: int
    molecules_per_second: float
    nll: float
    kl: float
    figures: dict[str, float] | None = None


@checked
def train(recipe: TrainRecipe, out: str | Path, on_event: Callable[[TrainEvent], None] | None = None) -> Path:
    """Train a model, or go on with a training that was stopped; the model lies in ``out/model``.

    ``out`` also gets ``recipe.json``, ``metrics.csv`` (a row an evaluation) and ``state.safetensors``.

    Raises:
        RecipeError: ``out`` was begun with another recipe.
        FolderBusy: another process trains there.
        TrainingError: the loss is not finite, or the posterior collapsed.
        DataError: the corpus, or the synthetic one, is none, or the corpus has nothing to validate on.
    """
    out = Path(out)
    setup = set_up(recipe)
    fabric = make_fabric(recipe.hardware)
    fabric.launch()
    with contextlib.ExitStack() as stack:
        if fabric.is_global_zero:
            stack.enter_context(only_writer(out, "this training"))
            pin_recipe(out, recipe)
        stop = stack.enter_context(defer_signals())
        _run(setup, out, fabric, stop, on_event or (lambda event: None))
    return out / "model"


def _run(
    setup: Setup, out: Path, fabric: Fabric, stop: threading.Event, on_event: Callable[[TrainEvent], None]
) -> None:
    recipe, net, world = setup.recipe, setup.vae.net, fabric.world_size
    per_epoch, state = _steps_of_an_epoch(setup, world), out / "state.safetensors"
    steps = per_epoch * recipe.train.epochs
    progress = _resume(setup, state)
    take_step = TrainingStep(fabric, net, setup.optimizers, recipe.train, steps)
    recorder = _Recorder(setup, out, hardware_facts(fabric), progress.step, steps) if fabric.is_global_zero else None
    started, saved = time.monotonic() - progress.seconds, time.monotonic()
    net.train()
    order: list[Batch] = []
    for step in range(progress.step, steps):
        epoch, place = divmod(step, per_epoch)
        if not order or place == 0:
            order = setup.batches.epoch(recipe.seed, epoch)[fabric.global_rank :: world][:per_epoch]
        tokens, rows = order[place]
        found = take_step(tokens, setup.labels[torch.from_numpy(rows).long()], recipe.seed, step, fabric.global_rank)
        _refuse_divergence(recipe.train, step + 1, found.nll, found.kl)
        progress = progress.after(found.nll, found.kl, time.monotonic() - started)
        last, figures = progress.step == steps, None
        if last or progress.step % recipe.evaluate.every == 0:
            if recorder is not None:
                figures = recorder.evaluate(progress, found)
            progress = progress.evaluated()
            net.train()
            fabric.barrier()  # the others wait for the first
        interrupted = stop.is_set()
        if recorder is not None:
            if last or interrupted or time.monotonic() - saved >= recipe.checkpoint_seconds:
                save_state(state, net, setup.optimizers, progress)
                saved = time.monotonic()
            rate = progress.step * recipe.train.batch * world / max(1e-9, progress.seconds)
            on_event(TrainEvent(progress.step, steps, rate, found.nll, found.kl, figures))
        if interrupted:
            raise KeyboardInterrupt
    if recorder is not None:
        recorder.table.close()


def _steps_of_an_epoch(setup: Setup, world: int) -> int:
    """Of each device; what batches are left over by them is left out."""
    if setup.batches.steps < world:
        raise TrainingError(f"{setup.batches.steps} batches are too few for {world} devices")
    return setup.batches.steps // world


def _resume(setup: Setup, state: Path) -> Progress:
    """Bring weights and optimisers to where the training was stopped, or leave them at its beginning."""
    progress = load_state(state, setup.vae.net, setup.optimizers)
    if progress.step and progress.corpus != setup.digest:
        recipe, out = setup.recipe, state.parent
        where = recipe.corpus if recipe.synthetic is None else f"{recipe.corpus} or {recipe.synthetic}"
        raise TrainingError(f"{where} has changed since {out} was begun; bring it back, or take a new --out")
    return replace(progress, corpus=setup.digest)


class _Recorder:
    """Writes figures and model into the run folder; of several processes, the first does.

    Args:
        setup: of the training.
        out: the run's folder.
        hardware: what the card tells of it.
        step: done before.
        steps: of the whole training.
    """

    def __init__(self, setup: Setup, out: Path, hardware: dict[str, Any], step: int, steps: int) -> None:
        self._setup, self._out, self._steps = setup, out, steps
        self._facts = {**setup.facts, "hardware": hardware}
        self.table = MetricsTable(out, step)

    def evaluate(self, progress: Progress, found: StepFigures) -> dict[str, float]:
        """Evaluate the model and save it; at the last step its prior is fitted before.

        Raises:
            TrainingError: the figures are not finite, or the posterior collapsed; then the model is not saved.
        """
        recipe, vae, corpus = self._setup.recipe, self._setup.vae, self._setup.corpus
        if progress.step == self._steps:
            vae.prior = _fitted_prior(self._setup)
        vae.net.eval()
        n = recipe.evaluate.molecules
        figures = {
            "step": progress.step,
            "seconds": round(progress.seconds, 1),
            "beta": found.beta,
            "epoch": progress.step / (self._steps // recipe.train.epochs),
            "train_nll": progress.nll / progress.batches,
            "train_kl": progress.kl / progress.batches,
            **asdict(evaluate(vae, corpus.valid[:n], n, seed=recipe.seed)),
        }
        _refuse_divergence(recipe.train, progress.step, figures["nll"], figures["kl"])
        self.table.add(figures)
        _refuse_collapse(figures, progress.step / self._steps)
        names = ("nll", "kl", "active_units", "reconstruction", "validity_decoded", "validity_prior")
        moment = {"step": progress.step, "seconds": progress.seconds, "metrics": {k: figures[k] for k in names}}
        save_model(self._out / "model", vae, {**self._facts, **moment})
        return figures


def _fitted_prior(setup: Setup) -> Prior:
    """The recipe's prior, fitted to training molecules: to as many as say where the encoder puts them all."""
    recipe, train_part = setup.recipe, setup.corpus.train
    rows = np.random.default_rng(recipe.seed).permutation(len(train_part))[:PRIOR_MOLECULES]
    posterior = setup.vae.encode_texts([train_part[row] for row in rows])
    return recipe.prior.fit(posterior.mean, posterior.logvar, recipe.seed)


def _refuse_divergence(settings: TrainSettings, step: int, nll: float, kl: float) -> None:
    if not math.isfinite(nll + kl):
        raise TrainingError(
            f"the training diverged at step {step}: nll {nll:.4g}, kl {kl:.4g}; take a smaller "
            f"train.optimizer.learning_rate (it is {settings.optimizer.learning_rate:g}) or train.clip, in a new --out"
        )


def _refuse_collapse(figures: dict[str, float], share: float) -> None:
    if share >= COLLAPSE_AFTER and (figures["active_units"] == 0 or figures["kl"] < 0.1):
        raise TrainingError(
            f"the posterior collapsed: {figures['active_units']} active units and {figures['kl']:.3g} nats of KL at "
            f"step {figures['step']}, so the latent space says nothing about the molecules; take a smaller weight of "
            f"the KL (train.loss.beta.end; it is {figures['beta']:g} now), or more epochs, in a new --out"
        )
