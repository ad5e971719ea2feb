"""z → text: greedy, sampled, or by beam search, a batch at a time; with or without the grammar."""

from collections.abc import Callable
from typing import TYPE_CHECKING, TypeVar

import torch
from torch import Tensor

from molvae.data.vocab import END, START
from molvae.vae.nets.gru_layer import Stepper
from molvae.vae.nets.nets import Decoder, GRUDecoderModule

if TYPE_CHECKING:  # it loads numba, which is only needed where there is a grammar
    from molvae.vae.grammar.mask import Grammar

R = TypeVar("R")
CHUNK = 2048
"""Rows decoded together; strings that have ended leave them."""
BEAM_PRUNE_NATS = 6.0
"""Nats by which a string in a beam may be less likely than one that has ended."""


@torch.inference_mode()
def generate(
    decoder: Decoder,
    z: Tensor,
    longest: int,
    temperature: float | None = None,
    generator: torch.Generator | None = None,
    grammar: "Grammar | None" = None,
) -> Tensor:
    """Ids of the strings that ``z`` decodes to. A greedy string does not depend on what else is in the batch.

    Args:
        decoder: in evaluation mode.
        z: ``(batch, latent)``.
        longest: most characters a string may have; one that has not ended by then is cut there.
        temperature: None takes the likeliest character each time; else characters are drawn from
            softmax(logits / temperature) with ``generator``.
        generator: needed with a temperature, on the CPU.
        grammar: what may be written, for strings of ``longest`` characters; anything, if absent.

    Returns:
        ``(batch, longest)`` int64; END fills what follows the end.
    """
    steps, whole = _stepper(decoder), temperature is None and grammar is None

    def write(part: Tensor) -> Tensor:
        ids = steps.write(part, longest) if whole else None
        return _generate(steps, part, longest, temperature, generator, grammar) if ids is None else ids

    parts = steps.in_parts(write, z, CHUNK, threads=temperature is None)  # draws need one order
    return torch.cat(parts) if parts else torch.zeros(0, longest, dtype=torch.long, device=z.device)


def _generate(
    steps: Stepper,
    z: Tensor,
    longest: int,
    temperature: float | None,
    generator: torch.Generator | None,
    grammar: "Grammar | None",
) -> Tensor:
    out = torch.full((len(z), longest), END, device=z.device)
    rows = torch.arange(len(z), device=z.device)
    chosen, (contribution, state) = torch.full_like(rows, START), steps.begin(z)
    written = grammar.start(len(z)) if grammar else None
    for t in range(longest):
        scores, state = steps.next(chosen, contribution, state)
        if grammar and written:
            scores.masked_fill_(~grammar.allowed(written).to(z.device), -torch.inf)
        if temperature is not None:
            scores = scores / temperature + _gumbel(scores, generator)
        chosen = torch.where(chosen == END, END, scores.argmax(-1))  # END, the first id, where there is no way on
        out[rows, t] = chosen
        if grammar and written:
            written = grammar.advance(written, chosen)
        on = (chosen != END).nonzero()[:, 0]
        if not len(on):
            break
        if steps.worth_taking(len(on), len(chosen)):
            rows, chosen = rows[on], chosen[on]
            contribution, state = steps.take(contribution, on), steps.take(state, on)
            written = written.select(on) if written else None
    return out


def beam(decoder: Decoder, z: Tensor, longest: int, grammar: "Grammar | None", width: int) -> list[Tensor]:
    """The likeliest strings that a beam of ``width`` finds for each point, best first.

    Args:
        decoder: in evaluation mode.
        z: ``(batch, latent)``.
        longest: most characters of a string.
        grammar: what may be written, for strings of ``longest`` characters; anything, if absent.
        width: strings that are followed at the same time.

    Returns:
        For each point, ids ``(found, longest)``, at most ``width`` rows; END fills what follows the end.
    """
    return [ids[odds > -torch.inf] for ids, odds in zip(*beam_odds(decoder, z, longest, grammar, width), strict=True)]


@torch.inference_mode()
def beam_odds(
    decoder: Decoder, z: Tensor, longest: int, grammar: "Grammar | None", width: int
) -> tuple[Tensor, Tensor]:
    """As `beam`, with log p(string | z) of the decoder, in nats.

    Returns:
        Ids ``(batch, width, longest)`` and their log-odds ``(batch, width)``, −inf where fewer strings were found.
    """
    steps = _stepper(decoder)
    parts = steps.in_parts(lambda part: _beam(steps, part, longest, grammar, width), z, max(1, CHUNK // width))
    if not parts:
        return z.new_zeros((0, width, longest), dtype=torch.long), z.new_zeros((0, width))
    return torch.cat([ids for ids, _ in parts]), torch.cat([odds for _, odds in parts])


def _beam(steps: Stepper, z: Tensor, longest: int, grammar: "Grammar | None", width: int) -> tuple[Tensor, Tensor]:
    ids = torch.full((len(z), width, longest), END, device=z.device)
    odds = torch.full((len(z), width), -torch.inf, device=z.device)
    points, out, total = torch.arange(len(z), device=z.device), ids.flatten(0, 1), odds.clone()
    total[:, 0] = 0  # all the same at first
    contribution, state = steps.begin(z.repeat_interleave(width, 0))
    chosen = torch.full((len(out),), START, device=z.device)
    written = grammar.start(len(out)) if grammar else None
    for t in range(longest):
        scores, state = steps.next(chosen, contribution, state)
        scores = scores.log_softmax(-1)
        if grammar and written:
            scores.masked_fill_(~grammar.allowed(written).to(z.device), -torch.inf)
        ended = chosen == END
        scores[ended] = -torch.inf
        scores[ended, END] = 0
        total, best = (total[:, :, None] + scores.view(len(points), width, -1)).flatten(1).topk(width, -1)
        characters = best % scores.shape[1]
        ended = torch.where(characters == END, total, -torch.inf).amax(1, keepdim=True)
        total.masked_fill_(total < ended - BEAM_PRUNE_NATS, -torch.inf)
        chosen = torch.where(total == -torch.inf, END, characters).flatten()
        origin = torch.arange(0, len(chosen), width, device=z.device)[:, None] + best // scores.shape[1]
        origin = origin.flatten()
        out = out[origin]
        out[:, t] = chosen
        on = (chosen != END).view(-1, width).any(1)
        if t + 1 == longest or not on.any():
            ids[points], odds[points] = out.view(-1, width, longest), total
            break
        if steps.worth_taking(int(on.sum()) * width, len(chosen)):
            ids[points[~on]], odds[points[~on]] = out.view(-1, width, longest)[~on], total[~on]
            rows = on.repeat_interleave(width).nonzero()[:, 0]
            points, total, contribution = points[on], total[on], steps.take(contribution, rows)
            origin, chosen, out = origin[rows], chosen[rows], out[rows]
        state = steps.take(state, origin)
        if grammar and written:
            written = grammar.advance(written.select(origin), chosen)
    return ids, odds


def _stepper(decoder: Decoder) -> Stepper:
    # of a subclass of the GRU's module, `forward` may be another: its steps are not taken from the weights
    return decoder.stepper() if type(decoder) is GRUDecoderModule else _ForwardStepper(decoder)


class _ForwardStepper:
    """Single steps of any decoder, by its own ``forward``: a `Stepper`.

    Its scores depend on what else is in the batch, as products of other sizes are rounded otherwise; the GRU's avoid
    that.
    """

    def __init__(self, decoder: Decoder) -> None:
        self._decoder = decoder

    def in_parts(self, run: Callable[[Tensor], R], z: Tensor, most: int, threads: bool = True) -> list[R]:
        """See `Stepper`; PyTorch has threads of its own."""
        return [run(part) for part in torch.split(z, most)] if len(z) else []

    def begin(self, z: Tensor) -> tuple[Tensor, Tensor]:
        """See `Stepper`: the points, and the decoder's first states."""
        return z, self._decoder.initial(z)

    def next(self, ids: Tensor, contribution: Tensor, state: Tensor) -> tuple[Tensor, Tensor]:
        """See `Stepper`."""
        logits, state = self._decoder(ids[:, None], contribution, state)
        scores = logits[:, -1].float().clone()
        scores[:, START] = -torch.inf
        return scores, state

    def take(self, rows: Tensor, chosen: Tensor) -> Tensor:
        """See `Stepper`."""
        return rows[chosen]

    def worth_taking(self, left: int, rows: int) -> bool:
        """See `Stepper`."""
        return left < 0.8 * rows

    def write(self, z: Tensor, longest: int) -> None:
        """See `Stepper`."""
        return


def _gumbel(like: Tensor, generator: torch.Generator | None) -> Tensor:
    """Gumbel noise: the arg-max of logits plus it is a draw from their softmax."""
    return -torch.empty(like.shape).exponential_(generator=generator).log().to(like.device)
