"""Periodic retraining: the model is fine-tuned on the best molecules found, so that it can write their like."""

import logging
import time
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path

import numpy as np
from pydantic import Field

from molvae.bo.pareto import best_first
from molvae.campaign.propose.method import Context
from molvae.campaign.record.state import State
from molvae.campaign.space import LatentSpace, Space
from molvae.chem.molecule import parse_or_none
from molvae.config import Component
from molvae.errors import RecipeError
from molvae.folders import MANIFEST, sha256

log = logging.getLogger("molvae")


class Retraining(Component):
    """Periodic retraining: when the model is fine-tuned, and on what.

    Each retraining begins at the recipe's model and depends only on the records that there were when it was due, so
    none needs the one before it, and one that was lost is made again. A search that begins again does so with the
    recipe's model, and is retrained on what it found itself. Part of what is read are molecules that the model wrote
    itself, which stand for what it was trained on, so that it forgets little of that [H. Shin et al., NeurIPS 2017,
    "generative replay"].

    Attributes:
        every: proposals between two retrainings, start molecules not counted; 0 for none.
        best: the best molecules so far, from which those that are read are sampled.
        sampled: how many are read, sampled from these with weight 1 / rank.
        replay: how many samples of its prior are read.
        learning_rate: highest learning rate of AdamW.
        beta: weight of the KL: best that at the end of the model's own training.
    """

    every: int = Field(default=0, ge=0)
    best: int = Field(default=100, ge=1)
    sampled: int = Field(default=750, ge=1)
    replay: int = Field(default=750, ge=0)
    learning_rate: float = Field(default=1e-4, gt=0)
    beta: float = Field(default=0.02, ge=0)

    def latest(self, state: State) -> int:
        """Number of the latest retraining, from 1; 0 where there was none since the last restart."""
        number = len(_guided(state)) // self.every if self.every else 0
        return number if number and self._due_after(state, number) >= state.episode.records[0].proposal.call else 0

    def __call__(self, context: Context) -> tuple[Space, tuple[tuple[str, str], ...]]:
        """The space by which the next round is proposed, and what pins its weights; the context's where none is due.

        Each retraining leaves a model folder in the context's folder: "0001", "0002", and so on.

        Raises:
            RecipeError: one is due, and the space has no weights.
        """
        number = self.latest(context.state)
        if not number:
            return context.space, ()
        folder = context.folder / f"{number:04d}"
        if not (folder / MANIFEST).exists():
            if not isinstance(context.space, LatentSpace):
                raise RecipeError("method.retrain.every is for models that can be trained; set it to 0")
            texts = self._texts(context.space, self._best(context, number), context.seed)
            self._finetune(context.space, context.model, texts, context.seed, folder)
        space = _loaded(folder, sha256(folder / MANIFEST))
        return space, ((f"retraining {number}", space.fingerprint),)

    def _best(self, context: Context, number: int) -> list[str]:
        """The best molecules that the search knew when the retraining was due, best first."""
        state, then = context.state, self._due_after(context.state, number)
        first = state.episode.records[0].proposal.call
        rows = [k for k, record in enumerate(state.observed) if first <= record.proposal.call <= then]
        return [state.observed[rows[k]].proposal.smiles for k in best_first(context.merits[rows])[: self.best]]

    def _due_after(self, state: State, number: int) -> int:
        """The call that the retraining was due after."""
        return _guided(state)[number * self.every - 1]

    def _texts(self, space: Space, best: Sequence[str], seed: int) -> list[str]:
        """What is read."""
        rng = np.random.default_rng(seed)
        odds = 1 / np.arange(1, len(best) + 1)
        odds /= odds.sum()
        sampled = [best[k] for k in rng.choice(len(best), self.sampled, p=odds)]
        written = [parse_or_none(text) for text in space.sample(self.replay, seed)]
        return [*sampled, *(one.smiles for one in written if one is not None and space.can_encode(one.smiles))]

    def _finetune(self, space: LatentSpace, model: str, texts: Sequence[str], seed: int, folder: Path) -> None:
        from molvae.vae.folder import save_model
        from molvae.vae.training.finetune import facts, finetune, finetune_settings

        began = time.monotonic()
        settings = finetune_settings(self.learning_rate, self.beta)
        tuned = finetune(space.model, texts, settings, seed)
        seconds = time.monotonic() - began
        save_model(folder, tuned, facts(space.model, model, texts, settings, seconds))
        log.info("retraining %s: %d texts in %.1f s", folder.name, len(texts), seconds)


@lru_cache(maxsize=1)
def _loaded(folder: Path, digest: str) -> LatentSpace:
    """What a retraining left; the digest of its manifest tells it from another campaign's in the same place."""
    return LatentSpace.load(str(folder))


def _guided(state: State) -> list[int]:
    """Calls of molecules that no search began with."""
    return [record.proposal.call for record in state.records if not record.proposal.start]
