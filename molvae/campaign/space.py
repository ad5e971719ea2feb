"""What a campaign knows of a model: strings to points and back. Each latent dimension has a spread of about 1."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Protocol

import numpy as np
import numpy.typing as npt

from molvae.data.training_index import KnownMolecules

if TYPE_CHECKING:  # the protocol is also for those who never load torch
    from molvae.vae.model import SmilesVAE

Points = npt.NDArray[np.float32]
"""(n, latent) float32."""


class Space(Protocol):
    """A model as a campaign sees it. Every method is a pure function of its arguments."""

    @property
    def latent(self) -> int:
        """Number of latent dimensions."""

    @property
    def fingerprint(self) -> str:
        """Tells one set of weights from another."""

    @property
    def training_index(self) -> KnownMolecules | None:
        """What the model was trained on, where that was recorded."""

    def can_encode(self, smiles: str) -> bool:
        """Whether `encode` takes this text."""

    def encode(self, smiles: Sequence[str]) -> Points:
        """Posterior means, (n, latent)."""

    def decode(self, z: Points) -> list[str]:
        """The text for each point, without chance (greedy); not all of them are valid."""

    def sample(self, n: int, seed: int) -> list[str]:
        """Texts, likewise, for ``n`` points drawn from the model's prior."""


class LatentSpace:
    """The space of a trained model."""

    def __init__(self, model: "SmilesVAE") -> None:
        self.model = model

    @classmethod
    def load(cls, name_or_folder: str) -> "LatentSpace":
        """The space of an installed model or a model folder."""
        from molvae.vae.folder import load_model

        return cls(load_model(name_or_folder))

    @property
    def latent(self) -> int:
        """Number of latent dimensions."""
        return self.model.latent

    @property
    def fingerprint(self) -> str:
        """Hash of the weights."""
        return self.model.fingerprint

    @property
    def training_index(self) -> KnownMolecules | None:
        """What the model was trained on, where that was recorded."""
        return self.model.known

    def can_encode(self, smiles: str) -> bool:
        """Whether the vocabulary has all characters, and the model reads texts of this length."""
        return self.model.reads(smiles)

    def encode(self, smiles: Sequence[str]) -> Points:
        """Posterior means, (n, latent)."""
        return np.asarray(self.model.encode_texts(smiles).mean.numpy(), dtype=np.float32)

    def decode(self, z: Points) -> list[str]:
        """What the decoder alone writes: mending the rest would take longer than decoding as many more points."""
        import torch

        return self.model.decode(torch.from_numpy(z), grammar=False)

    def sample(self, n: int, seed: int) -> list[str]:
        """Greedy decoding, with the grammar, of points drawn from the model's prior."""
        return self.model.sample(n, seed=seed)


class CachedSpace:
    """A space that encodes each text once.

    Args:
        space: whose word it takes for all else.
        points: what it remembers to begin with, by text.
    """

    def __init__(self, space: Space, points: Mapping[str, Points]) -> None:
        self._space, self._points = space, dict(points)
        self.latent, self.fingerprint, self.training_index = space.latent, space.fingerprint, space.training_index
        self.can_encode, self.decode, self.sample = space.can_encode, space.decode, space.sample

    def encode(self, smiles: Sequence[str]) -> Points:
        """Posterior means, (n, latent)."""
        missing = [text for text in dict.fromkeys(smiles) if text not in self._points]
        if missing:
            self._points.update(zip(missing, self._space.encode(missing), strict=True))
        return np.stack([self._points[text] for text in smiles])
