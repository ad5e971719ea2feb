"""z → text: greedy or sampled, a batch at a time; finished strings leave the batch."""

import torch
from torch import Tensor

from molvae.vae.nets import Decoder
from molvae.vae.vocab import END, START

CHUNK = 2048
"""Latent points decoded together: enough to fill the matrix units, small enough to stay in the cache."""


@torch.inference_mode()
def generate(
    decoder: Decoder,
    z: Tensor,
    longest: int,
    temperature: float | None = None,
    generator: torch.Generator | None = None,
) -> Tensor:
    """Ids of the strings that ``z`` decodes to.

    Args:
        decoder: in evaluation mode.
        z: ``(batch, latent)``.
        longest: most characters a string may have; one that has not ended by then is cut there.
        temperature: None takes the likeliest character each time; else characters are drawn from
            softmax(logits / temperature) with ``generator``.
        generator: needed with a temperature, on the CPU.

    Returns:
        ``(batch, longest)`` int64; END fills what follows the end.
    """
    parts = [_generate(decoder, part, longest, temperature, generator) for part in torch.split(z, CHUNK)]
    return torch.cat(parts) if parts else torch.zeros(0, longest, dtype=torch.long, device=z.device)


def _generate(
    decoder: Decoder, z: Tensor, longest: int, temperature: float | None, generator: torch.Generator | None
) -> Tensor:
    out = torch.full((len(z), longest), END, device=z.device)
    alive = torch.arange(len(z), device=z.device)
    ids, state = torch.full((len(z), 1), START, device=z.device), decoder.initial(z)
    for t in range(longest):
        logits, state = decoder(ids, z, state)
        scores = logits[:, 0].float()
        scores[:, START] = -torch.inf
        if temperature is not None:
            scores = scores / temperature + _gumbel(scores, generator)
        chosen = scores.argmax(-1)
        out[alive, t] = chosen
        on = (chosen != END).nonzero()[:, 0]
        if len(on) < len(chosen):
            alive, z, state, chosen = alive[on], z[on], state[:, on], chosen[on]
            if not len(on):
                break
        ids = chosen[:, None]
    return out


def _gumbel(like: Tensor, generator: torch.Generator | None) -> Tensor:
    """Gumbel noise: the arg-max of logits plus it is a draw from their softmax."""
    return -torch.empty(like.shape).exponential_(generator=generator).log().to(like.device)
