"""z → text: greedy, sampled, or by beam search, a batch at a time; with or without the grammar."""

from collections.abc import Callable
from typing import TYPE_CHECKING, TypeVar

import torch
from torch import Tensor
from torch.nn.functional import linear, pad

from molvae.data.vocab import END, START
from molvae.vae.nets.kernel import library as compiled
from molvae.vae.nets.kernel.inference import Layer
from molvae.vae.nets.kernel.library import BLOCK
from molvae.vae.nets.nets import Decoder, GRUDecoderModule

if TYPE_CHECKING:  # it loads numba, which is only needed where there is a grammar
    from molvae.vae.grammar.mask import Grammar

R = TypeVar("R")
CHUNK = 2048
"""Rows decoded together; strings that have ended leave them."""
TILE = 128
"""Rows of a product on a CPU: always so many, for a row to come out the same in any batch."""
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
    steps = _steps(decoder)

    def write(part: Tensor) -> Tensor:
        if steps.layer is not None and temperature is None and grammar is None:
            return steps.layer.write(*steps.begin(part), len(part), longest)
        return _generate(steps, part, longest, temperature, generator, grammar)

    parts = steps.in_parts(write, z, CHUNK, temperature is None)
    return torch.cat(parts) if parts else torch.zeros(0, longest, dtype=torch.long, device=z.device)


def _generate(
    steps: "_GRUSteps | _PlainSteps",
    z: Tensor,
    longest: int,
    temperature: float | None,
    generator: torch.Generator | None,
    grammar: "Grammar | None",
) -> Tensor:
    out = torch.full((len(z), longest), END, device=z.device)
    rows = torch.arange(len(z), device=z.device)
    chosen, (fixed, state) = torch.full_like(rows, START), steps.begin(z)
    written = grammar.start(len(z)) if grammar else None
    for t in range(longest):
        scores, state = steps.next(chosen, fixed, state)
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
        if steps.worth(len(on), len(chosen)):
            rows, chosen = rows[on], chosen[on]
            fixed, state = steps.padded(fixed[on]), steps.padded(state[on])
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
    steps = _steps(decoder)
    parts = steps.in_parts(lambda part: _beam(steps, part, longest, grammar, width), z, max(1, CHUNK // width))
    if not parts:
        return z.new_zeros((0, width, longest), dtype=torch.long), z.new_zeros((0, width))
    return torch.cat([ids for ids, _ in parts]), torch.cat([odds for _, odds in parts])


def _beam(
    steps: "_GRUSteps | _PlainSteps", z: Tensor, longest: int, grammar: "Grammar | None", width: int
) -> tuple[Tensor, Tensor]:
    ids = torch.full((len(z), width, longest), END, device=z.device)
    odds = torch.full((len(z), width), -torch.inf, device=z.device)
    points, out, total = torch.arange(len(z), device=z.device), ids.flatten(0, 1), odds.clone()
    total[:, 0] = 0  # all the same at first
    fixed, state = steps.begin(z.repeat_interleave(width, 0))
    chosen = torch.full((len(out),), START, device=z.device)
    written = grammar.start(len(out)) if grammar else None
    for t in range(longest):
        scores, state = steps.next(chosen, fixed, state)
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
        if steps.worth(int(on.sum()) * width, len(chosen)):
            ids[points[~on]], odds[points[~on]] = out.view(-1, width, longest)[~on], total[~on]
            rows = on.repeat_interleave(width)
            points, total, fixed = points[on], total[on], steps.padded(fixed[: len(rows)][rows])
            origin, chosen, out = origin[rows], chosen[rows], out[rows]
        state = steps.padded(state[origin])
        if grammar and written:
            written = grammar.advance(written.select(origin), chosen)
    return ids, odds


def _steps(decoder: Decoder) -> "_GRUSteps | _PlainSteps":
    # of a subclass of the GRU's module, `forward` may be another: its steps are not taken from the weights
    return _GRUSteps(decoder) if type(decoder) is GRUDecoderModule else _PlainSteps(decoder)


class _PlainSteps:
    """Single steps of any decoder, by its own ``forward``.

    Its scores depend on what else is in the batch, as products of other sizes are rounded otherwise; `_GRUSteps`
    avoids that.
    """

    layer: None = None

    def __init__(self, decoder: Decoder) -> None:
        self.decoder = decoder

    def in_parts(self, run: Callable[[Tensor], R], z: Tensor, most: int, threads: bool = True) -> list[R]:
        """As of `_GRUSteps`; PyTorch has threads of its own."""
        return [run(part) for part in torch.split(z, most)] if len(z) else []

    def worth(self, left: int, rows: int) -> bool:
        """As of `_GRUSteps`."""
        return left < 0.8 * rows

    def padded(self, rows: Tensor) -> Tensor:
        """The rows as they are."""
        return rows

    def begin(self, z: Tensor) -> tuple[Tensor, Tensor]:
        """The points, and the decoder's first state."""
        return z, self.decoder.initial(z)

    def next(self, ids: Tensor, z: Tensor, state: Tensor) -> tuple[Tensor, Tensor]:
        """As of `_GRUSteps`."""
        logits, state = self.decoder(ids[:, None], z, state)
        scores = logits[:, -1].float().clone()
        scores[:, START] = -torch.inf
        return scores, state


class _GRUSteps:
    """Single steps of the GRU decoder. What a character and the latent point add to the gates is computed once.

    On CPUs that compute in bfloat16 they are those of `Layer`; without a compiler there, the products are in
    bfloat16; the rest, and all of it elsewhere, is in float32. Buffers are used again at each step: memory touched for
    the first time costs more than the arithmetic.

    Args:
        decoder: in evaluation mode.

    Attributes:
        layer: which can also write whole strings; None without `compiled.kernel`.
    """

    def __init__(self, decoder: GRUDecoderModule) -> None:
        hidden, device = decoder.gru.hidden_size, decoder.embed.weight.device
        self.decoder, self.hidden = decoder, hidden
        library = compiled.kernel() if device.type == "cpu" else None
        self.layer: Layer | None = None
        if library is not None:
            self.tile = BLOCK
            self.layer = Layer(library, decoder.gru, "l0", decoder.embed, decoder.logits)
            return
        self.tile = TILE if device.type == "cpu" else CHUNK
        self.table, self.of_z, weight, self.bias = compiled.weights(decoder.gru, "l0", decoder.embed)
        low = device.type == "cpu" and torch.cpu._is_avx512_bf16_supported()
        self.dtype = torch.bfloat16 if low else torch.float32
        self.logits, self.weight = decoder.logits.weight.to(self.dtype).t(), weight.to(self.dtype).t()
        self.low = torch.zeros(self.tile, hidden, dtype=self.dtype, device=device)
        self.inner = torch.zeros(self.tile, 3 * hidden, dtype=self.dtype, device=device)
        self.gates = torch.zeros(self.tile, 3 * hidden, device=device)
        self.candidate = torch.zeros(self.tile, hidden, device=device)

    def in_parts(self, run: Callable[[Tensor], R], z: Tensor, most: int, threads: bool = True) -> list[R]:
        """``run`` on parts of the points, of at most so many; in several threads where only C works for long."""
        several = threads and self.layer is not None
        shares = max(1, min(torch.get_num_threads(), len(z) // self.tile)) if several else 1
        parts = torch.tensor_split(z, shares * -(-len(z) // (shares * most))) if len(z) else ()
        return compiled.in_threads(lambda k: run(parts[k]), len(parts)) if several else [*map(run, parts)]

    def tiles(self, rows: int) -> int:
        """Products that so many rows take."""
        return -(-rows // self.tile)

    def worth(self, left: int, rows: int) -> bool:
        """Whether to copy the rows that are left, for the steps to come to cost less."""
        return self.tiles(left) < self.tiles(rows) and (self.layer is None or left < 0.8 * rows)

    def padded(self, rows: Tensor) -> Tensor:
        """As many rows as whole tiles have."""
        return pad(rows, (0, 0, 0, self.tiles(len(rows)) * self.tile - len(rows)))

    def begin(self, z: Tensor) -> tuple[Tensor, Tensor]:
        """``(batch, latent)`` → what z adds to the gates, ``(rows, 3·hidden)``, and the first state; padded."""
        if self.layer is not None:
            return self.layer.begin(self.padded(z), self.decoder.begin)
        tiles = torch.split(self.padded(z), self.tile)
        fixed = torch.cat([linear(tile, self.of_z) for tile in tiles])
        return fixed, torch.cat([self.decoder.initial(tile) for tile in tiles])

    def next(self, ids: Tensor, fixed: Tensor, state: Tensor) -> tuple[Tensor, Tensor]:
        """Scores of the characters after these, ``(batch, characters)`` float32, and the state, which is written to.

        Args:
            ids: ``(batch,)``.
            fixed: of `begin`, as is ``state``; padded.
            state: ``(rows, hidden)``.
        """
        if self.layer is not None:
            return self.layer.next(ids, fixed, state), state
        padded = pad(ids, (0, len(state) - len(ids)))
        scores = torch.empty(len(state), self.logits.shape[1], dtype=self.dtype, device=state.device)
        for parts in zip(*(torch.split(part, self.tile) for part in (padded, fixed, state, scores)), strict=True):
            self._tile(*parts)
        out = scores[: len(ids)].float() + self.decoder.logits.bias
        out[:, START] = -torch.inf
        return out, state

    def _tile(self, ids: Tensor, fixed: Tensor, state: Tensor, scores: Tensor) -> None:
        """Writes to ``state`` and ``scores``."""
        hidden, gates, inner = self.hidden, self.gates, self.inner
        torch.mm(self.low.copy_(state), self.weight, out=inner)
        torch.index_select(self.table, 0, ids, out=gates).add_(fixed)
        gates[:, : 2 * hidden].add_(inner[:, : 2 * hidden]).sigmoid_()
        reset, update, new = gates.chunk(3, 1)
        torch.add(self.bias, inner[:, 2 * hidden :], out=self.candidate)
        torch.addcmul(new, reset, self.candidate, out=self.candidate).tanh_()
        torch.lerp(self.candidate, state, update, out=state)
        torch.mm(self.low.copy_(state), self.logits, out=scores)


def _gumbel(like: Tensor, generator: torch.Generator | None) -> Tensor:
    """Gumbel noise: the arg-max of logits plus it is a draw from their softmax."""
    return -torch.empty(like.shape).exponential_(generator=generator).log().to(like.device)
