"""How fast a training goes, and how far from what its matrix products alone must cost.

    python scripts/bench_train.py                              # the recipe that ships, random strings of ZINC's lengths
    python scripts/bench_train.py --threads 1 --steps 20
    python scripts/bench_train.py --reach 0.95 --corpus data/zinc250k/prepared   # seconds to 95 %

Steps and bare products of the same shapes alternate in one run; the fastest of each counts, for a machine is never
quite idle. Products: what the arithmetic cannot do without, h W of each GRU step, its two gradients, and the logits.
"""

import argparse
import resource
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch

from molvae import TrainRecipe, read_recipe, train
from molvae.vae.card import hardware
from molvae.vae.nets.gru_layer import kernel
from molvae.vae.nets.nets import Net
from molvae.vae.training.losses import LossBatch
from molvae.vae.training.optimizers import set_rate

RECIPE = Path(__file__).resolve().parent.parent / "pipelines" / "train_zinc250k.toml"
CHARACTERS, LENGTH, MOLECULES = 36, 44, 220_010
"""Of ZINC-250k: characters with start and end, mean length, molecules trained on."""


def main() -> None:
    """Parse, measure, print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--recipe", type=Path, default=RECIPE)
    parser.add_argument("--steps", type=int, default=15, help="of each kind")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--device", choices=["cpu", "cuda"], default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--reach", type=float, help="train by the recipe until this reconstruction instead")
    parser.add_argument("--corpus", help="for --reach")
    asked = parser.parse_args()
    torch.set_num_threads(asked.threads)
    overrides = [f'corpus="{asked.corpus}"'] if asked.corpus else []
    recipe = read_recipe(asked.recipe, TrainRecipe, overrides)
    if asked.reach:
        reach(recipe, asked.reach)
        return
    for dtype in (torch.bfloat16, torch.float32):
        measure(recipe, torch.device(asked.device), dtype, asked.steps)
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (1024 if sys.platform == "linux" else 1024**2)
    print(f"peak memory {memory:,.0f} MiB", end="")
    print(f", on the GPU {torch.cuda.max_memory_allocated() / 2**20:,.0f} MiB" if asked.device == "cuda" else "")


def measure(recipe: TrainRecipe, device: torch.device, dtype: torch.dtype, steps: int) -> None:
    """One line of figures for a precision."""
    torch.manual_seed(0)
    batch = recipe.train.batch
    net = Net(recipe.net, CHARACTERS).to(device)
    optimizers = recipe.train.optimizer(net)
    set_rate(optimizers, 1e-3)
    tokens = torch.randint(2, CHARACTERS, (batch, LENGTH), device=device)
    labels = torch.randn(batch, len(recipe.net.properties), device=device)
    rng = np.random.default_rng(0)

    def step() -> None:
        with torch.autocast(device.type, dtype, enabled=dtype != torch.float32):
            loss = recipe.train.loss(net, LossBatch(tokens, labels), rng, 0.5).loss
        for optimizer in optimizers:
            optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(net.parameters(), recipe.train.clip)
        for optimizer in optimizers:
            optimizer.step()

    bare = products(recipe, device, dtype)
    both = [(seconds(step, device), seconds(bare, device)) for _ in range(steps + 2)][2:]
    whole, floor = (min(column) for column in zip(*both, strict=True))
    rate = batch / whole
    way = "compiled" if device.type == "cpu" and dtype == torch.bfloat16 and kernel() else "torch.nn.GRU"
    where = hardware(device, str(dtype).removeprefix("torch."))
    print(
        f"{where['device']}, {where['precision']}; GRU: {way}; {rate:,.0f} molecules/s, "
        f"{floor / whole:.0%} of the {batch / floor:,.0f} that products alone allow; "
        f"an epoch of {MOLECULES:,} molecules: {MOLECULES / rate:,.0f} s"
    )


def products(recipe: TrainRecipe, device: torch.device, dtype: torch.dtype) -> Callable[[], None]:
    """The matrix products of a step, forward and backward, on tensors that are there already."""
    batch, net = recipe.train.batch, recipe.net
    layers = []
    for hidden, times in ((net.encoder.hidden, 2), (net.decoder.hidden, 1)):
        shapes = ((batch, hidden), (batch, 3 * hidden), (hidden, 3 * hidden))
        state, d_preact, weight = (torch.randn(shape, device=device).to(dtype) for shape in shapes)
        every = [torch.randn(LENGTH * batch, width, device=device).to(dtype) for width in (hidden, 3 * hidden)]
        layers.append((times, state, d_preact, weight, *every))
    outputs = layers[1][4]
    logits = torch.randn(net.decoder.hidden, CHARACTERS, device=device).to(dtype)

    def run() -> None:
        for times, state, d_preact, weight, states, d_preacts in layers:
            for _ in range(times):
                for _ in range(LENGTH):
                    state @ weight
                    d_preact @ weight.t()
                d_preacts.t() @ states
        errors = outputs @ logits
        errors @ logits.t()
        outputs.t() @ errors

    return run


def seconds(work: Callable[[], None], device: torch.device) -> float:
    """How long it takes."""
    started = time.perf_counter()
    work()
    if device.type == "cuda":
        torch.cuda.synchronize()
    return time.perf_counter() - started


def reach(recipe: TrainRecipe, goal: float) -> None:
    """Seconds of a training by the recipe until its reconstruction of validation molecules reaches the goal."""

    class Reached(Exception):
        pass

    started, rates = time.monotonic(), []

    def look(event) -> None:
        rates.append(event.molecules_per_second)
        if event.figures and event.figures["reconstruction"] >= goal:
            raise Reached(f"{event.figures['reconstruction']:.1%} at step {event.step:,} of {event.steps:,}")

    with tempfile.TemporaryDirectory() as folder:
        try:
            train(recipe, folder, look)
            end = f"{goal:.0%} was not reached"
        except Reached as reached:
            end = str(reached)
    print(f"{end}, after {time.monotonic() - started:,.0f} s from nothing; {rates[-1]:,.0f} molecules/s")


if __name__ == "__main__":
    main()
