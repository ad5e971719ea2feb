"""Layers whose strings are read and written in C, against the formula of a GRU, and row by row against themselves."""

import pytest
import torch
from torch import nn

from molvae.data.vocab import END, START
from molvae.vae.nets.kernel import library as compiled
from molvae.vae.nets.kernel.inference import Layer
from molvae.vae.nets.kernel.library import BLOCK
from molvae.vae.nets.nets import GRUDecoder, GRUEncoder, Net, NetSettings

HIDDEN, CHARACTERS, ROWS = 48, 40, 37
LIBRARY = compiled.kernel()
here = pytest.mark.skipif(LIBRARY is None, reason="no C compiler, or no processor that computes in bfloat16")
pytestmark = pytest.mark.usefixtures("instructions")


@pytest.fixture
def parts() -> tuple[nn.GRU, nn.Embedding, nn.Linear, nn.Linear]:
    """A layer wild enough to write strings of many lengths; its embedding, first state and readout."""
    torch.manual_seed(3)
    made = nn.GRU(7 + 5, HIDDEN), nn.Embedding(CHARACTERS, 7), nn.Linear(5, HIDDEN), nn.Linear(HIDDEN, CHARACTERS)
    for part in made:
        for weights in part.parameters():
            weights.detach().mul_(3)
    return made


@here
@torch.inference_mode()
def test_a_step_is_that_of_the_gru(parts):
    gru, embed, initial, readout = parts
    layer, z, ids = Layer(LIBRARY, gru, "l0", embed, readout), torch.randn(ROWS, 5), torch.randint(CHARACTERS, (ROWS,))
    fixed, state = layer.begin(z, initial)
    scores = layer.next(ids, fixed, state)
    expected = gru(torch.cat([embed(ids), z], 1)[None], torch.tanh(initial(z))[None])[0][0]
    assert torch.allclose(state[:, :HIDDEN].float(), expected, atol=0.02)
    assert (state[:, HIDDEN:] == 0).all()
    assert scores.shape == (ROWS, CHARACTERS)
    logits = readout(state[:, :HIDDEN].float())
    assert (scores[:, START] == -torch.inf).all()
    scores[:, START] = logits[:, START]
    assert torch.allclose(scores, logits, atol=0.02)


@here
@torch.inference_mode()
def test_strings_are_the_likeliest_characters_of_single_steps_bit_by_bit(parts):
    gru, embed, initial, readout = parts
    layer, z, longest = Layer(LIBRARY, gru, "l0", embed, readout), torch.randn(5 * BLOCK, 5), 20
    fixed, first = layer.begin(z, initial)
    written = layer.write(fixed, first, len(z), longest)
    state, ids, on = first.clone(), torch.full((len(z),), START), torch.ones(len(z), dtype=torch.bool)
    for t in range(longest):
        ids = layer.next(ids, fixed, state).argmax(1)
        assert torch.equal(written[:, t], torch.where(on, ids, END))
        on &= ids != END
    assert len({int((string != END).sum()) for string in written}) > 5
    assert on.any()


@here
@torch.inference_mode()
def test_a_row_does_not_depend_on_the_others(parts):
    gru, embed, initial, readout = parts
    layer, z, ids = Layer(LIBRARY, gru, "l0", embed, readout), torch.randn(70, 5), torch.randint(CHARACTERS, (70,))
    fixed, first = layer.begin(z, initial)
    together = first.clone()
    scores = layer.next(ids, fixed, together)
    for some in (slice(3, 4), slice(5, 22), slice(30, 70)):
        state = first[some].clone()
        assert torch.equal(layer.next(ids[some], fixed[some], state), scores[some])
        assert torch.equal(state, together[some])


@here
@torch.inference_mode()
def test_what_is_read_is_the_last_state_of_the_gru(parts):
    _, embed, *_ = parts
    gru = nn.GRU(7, HIDDEN)
    strings = [torch.randint(CHARACTERS, (length,)).tolist() for length in [0, *range(1, 30), 0, *range(40, 3, -1)]]
    ends = Layer(LIBRARY, gru, "l0", embed).read(strings)
    for end, string in zip(ends, strings, strict=True):
        expected = gru(embed(torch.tensor(string))[:, None])[1][0, 0] if string else torch.zeros(HIDDEN)
        assert torch.allclose(end, expected, atol=0.02)


@pytest.mark.parametrize("quick", [pytest.param(True, marks=here), False])
def test_strings_of_many_lengths_are_read_as_each_alone(monkeypatch, quick):
    if not quick:
        monkeypatch.setattr(compiled, "kernel", lambda: None)
    torch.manual_seed(0)
    encoder = (
        Net(NetSettings(latent=8, embedding=12, encoder=GRUEncoder(hidden=40), decoder=GRUDecoder(hidden=56)), 20)
        .eval()
        .encoder
    )
    strings = [torch.randint(2, 20, (length,)).tolist() for length in sorted([*range(1, 30)] * 6, reverse=True)]
    with torch.inference_mode():
        means, logvars = encoder.read(strings)
        alone = [encoder(torch.tensor([string])) for string in strings]
    for k, (mean, logvar) in enumerate(alone):
        assert (means[k] - mean[0]).norm() < 0.02 * mean[0].norm()
        assert (logvars[k] - logvar[0]).norm() < 0.02 * logvar[0].norm()
