"""Lessons: during a campaign the model is fine-tuned on the best molecules found, so that it can write their like."""

import logging
import time
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path

import numpy as np
import numpy.typing as npt
from pydantic import Field

from molvae.bo.pareto import best_first
from molvae.campaign.record.state import State
from molvae.campaign.space import LatentSpace, Space
from molvae.chem.molecule import parse_or_none
from molvae.config import Component
from molvae.errors import RecipeError
from molvae.folders import MANIFEST, sha256

log = logging.getLogger("molvae")

Matrix = npt.NDArray[np.float64]


class Learning(Component):
    """When the model is fine-tuned, and on what.

    Each lesson begins at the recipe's model and depends only on the records that there were when it was due, so no
    lesson needs the one before it, and one that was lost is given again. A search that begins again does so with the
    recipe's model, and its lessons are about what it found itself. Part of a lesson are molecules that the model wrote
    itself, which stand for what it was trained on, so that it forgets little of that [H. Shin et al., NeurIPS 2017,
    "generative replay"].

    Attributes:
        every: proposals between two lessons, start molecules not counted; 0 for no lessons.
        best: molecules that a lesson is about.
        drawn: how many it reads, drawn from these with weight 1 / rank.
        replay: how many samples of its prior it reads.
        rate: highest learning rate of AdamW.
        beta: weight of the KL: best that at the end of the model's own training.
    """

    every: int = Field(default=0, ge=0)
    best: int = Field(default=100, ge=1)
    drawn: int = Field(default=750, ge=1)
    replay: int = Field(default=750, ge=0)
    rate: float = Field(default=1e-4, gt=0)
    beta: float = Field(default=0.02, ge=0)

    def due(self, state: State) -> int:
        """The latest lesson, counted from 1; 0 where there was none since the search last began."""
        lesson = len(_guided(state)) // self.every if self.every else 0
        return lesson if lesson and self._then(state, lesson) >= state.life.records[0].proposal.call else 0

    def __call__(self, space: Space, model: str, state: State, Y: Matrix, seed: int, folder: Path) -> Space:
        """The space by which the next round is proposed; its model lies in the folder, unless no lesson is due.

        Args:
            model: name or folder of the model of ``space``.
            Y: merits of the observed molecules, ``(n, improved)``.
            folder: each lesson leaves a model folder in it, "0001", "0002", and so on.

        Raises:
            RecipeError: a lesson is due, and the space has no weights.
        """
        lesson = self.due(state)
        if not lesson:
            return space
        taught = folder / f"{lesson:04d}"
        if not (taught / MANIFEST).exists():
            if not isinstance(space, LatentSpace):
                raise RecipeError("learning.every is for campaigns with a model that can be trained; set it to 0")
            self._teach(space, model, self._texts(space, self._best(state, Y, lesson), seed), seed, taught)
        return _loaded(taught, sha256(taught / MANIFEST))

    def _best(self, state: State, Y: Matrix, lesson: int) -> list[str]:
        """The best molecules that the search knew when the lesson was due, best first."""
        first, then = state.life.records[0].proposal.call, self._then(state, lesson)
        rows = [k for k, record in enumerate(state.observed) if first <= record.proposal.call <= then]
        return [state.observed[rows[k]].proposal.smiles for k in best_first(Y[rows])[: self.best]]

    def _then(self, state: State, lesson: int) -> int:
        """The call that the lesson was due after."""
        return _guided(state)[lesson * self.every - 1]

    def _texts(self, space: Space, best: Sequence[str], seed: int) -> list[str]:
        """What a lesson reads."""
        rng = np.random.default_rng(seed)
        odds = 1 / np.arange(1, len(best) + 1)
        odds /= odds.sum()
        drawn = [best[k] for k in rng.choice(len(best), self.drawn, p=odds)]
        written = [parse_or_none(text) for text in space.sample(self.replay, seed)]
        return [*drawn, *(one.smiles for one in written if one is not None and space.knows(one.smiles))]

    def _teach(self, space: LatentSpace, model: str, texts: Sequence[str], seed: int, folder: Path) -> None:
        from molvae.vae.folder import save_model
        from molvae.vae.training.finetune import facts, finetune, finetune_settings

        began = time.monotonic()
        settings = finetune_settings(self.rate, self.beta)
        tuned = finetune(space.model, texts, settings, seed)
        seconds = time.monotonic() - began
        save_model(folder, tuned, facts(space.model, model, texts, settings, seconds))
        log.info("lesson %s: %d texts in %.1f s", folder.name, len(texts), seconds)


@lru_cache(maxsize=1)
def _loaded(folder: Path, digest: str) -> LatentSpace:
    """What a lesson has left; the digest of its manifest tells it from another campaign's in the same place."""
    return LatentSpace.load(str(folder))


def _guided(state: State) -> list[int]:
    """Calls of molecules that no search began with."""
    return [record.proposal.call for record in state.records if not record.proposal.start]
