"""What a training is made from, before its first step: molecules, labels, model, optimisers; and where it runs."""

import logging
import math
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from lightning_fabric import Fabric
from lightning_fabric.utilities.exceptions import MisconfigurationException
from torch import Tensor
from torch.optim import Optimizer

from molvae.config import as_table, differing_keys
from molvae.data.corpus import Corpus, LengthBatches
from molvae.data.training_index import KnownMolecules
from molvae.errors import DataError, TrainingError
from molvae.vae import card
from molvae.vae.folder import load_model, model_facts
from molvae.vae.model import SmilesVAE
from molvae.vae.nets.nets import Net
from molvae.vae.training.recipe import HardwareSettings, TrainRecipe

log = logging.getLogger("molvae")

LONGER = 1.2
"""A model writes strings up to this many times as long as the longest of its corpus."""


@dataclass(frozen=True, eq=False)
class Setup:
    """All that a training begins with, a pure function of its recipe and the files that this names.

    Attributes:
        recipe: what was asked for.
        corpus: what of the prepared corpus the model can write.
        vae: the model before the first step: fresh weights, or those of ``recipe.start``.
        optimizers: of its weights.
        texts: what is trained on: the corpus's training part, then synthetic molecules.
        labels: theirs, ``(len(texts), properties)``, NaN for missing.
        batches: of their tokens.
        digest: of the corpora; another one means other molecules.
        facts: what the model's card tells of all this.
    """

    recipe: TrainRecipe
    corpus: Corpus
    vae: SmilesVAE
    optimizers: list[Optimizer]
    texts: tuple[str, ...]
    labels: Tensor
    batches: LengthBatches
    digest: str
    facts: dict[str, Any]


def set_up(recipe: TrainRecipe) -> Setup:
    """Read what the recipe names, and make what it describes.

    Raises:
        DataError: a corpus is none, has nothing to validate on, or lacks labels.
        ModelError: the model to start from is none.
        TrainingError: that model is another than the recipe's, or cannot write any of the molecules.
    """
    corpus = Corpus.load(recipe.corpus)
    synthetic = None if recipe.synthetic is None else Corpus.load(recipe.synthetic)
    start = None if recipe.start is None else load_model(recipe.start)
    if start is not None:
        corpus = _readable(corpus, start, str(recipe.start))
    if len(corpus.valid) < 2:
        raise DataError(f"{corpus.folder} has {len(corpus.valid)} validation molecules; prepare it with 2 or more")
    vae = _model(recipe, corpus, start)
    examples = _examples(recipe, corpus, synthetic, vae)
    if vae.net.heads is not None and start is None:
        vae.net.heads.standardise(examples.labels)
    facts = _facts(recipe, corpus, start)
    facts["data"] |= examples.facts
    return Setup(
        recipe=recipe,
        corpus=corpus,
        vae=vae,
        optimizers=recipe.train.optimizer(vae.net),
        texts=examples.texts,
        labels=examples.labels,
        batches=LengthBatches(examples.texts, vae.vocab, recipe.train.batch),
        digest=examples.digest,
        facts=facts,
    )


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
            strategy=settings.strategy,
            precision=precision,
        )
    except MisconfigurationException as error:
        raise TrainingError(f"this machine does not fit the recipe's hardware: {error}") from error


def hardware_facts(fabric: Fabric) -> dict[str, Any]:
    """What the card tells of where it runs."""
    return card.hardware(fabric.device, str(fabric._precision.precision))


def ancestor(model: str, weights: str) -> dict[str, Any]:
    """What is told of the model that a training went on from: the facts of its own training, and of which weights."""
    facts = {key: value for key, value in model_facts(model).items() if key != "evaluation"}
    return {"weights": weights, **facts}


def _readable(corpus: Corpus, start: SmilesVAE, name: str) -> Corpus:
    """What of the corpus the model ``start`` can write."""
    kept = corpus.within(start.vocab.characters)
    left_out = sum(len(getattr(corpus, part)) - len(getattr(kept, part)) for part in ("train", "valid", "test"))
    if left_out:
        log.warning("%d molecules of %s are left out: %s lacks their characters", left_out, corpus.folder, name)
    if not kept.train:
        raise TrainingError(f"the model {name} cannot write any molecule of {corpus.folder}; train without start")
    return kept


def _model(recipe: TrainRecipe, corpus: Corpus, start: SmilesVAE | None) -> SmilesVAE:
    """The model before the first step: fresh weights, or those of ``start``."""
    index, longest = KnownMolecules.of(corpus.train), max(map(len, corpus.train + corpus.valid + corpus.test))
    longest = math.ceil(LONGER * longest)
    if start is None:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(recipe.seed)
            net = Net(recipe.net, len(corpus.vocab))
        return SmilesVAE(net, corpus.vocab, longest, known=index)
    if start.net.settings != recipe.net:
        other = ", ".join(differing_keys(as_table(start.net.settings), as_table(recipe.net), "net."))
        raise TrainingError(
            f"the recipe's net is not that of the model {recipe.start} which it starts from (there → here): {other}"
        )
    index = index if start.known is None else index | start.known
    return SmilesVAE(start.net, start.vocab, max(longest, start.longest), known=index)


class _Examples(NamedTuple):
    """What is trained on: strings, their labels ``(n, properties)``; the digest of it all; facts of what was added."""

    texts: tuple[str, ...]
    labels: Tensor
    digest: str
    facts: dict[str, Any]


def _examples(recipe: TrainRecipe, corpus: Corpus, synthetic: Corpus | None, vae: SmilesVAE) -> _Examples:
    """The training part and, of the synthetic molecules, those that the model can write and no part has."""
    labels = _labels(corpus, recipe.net.properties)
    if synthetic is None:
        return _Examples(corpus.train, labels, corpus.digest, {})
    in_corpus = {*corpus.train, *corpus.valid, *corpus.test}
    kept = [k for k, text in enumerate(synthetic.train) if text not in in_corpus and vae.reads(text)]
    found = torch.full((len(kept), labels.shape[1]), math.nan)
    for column, name in enumerate(recipe.net.properties):
        if name in synthetic.properties:
            found[:, column] = torch.from_numpy(synthetic.labels["train"][kept, synthetic.properties.index(name)])
    texts, digest = (*corpus.train, *(synthetic.train[k] for k in kept)), f"{corpus.digest} {synthetic.digest}"
    facts = {"molecules": len(kept), "digest": synthetic.digest, "source": synthetic.manifest.get("source")}
    return _Examples(texts, torch.cat([labels, found]), digest, {"synthetic": facts})


def _labels(corpus: Corpus, properties: tuple[str, ...]) -> Tensor:
    """Labels of the training part, ``(n, properties)``."""
    missing = [name for name in properties if name not in corpus.properties]
    if missing:
        raise DataError(
            f"{corpus.folder} has no labels {', '.join(missing)} for net.properties; it has "
            f"{', '.join(corpus.properties) or 'none'}; `molvae data prepare … --label COLUMN --score NAME` adds them"
        )
    columns = [corpus.properties.index(name) for name in properties]
    return torch.from_numpy(corpus.labels["train"][:, columns])


def _facts(recipe: TrainRecipe, corpus: Corpus, start: SmilesVAE | None) -> dict[str, Any]:
    data = {key: corpus.manifest.get(key) for key in ("source", "split", "rdkit")}
    data["counts"] = {part: len(getattr(corpus, part)) for part in ("train", "valid", "test")}
    before = {} if start is None else {"start": ancestor(str(recipe.start), start.fingerprint)}
    return {
        "name": recipe.name,
        **before,
        "data": {**data, "digest": corpus.digest},
        "recipe": as_table(recipe),
        "commit": card.commit(),
        "versions": card.versions(),
    }
