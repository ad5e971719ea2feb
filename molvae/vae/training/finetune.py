"""Fine-tuning: a copy of a model that has gone once more through some molecules."""

import copy
from collections.abc import Sequence
from typing import Any

from molvae.config import as_table
from molvae.data.corpus import LengthBatches
from molvae.vae import card
from molvae.vae.model import SmilesVAE
from molvae.vae.training.losses import ELBO, LatentNoise
from molvae.vae.training.optimizers import AdamWSettings
from molvae.vae.training.recipe import HardwareSettings, TrainSettings
from molvae.vae.training.schedules import LinearBeta
from molvae.vae.training.setup import ancestor, hardware_facts, make_fabric
from molvae.vae.training.step import TrainingStep

HERE = HardwareSettings(device="cpu")
NOISE = LatentNoise(share=0.1, weight=0.2)
"""That of `pipelines/refine_zinc250k.toml`."""


def finetune_settings(learning_rate: float, beta: float) -> TrainSettings:
    """Once through the molecules, in batches of 64, by AdamW, with latent noise.

    Args:
        learning_rate: the highest.
        beta: weight of the KL, the same all along: best that at the end of the model's own training.
    """
    return TrainSettings(
        epochs=1,
        batch=64,
        optimizer=AdamWSettings(learning_rate=learning_rate),
        loss=ELBO(beta=LinearBeta(start=beta, end=beta), latent_noise=NOISE),
    )


def finetune(vae: SmilesVAE, texts: Sequence[str], settings: TrainSettings, seed: int) -> SmilesVAE:
    """A copy that was trained on these texts for ``settings.epochs``; the property heads stay as they are.

    It has no fingerprint before it is saved. Like a training, it is a pure function of its arguments: same machine,
    same number of threads.

    Args:
        texts: such as the model reads; each counts as often as it is given.
    """
    net = copy.deepcopy(vae.net)
    batches = LengthBatches(tuple(texts), vae.vocab, settings.batch)
    take_step = TrainingStep(make_fabric(HERE), net, settings.optimizer(net), settings, batches.steps * settings.epochs)
    net.train()
    for epoch in range(settings.epochs):
        for place, batch in enumerate(batches.epoch(seed, epoch)):
            take_step(batch.tokens, None, seed, epoch * batches.steps + place)
    return SmilesVAE(net, vae.vocab, vae.longest, known=vae.known, prior=vae.prior)


def facts(vae: SmilesVAE, model: str, texts: Sequence[str], settings: TrainSettings, seconds: float) -> dict[str, Any]:
    """What the card of a fine-tuned model tells.

    Args:
        vae, model: what it was made of, and the name or folder of that.
    """
    return {
        "name": f"{model}, fine-tuned",
        "start": ancestor(model, vae.fingerprint),
        "data": {"counts": {"train": len(texts)}},
        "recipe": as_table(settings),
        "commit": card.commit(),
        "hardware": hardware_facts(make_fabric(HERE)),
        "versions": card.versions(),
        "seconds": seconds,
        "step": settings.epochs * LengthBatches(tuple(texts), vae.vocab, settings.batch).steps,
    }
