"""What moves the weights: AdamW, or Muon for the matrices of the GRU layers and AdamW for the rest."""

from collections.abc import Sequence
from typing import Literal, Protocol

from pydantic import Field
from torch.optim import AdamW, Muon, Optimizer

from molvae.config import Component
from molvae.errors import TrainingError
from molvae.registry import Registry
from molvae.vae.nets.nets import Net


class OptimizerSettings(Protocol):
    """What a recipe says of what moves the weights."""

    @property
    def learning_rate(self) -> float:
        """The highest one, of most weights."""

    def __call__(self, net: Net) -> list[Optimizer]:
        """PyTorch's optimisers, each weight of the network in one of them, at their highest learning rates.

        Their moments have to be tensors, for a training to go on from them.
        """


class AdamWSettings(Component):
    """Loshchilov and Hutter 2019, for all weights."""

    kind: Literal["adamw"] = "adamw"
    learning_rate: float = Field(2e-3, gt=0, description="at its peak")
    weight_decay: float = Field(0.0, ge=0, description="decoupled, times the learning rate")

    def __call__(self, net: Net) -> list[Optimizer]:
        """See `OptimizerSettings`."""
        return [AdamW(net.parameters(), lr=self.learning_rate, weight_decay=self.weight_decay, fused=True)]


class MuonSettings(Component):
    """Jordan et al. 2024: the momentum of each GRU matrix is made orthogonal before it moves it; AdamW for the rest.

    A matrix moves as far in a step as by AdamW at the same learning rate (Liu et al. 2025), but bears a larger one.
    """

    kind: Literal["muon"] = "muon"
    learning_rate: float = Field(3e-3, gt=0, description="of the GRU matrices")
    others: float = Field(1e-3, gt=0, description="learning rate of all other weights")
    weight_decay: float = Field(0.0, ge=0, description="decoupled, times the learning rate")

    def __call__(self, net: Net) -> list[Optimizer]:
        """See `OptimizerSettings`.

        Raises:
            TrainingError: there is no GRU layer, in encoders and decoders of one's own for instance.
        """
        matrices = [weights for name, weights in net.named_parameters() if ".gru.weight" in name]
        if not matrices:
            raise TrainingError(
                'the optimizer "muon" is for the matrices of GRU layers; this net has none: take "adamw"'
            )
        others = [weights for name, weights in net.named_parameters() if ".gru.weight" not in name]
        return [
            Muon(matrices, lr=self.learning_rate, weight_decay=self.weight_decay, adjust_lr_fn="match_rms_adamw"),
            AdamW(others, lr=self.others, weight_decay=self.weight_decay, fused=True),
        ]


OPTIMIZERS = Registry("optimizer", OptimizerSettings, (AdamWSettings, MuonSettings))


def set_rate(optimizers: Sequence[Optimizer], factor: float) -> None:
    """Set each learning rate to ``factor`` times its highest."""
    for optimizer in optimizers:
        for group in optimizer.param_groups:
            group["lr"] = factor * group.setdefault("initial_lr", group["lr"])
