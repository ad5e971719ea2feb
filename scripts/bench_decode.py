"""How fast a model decodes, and how far from what its matrix products alone must cost.

    python scripts/bench_decode.py zinc250k
    python scripts/bench_decode.py zinc250k --threads 1 --batches 1 1000

Greedy strings of points of the prior. In each repeat the decoder alone, the decoder under the grammar, the products
alone, and `decode` as a user calls it (RDKit reads each string, beams where it refuses one) take turns; the fastest of
each counts, for a machine is never quite idle. Products: h W and the logits, of the rows that are not yet at their end.
"""

import argparse
import time
from collections.abc import Callable

import torch

import molvae
from molvae.data.vocab import END
from molvae.vae.card import hardware
from molvae.vae.decoding import CHUNK, generate


def main() -> None:
    """Parse, measure, print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("model")
    parser.add_argument("--batches", type=int, nargs="+", default=[1, 100, 1_000, 10_000])
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--device", default="cpu")
    asked = parser.parse_args()
    torch.set_num_threads(asked.threads)
    vae = molvae.load(asked.model, asked.device)
    low = vae.device.type == "cpu" and torch.cpu._is_avx512_bf16_supported()
    dtype = torch.bfloat16 if low else torch.float32
    where = hardware(vae.device, str(dtype).removeprefix("torch."))
    print(f"{where['device']}, {where['precision']}, {where['platform']}; molecules/s")
    print(f"{'batch':>7} {'alone':>9} {'of products':>12} {'grammar':>9} {'slower by':>10} {'decode()':>9}")
    for batch in asked.batches:
        alone, grammar, whole, products = measure(vae, batch, dtype, asked.repeats)
        print(
            f"{batch:7,} {batch / alone:9,.0f} {products / alone:12.0%} {batch / grammar:9,.0f} "
            f"{grammar / alone - 1:10.0%} {batch / whole:9,.0f}",
            flush=True,
        )


def measure(vae: molvae.SmilesVAE, batch: int, dtype: torch.dtype, repeats: int) -> tuple[float, ...]:
    """Seconds of the decoder alone, under the grammar, of `decode`, and of the products alone."""
    z = vae.prior.sample(batch, 0)
    points = z.to(vae.device)
    ids = generate(vae.net.decoder, points, vae.longest)
    ways = (
        lambda: generate(vae.net.decoder, points, vae.longest),
        lambda: generate(vae.net.decoder, points, vae.longest, grammar=vae.grammar),
        lambda: vae.decode(z),
        products(vae, ids, dtype),
    )
    for way in ways:
        way()
    taken = [[seconds(way, vae.device) for way in ways] for _ in range(repeats)]
    return tuple(min(column) for column in zip(*taken, strict=True))


def products(vae: molvae.SmilesVAE, ids: torch.Tensor, dtype: torch.dtype) -> Callable[[], None]:
    """The products that writing these strings takes, on tensors that are there already."""
    hidden, characters = vae.net.settings.decoder.hidden, len(vae.vocab)
    lengths = (ids != END).sum(1) + 1
    rows = [(part > t).sum().item() for part in torch.split(lengths, CHUNK) for t in range(int(part.max()))]
    recurrent = torch.randn(hidden, 3 * hidden, device=vae.device).to(dtype)
    logits = torch.randn(hidden, characters, device=vae.device).to(dtype)
    state = torch.randn(max(rows), hidden, device=vae.device).to(dtype)
    preact, scores = state.new_empty(len(state), 3 * hidden), state.new_empty(len(state), characters)

    def run() -> None:
        for n in rows:
            torch.mm(state[:n], recurrent, out=preact[:n])
            torch.mm(state[:n], logits, out=scores[:n])

    return run


def seconds(work: Callable[[], object], device: torch.device) -> float:
    """How long it takes."""
    started = time.perf_counter()
    work()
    if device.type == "cuda":
        torch.cuda.synchronize()
    return time.perf_counter() - started


if __name__ == "__main__":
    main()
