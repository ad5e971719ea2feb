"""The settings of a training, as a recipe file has them."""

from pathlib import Path
from typing import Annotated, ClassVar, Literal

from pydantic import Field, model_validator

from molvae.config import Component
from molvae.vae.nets.nets import NetSettings
from molvae.vae.prior import PRIORS, PriorSettings, StandardNormal
from molvae.vae.training.losses import ELBO, LOSSES, Loss
from molvae.vae.training.optimizers import OPTIMIZERS, AdamWSettings, OptimizerSettings


class TrainSettings(Component):
    """How the weights are fitted."""

    REMOVED: ClassVar = {"free_bits": 0.0}

    epochs: int = Field(10, ge=1, description="passes through all molecules")
    batch: int = Field(256, ge=1, description="molecules in a step, on each device")
    optimizer: Annotated[OptimizerSettings, OPTIMIZERS] = AdamWSettings()
    warmup: float = Field(0.02, ge=0, lt=1, description="share of the training in which the learning rate rises")
    hold: float = Field(0.0, ge=0, lt=1, description="share of the training after which it falls, if later than that")
    clip: float = Field(1.0, gt=0, description="largest norm of the gradient")
    loss: Annotated[Loss, LOSSES] = ELBO()


class EvaluateSettings(Component):
    """When and on how much the training is evaluated."""

    every: int = Field(1000, ge=1, description="steps")
    molecules: int = Field(1000, ge=2, description="of the validation part, and as many prior samples")


class HardwareSettings(Component):
    """Where it runs. ``auto`` takes a GPU where there is one, and bfloat16 where the processor computes in it."""

    REMOVED: ClassVar = {"nodes": 1}

    device: Literal["auto", "cpu", "cuda"] = Field("auto", description="of the training")
    precision: Literal["auto", "32-true", "bf16-mixed"] = Field("auto", description="float32, or bfloat16 in products")
    devices: int = Field(1, ge=1, description="of this machine")
    strategy: Literal["auto", "ddp"] = Field("auto", description="of Lightning Fabric; 'ddp' for several devices")


class TrainRecipe(Component):
    """A training: `molvae train RECIPE --out FOLDER`."""

    ALIASES: ClassVar = {
        **{f"net.{old}": f"net.{new}" for old, new in NetSettings.ALIASES.items()},
        "train.beta": "train.loss.beta",
        "train.astray": "train.loss.latent_noise.share",
        "train.astray_noise": "train.loss.latent_noise.sd",
        "train.astray_weight": "train.loss.latent_noise.weight",
        "train.property_weights": "train.loss.property_weights",
    }

    name: str = Field("model", min_length=1, description="of the model, for its card")
    seed: int = Field(0, ge=0, description="of every draw")
    corpus: Path = Field(description="a folder made by `molvae data prepare`")
    synthetic: Path | None = Field(
        None, description="another such folder, of molecules that a model made: its train part is trained on as well"
    )
    start: str | None = Field(None, description="a model to go on from: its folder, or the name of an installed one")
    net: NetSettings = NetSettings()
    train: TrainSettings = TrainSettings()
    prior: Annotated[PriorSettings, PRIORS] = StandardNormal()
    evaluate: EvaluateSettings = EvaluateSettings()
    hardware: HardwareSettings = HardwareSettings()
    checkpoint_seconds: float = Field(60.0, ge=0, description="time between two saves of the state")

    @model_validator(mode="after")
    def _weights_have_properties(self) -> "TrainRecipe":
        weighted = self.train.loss.property_weights if isinstance(self.train.loss, ELBO) else {}
        for name in weighted:
            if name not in self.net.properties:
                raise ValueError(f"train.loss.property_weights names {name!r}; net.properties: {self.net.properties}")
        return self
