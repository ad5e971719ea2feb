"""The training: one visible loop, exact resume.

Everything that a step does is a pure function of the recipe, the corpus and the step's number: which batch, which
noise, which β and learning rate. So weights, optimiser moments and the number are the whole state, and a training that
was killed ends with the same bits as one that was not (same machine, same number of threads).
"""

import contextlib
import logging
import math
import threading
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from lightning_fabric import Fabric
from lightning_fabric.utilities.exceptions import MisconfigurationException

from molvae.config import as_table
from molvae.data.corpus import Corpus, LengthBatches
from molvae.data.training_index import KnownMolecules
from molvae.errors import DataError, TrainingError
from molvae.folders import claim, only_writer
from molvae.signals import defer_signals
from molvae.vae import card
from molvae.vae.evaluation.metrics import evaluate
from molvae.vae.folder import load_model, model_facts, save_model
from molvae.vae.model import SmilesVAE
from molvae.vae.nets.nets import Net
from molvae.vae.prior import Prior
from molvae.vae.training.logger import MetricsTable
from molvae.vae.training.recipe import HardwareSettings, TrainRecipe, TrainSettings
from molvae.vae.training.resume import Progress, load_state, save_state
from molvae.vae.training.step import Descent

log = logging.getLogger("molvae")

COLLAPSE_AFTER = 0.2
"""Share of the training after which a latent space with no active unit, or under 0.1 nats of KL, is an error."""
PRIOR_MOLECULES = 500_000
"""Most training molecules that the prior is fitted to."""
LONGER = 1.2
"""A model writes strings up to this many times as long as the longest of its corpus."""


@dataclass(frozen=True)
class TrainEvent:
    """What a progress bar shows: after each step, and with ``figures`` after each evaluation."""

    step: int
    steps: int
    molecules_per_second: float
    nll: float
    kl: float
    figures: dict[str, float] | None = None


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
    corpus = Corpus.load(recipe.corpus)
    synthetic = None if recipe.synthetic is None else Corpus.load(recipe.synthetic)
    start = None if recipe.start is None else load_model(recipe.start)
    if start is not None:
        corpus = _readable(corpus, start, str(recipe.start))
    if len(corpus.valid) < 2:
        raise DataError(f"{corpus.folder} has {len(corpus.valid)} validation molecules; prepare it with 2 or more")
    fabric = make_fabric(recipe.hardware)
    fabric.launch()
    with contextlib.ExitStack() as stack:
        if fabric.is_global_zero:
            stack.enter_context(only_writer(out, "this training"))
            claim(out, recipe)
        stop = stack.enter_context(defer_signals())
        _run(recipe, out, fabric, _Source(corpus, synthetic, start), stop, on_event or (lambda event: None))
    return out / "model"


def make_fabric(settings: HardwareSettings) -> Fabric:
    """Lightning Fabric on the device and in the precision that the settings ask for, or that there is."""
    gpu = torch.cuda.is_available()
    if settings.device == "cuda" and not gpu:
        raise TrainingError("there is no CUDA device here; take --device cpu, or auto")
    gpu = gpu and settings.device != "cpu"
    bf16 = torch.cuda.is_bf16_supported() if gpu else torch.cpu._is_avx512_bf16_supported()
    precision = settings.precision if settings.precision != "auto" else ("bf16-mixed" if bf16 else "32-true")
    try:
        return Fabric(
            accelerator="cuda" if gpu else "cpu",
            devices=settings.devices,
            num_nodes=settings.nodes,
            strategy=settings.strategy,
            precision=precision,
        )
    except MisconfigurationException as error:
        raise TrainingError(f"this machine does not fit the recipe's hardware: {error}") from error


class _Source(NamedTuple):
    """What a training is made from."""

    corpus: Corpus
    synthetic: Corpus | None
    start: SmilesVAE | None


def _run(
    recipe: TrainRecipe,
    out: Path,
    fabric: Fabric,
    source: _Source,
    stop: threading.Event,
    on_event: Callable[[TrainEvent], None],
) -> None:
    settings, world, rank = recipe.train, fabric.world_size, fabric.global_rank
    corpus, synthetic, start = source
    vae = _begin(recipe, corpus, start)
    plain = vae.net
    examples = _examples(recipe, corpus, synthetic, vae)
    batches, labels = LengthBatches(examples.texts, vae.vocab, settings.batch), examples.labels
    per_epoch = batches.steps // world
    if not per_epoch:
        raise TrainingError(f"{batches.steps} batches are too few for {world} devices")
    steps = per_epoch * settings.epochs
    if plain.heads is not None and recipe.start is None:
        plain.heads.standardise(labels)
    bare = settings.optimizer(plain)
    progress = load_state(out / "state.safetensors", plain, bare)
    if progress.step and progress.corpus != examples.digest:
        where = corpus.folder if recipe.synthetic is None else f"{corpus.folder} or {recipe.synthetic}"
        raise TrainingError(f"{where} has changed since {out} was begun; bring it back, or take a new --out")
    progress = replace(progress, corpus=examples.digest)
    descend = Descent(fabric, plain, bare, settings, steps)
    facts = _facts(recipe, corpus, fabric, start)
    facts["data"] |= examples.facts
    table = MetricsTable(out, progress.step) if fabric.is_global_zero else None
    started, saved = time.monotonic() - progress.seconds, time.monotonic()
    plain.train()
    order: list[Any] = []
    for step in range(progress.step, steps):
        epoch, place = divmod(step, per_epoch)
        if not order or place == 0:
            order = batches.epoch(recipe.seed, epoch)[rank::world][:per_epoch]
        tokens, rows = order[place]
        step_nll, step_kl = descend(tokens, labels[torch.from_numpy(rows).long()], recipe.seed, step, rank)
        progress = progress.after(step_nll, step_kl)
        progress = replace(progress, seconds=time.monotonic() - started)
        _refuse_divergence(settings, progress.step, step_nll, step_kl)
        figures = None
        last = progress.step == steps
        if last or progress.step % recipe.evaluate.every == 0:
            if table is not None:
                if last:
                    vae.prior = _fit_prior(recipe, vae, corpus)
                extra = {"beta": descend.beta(step), "epoch": (step + 1) / per_epoch}
                figures = _evaluate(recipe, vae, corpus, progress, extra)
                _refuse_divergence(settings, progress.step, figures["nll"], figures["kl"])
                table.add(figures)
                _refuse_collapse(figures, progress.step / steps)
                save_model(out / "model", vae, {**facts, **_moment(progress, figures)})
            progress = progress.evaluated()
            plain.train()
            fabric.barrier()
        interrupted = stop.is_set()
        if table is not None and (last or interrupted or time.monotonic() - saved >= recipe.checkpoint_seconds):
            save_state(out / "state.safetensors", plain, bare, progress)
            saved = time.monotonic()
        rate = progress.step * settings.batch * world / max(1e-9, progress.seconds)
        if table is not None:
            on_event(TrainEvent(progress.step, steps, rate, step_nll, step_kl, figures))
        if interrupted:
            raise KeyboardInterrupt
    if table is not None:
        table.close()


def _begin(recipe: TrainRecipe, corpus: Corpus, start: SmilesVAE | None) -> SmilesVAE:
    """The model before the first step: fresh weights, or those of ``start``."""
    known, longest = KnownMolecules.of(corpus.train), max(map(len, corpus.train + corpus.valid + corpus.test))
    longest = math.ceil(LONGER * longest)
    if start is None:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(recipe.seed)
            net = Net(recipe.net, len(corpus.vocab))
        return SmilesVAE(net, corpus.vocab, longest, known=known)
    if start.net.settings != recipe.net:
        theirs, ours = as_table(start.net.settings), as_table(recipe.net)
        other = ", ".join(
            f"net.{name} is {theirs[name]} there, {ours[name]} here" for name in ours if theirs[name] != ours[name]
        )
        raise TrainingError(f"the recipe's net is not that of the model {recipe.start} which it starts from: {other}")
    known = known if start.known is None else known | start.known
    return SmilesVAE(start.net, start.vocab, max(longest, start.longest), known=known)


def _readable(corpus: Corpus, start: SmilesVAE, name: str) -> Corpus:
    """What of the corpus the model ``start`` can write."""
    kept = corpus.within(start.vocab.characters)
    left_out = sum(len(getattr(corpus, part)) - len(getattr(kept, part)) for part in ("train", "valid", "test"))
    if left_out:
        log.warning("%d molecules of %s are left out: %s lacks their characters", left_out, corpus.folder, name)
    if not kept.train:
        raise TrainingError(f"the model {name} cannot write any molecule of {corpus.folder}; train without start")
    return kept


class _Examples(NamedTuple):
    """What is trained on: strings, their labels ``(n, properties)``; the digest of it all; facts of what was added."""

    texts: tuple[str, ...]
    labels: torch.Tensor
    digest: str
    facts: dict[str, Any]


def _examples(recipe: TrainRecipe, corpus: Corpus, synthetic: Corpus | None, vae: SmilesVAE) -> _Examples:
    """The training part and, of the synthetic molecules, those that the model can write and no part has."""
    labels = _labels(corpus, recipe.net.properties)
    if synthetic is None:
        return _Examples(corpus.train, labels, corpus.digest, {})
    held = {*corpus.train, *corpus.valid, *corpus.test}
    kept = [k for k, text in enumerate(synthetic.train) if text not in held and vae.reads(text)]
    found = torch.full((len(kept), labels.shape[1]), math.nan)
    for column, name in enumerate(recipe.net.properties):
        if name in synthetic.properties:
            found[:, column] = torch.from_numpy(synthetic.labels["train"][kept, synthetic.properties.index(name)])
    texts, digest = (*corpus.train, *(synthetic.train[k] for k in kept)), f"{corpus.digest} {synthetic.digest}"
    facts = {"molecules": len(kept), "digest": synthetic.digest, "source": synthetic.manifest.get("source")}
    return _Examples(texts, torch.cat([labels, found]), digest, {"synthetic": facts})


def _labels(corpus: Corpus, properties: tuple[str, ...]) -> torch.Tensor:
    """Labels of the training part, ``(n, properties)``."""
    missing = [name for name in properties if name not in corpus.properties]
    if missing:
        raise DataError(
            f"{corpus.folder} has no labels {', '.join(missing)} for net.properties; it has "
            f"{', '.join(corpus.properties) or 'none'}; `molvae data prepare … --label COLUMN --score NAME` adds them"
        )
    columns = [corpus.properties.index(name) for name in properties]
    return torch.from_numpy(corpus.labels["train"][:, columns])


def _fit_prior(recipe: TrainRecipe, vae: SmilesVAE, corpus: Corpus) -> Prior:
    """The recipe's prior, fitted to training molecules: to as many as say where the encoder puts them all."""
    order = np.random.default_rng(recipe.seed).permutation(len(corpus.train))[:PRIOR_MOLECULES]
    posterior = vae.encode_texts([corpus.train[row] for row in order])
    return recipe.prior.fit(posterior.mean, posterior.logvar, recipe.seed)


def _evaluate(
    recipe: TrainRecipe, vae: SmilesVAE, corpus: Corpus, progress: Progress, extra: dict[str, float]
) -> dict[str, float]:
    vae.net.eval()
    figures = asdict(
        evaluate(vae, corpus.valid[: recipe.evaluate.molecules], recipe.evaluate.molecules, seed=recipe.seed)
    )
    means = {"train_nll": progress.nll / progress.batches, "train_kl": progress.kl / progress.batches}
    return {"step": progress.step, "seconds": round(progress.seconds, 1), **extra, **means, **figures}


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
            f"step {figures['step']}, so the latent space says nothing about the molecules; take a smaller "
            f"train.beta.end (it is {figures['beta']:g} now), train.free_bits, or more epochs, in a new --out"
        )


def _facts(recipe: TrainRecipe, corpus: Corpus, fabric: Fabric, start: SmilesVAE | None) -> dict[str, Any]:
    data = {key: corpus.manifest.get(key) for key in ("source", "split", "rdkit")}
    data["counts"] = {part: len(getattr(corpus, part)) for part in ("train", "valid", "test")}
    before = {} if start is None else {"start": ancestor(str(recipe.start), start.fingerprint)}
    return {
        "name": recipe.name,
        **before,
        "data": {**data, "digest": corpus.digest},
        "recipe": as_table(recipe),
        "commit": card.commit(),
        "hardware": card.hardware(fabric.device, str(fabric._precision.precision)),
        "versions": card.versions(),
    }


def ancestor(model: str, weights: str) -> dict[str, Any]:
    """What is told of the model that a training went on from: the facts of its own training, and of which weights."""
    facts = {key: value for key, value in model_facts(model).items() if key != "evaluation"}
    return {"weights": weights, **facts}


def _moment(progress: Progress, figures: dict[str, float]) -> dict[str, Any]:
    names = ("nll", "kl", "active_units", "reconstruction", "validity_decoded", "validity_prior")
    metrics = {name: figures[name] for name in names}
    return {"step": progress.step, "seconds": progress.seconds, "metrics": metrics}
