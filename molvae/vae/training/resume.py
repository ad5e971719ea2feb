"""The state of a training in one safetensors file, so that it goes on exactly where it was."""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save

from molvae.errors import TrainingError
from molvae.folders import write_atomic
from molvae.vae.nets.nets import Net


@dataclass(frozen=True)
class Progress:
    """Where a training is, and the sums since its last evaluation.

    Attributes:
        step: steps done.
        seconds: spent so far, over all starts.
        nll, kl: sums of the batch means since the last evaluation.
        batches: how many they sum.
        corpus: digest of the corpus it is trained on.
    """

    step: int = 0
    seconds: float = 0.0
    nll: float = 0.0
    kl: float = 0.0
    batches: int = 0
    corpus: str = ""

    def after(self, nll: float, kl: float, seconds: float) -> "Progress":
        """One step later, so many seconds since the beginning."""
        nll, kl = self.nll + nll, self.kl + kl
        return replace(self, step=self.step + 1, seconds=seconds, nll=nll, kl=kl, batches=self.batches + 1)

    def evaluated(self) -> "Progress":
        """With the sums emptied."""
        return replace(self, nll=0.0, kl=0.0, batches=0)


def save_state(path: Path, net: Net, optimizers: Sequence[torch.optim.Optimizer], progress: Progress) -> None:
    """Write weights, optimisers' moments and progress, all or nothing."""
    tensors = {f"net.{key}": value for key, value in net.state_dict().items()}
    for number, optimizer in enumerate(optimizers):
        for k, moments in optimizer.state_dict()["state"].items():
            tensors |= {f"optimizer.{number}.{k}.{key}": value for key, value in moments.items()}
    tensors = {key: value.detach().cpu().contiguous() for key, value in tensors.items()}
    write_atomic(path, save(tensors, {"progress": json.dumps(asdict(progress))}))


def load_state(path: Path, net: Net, optimizers: Sequence[torch.optim.Optimizer]) -> Progress:
    """Read back what `save_state` wrote; a first start where there is no file.

    Raises:
        TrainingError: the file is damaged or of another network.
    """
    if not path.exists():
        return Progress()
    try:
        with safe_open(path, "pt") as file:
            progress = Progress(**json.loads(file.metadata()["progress"]))
            # copies: what is mapped would change with the file
            tensors = {key: file.get_tensor(key).clone() for key in file.keys()}  # noqa: SIM118 (not a dict)
        net.load_state_dict({k.removeprefix("net."): v for k, v in tensors.items() if k.startswith("net.")})
    except (SafetensorError, RuntimeError, KeyError, TypeError, ValueError, OSError) as error:
        raise TrainingError(f"{path} cannot be read: {error}; remove it to start from the beginning") from error
    for number, optimizer in enumerate(optimizers):
        moments: dict[int, dict[str, torch.Tensor]] = {}
        for key, value in tensors.items():
            if key.startswith(f"optimizer.{number}."):
                _, _, k, name = key.split(".")
                moments.setdefault(int(k), {})[name] = value
        optimizer.load_state_dict({**optimizer.state_dict(), "state": moments})
    return progress
