"""Models without weights, for tests of what is measured: how each reads and writes is known, so the figures are too."""

import torch

from molvae.chem.molecule import Molecule
from molvae.chem.objectives import named
from molvae.data.vocab import Vocab
from molvae.vae.model import Posterior
from molvae.vae.nets.nets import Terms

INVALID = "C1CC("
SURE = -30.0
"""A log-variance that leaves no noise."""


class Wide:
    """A prior that is no standard normal: twice as wide, around 1."""

    def __init__(self, latent: int) -> None:
        self.latent = latent

    def sample(self, n: int, seed: int = 0) -> torch.Tensor:
        return 1 + 2 * torch.randn(n, self.latent, generator=torch.Generator().manual_seed(seed))

    def log_prob(self, z: torch.Tensor) -> torch.Tensor:
        return torch.distributions.Normal(1.0, 2.0).log_prob(z).sum(-1)


class Perfect:
    """Each molecule has a point drawn from the prior; a point decodes to the molecule of the nearest."""

    known = None
    fingerprint = "double"
    longest = 100
    device = torch.device("cpu")
    properties = ("logP", "activity")

    def __init__(self, smiles, latent: int = 4) -> None:
        self.smiles, self.latent = list(smiles), latent
        self.vocab, self.prior = Vocab.of(self.smiles), Wide(latent)
        self.points = self.prior.sample(len(self.smiles), seed=77)
        self.rows = {text: row for row, text in enumerate(self.smiles)}

    def reads(self, text: str) -> bool:
        return text in self.rows

    def encode_texts(self, texts) -> Posterior:
        mean = self.points[[self.rows[text] for text in texts]].reshape(-1, self.latent)
        return Posterior(mean, torch.full_like(mean, SURE))

    def decode(self, z, temperature=None, seed=0, grammar=True) -> list[str]:
        return [self.smiles[row] for row in torch.cdist(z, self.points).argmin(1).tolist()] if len(z) else []

    def sample(self, n, seed=0, temperature=None, grammar=True) -> list[str]:
        return self.decode(self.prior.sample(n, seed), temperature, seed + 1, grammar)

    def net(self, tokens, noise) -> Terms:
        nll = torch.full((len(tokens),), 3.0)
        return Terms(nll, torch.full((len(tokens), self.latent), 0.5), torch.zeros(0))

    def predict(self, z) -> torch.Tensor:
        """logP too high by a half; of the activity nothing."""
        logp = [named("logP").evaluate(Molecule.parse(text)) + 0.5 for text in Perfect.decode(self, z)]
        return torch.stack([torch.tensor(logp), torch.zeros(len(z))], 1)


class Sloppy(Perfect):
    """Without the grammar, what lies below 1 in the first dimension (half of the prior) is no molecule."""

    def decode(self, z, temperature=None, seed=0, grammar=True) -> list[str]:
        texts = super().decode(z)
        return [t if grammar or x >= 1 else INVALID for t, x in zip(texts, z[:, 0].tolist(), strict=True)]


class Unsteady(Perfect):
    """Drawn, every second decoding goes wrong; greedy none does."""

    def decode(self, z, temperature=None, seed=0, grammar=True) -> list[str]:
        texts = super().decode(z)
        return texts if temperature is None or seed % 2 else ["C" for _ in texts]


class Collapsed(Perfect):
    """The posterior is the prior whatever the molecule, so what was read is lost."""

    def encode_texts(self, texts) -> Posterior:
        mean = torch.ones(len(texts), self.latent)
        return Posterior(mean, torch.full_like(mean, 4.0).log())


class Stuck(Perfect):
    """Writes the same molecule whatever the point."""

    def decode(self, z, temperature=None, seed=0, grammar=True) -> list[str]:
        return [self.smiles[0] for _ in z]


class Mute(Perfect):
    """Never writes a molecule."""

    def decode(self, z, temperature=None, seed=0, grammar=True) -> list[str]:
        return [INVALID for _ in z]


class Shrunk(Perfect):
    """The molecules lie in a corner of the prior."""

    def __init__(self, smiles, latent: int = 4) -> None:
        super().__init__(smiles, latent)
        self.points = 1 + 0.1 * (self.points - 1)
