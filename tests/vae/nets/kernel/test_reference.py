"""The reference that gru.c is held against, against `torch.nn.GRU` and autograd, in float64."""

import numpy as np
import pytest
import torch
from torch import nn

from molvae.data.vocab import END, START
from molvae.vae.nets.gru_layer import GRULayer

TIME, BATCH, HIDDEN, LATENT, CHARACTERS = 7, 5, 6, 3, 9


@pytest.fixture
def layer() -> tuple[GRULayer, nn.Embedding]:
    torch.manual_seed(0)
    return GRULayer(4 + LATENT, HIDDEN).double(), nn.Embedding(CHARACTERS, 4).double()


@pytest.fixture
def given() -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Tokens, z, first state."""
    torch.manual_seed(1)
    z, start = torch.randn(BATCH, LATENT).double(), torch.randn(BATCH, HIDDEN).double()
    return torch.randint(CHARACTERS, (TIME, BATCH)), z.requires_grad_(), start.requires_grad_()


def test_forward_is_torchs(layer, given, reference, exact):
    (gru, embed), (tokens, z, start) = layer, given
    weights = exact(gru._weights(embed))
    states, activations = reference.gru_forward(weights, exact(tokens), exact(z) @ weights.W_z.T, exact(start))
    expected = gru(torch.cat([embed(tokens), z.expand(TIME, BATCH, LATENT)], -1), start[None])[0]
    np.testing.assert_allclose(states[1:], exact(expected), atol=1e-12)
    assert (states[0] == exact(start)).all()
    r, z, n, _ = np.split(activations, 4, -1)
    np.testing.assert_allclose((1 - z) * n + z * states[:-1], states[1:], atol=1e-12)
    assert ((r > 0) & (r < 1)).all()


@pytest.mark.parametrize("each_step", [True, False])
def test_backward_is_autograds(layer, given, reference, exact, each_step):
    """The gradients of what the reference takes lead to those of all parameters by the chain rule."""
    (gru, embed), (tokens, z, start) = layer, given
    weights = gru._weights(embed)
    contribution = z @ weights.W_z.t()
    d_outputs = torch.randn(TIME, BATCH, HIDDEN).double()
    if not each_step:
        d_outputs[:-1] = 0
    plain = exact(weights)
    states, activations = reference.gru_forward(plain, exact(tokens), exact(contribution), exact(start))
    d_preact, *others = reference.gru_backward(plain, exact(tokens), states, activations, exact(d_outputs))
    found = [*others, reference.gru_weight_gradient(d_preact, states)]
    of = [weights.table, contribution, weights.b_hn, start, weights.W_hh]
    parameters = [*gru.parameters(), *embed.parameters(), z, start]
    ours = torch.autograd.grad(of, parameters, [torch.from_numpy(array) for array in found])
    outputs = gru(torch.cat([embed(tokens), z.expand(TIME, BATCH, LATENT)], -1), start[None])[0]
    theirs = torch.autograd.grad(outputs, parameters, d_outputs)
    for one, other in zip(ours, theirs, strict=True):
        torch.testing.assert_close(one, other, atol=1e-12, rtol=0)


def test_the_last_states_of_strings_are_torchs(reference, exact):
    torch.manual_seed(2)
    gru, embed = nn.GRU(4, HIDDEN, bidirectional=True).double(), nn.Embedding(CHARACTERS, 4).double()
    ours = GRULayer(4, HIDDEN, bidirectional=True).double()
    ours.load_state_dict(gru.state_dict())
    strings = [torch.randint(CHARACTERS, (length,)).tolist() for length in (6, 3, 1)]
    expected = np.stack([exact(gru(embed(torch.tensor(ids))[:, None])[1][:, 0]) for ids in strings])
    forward, backward = (exact(ours._weights(embed, name)) for name in ("l0", "l0_reverse"))
    np.testing.assert_allclose(reference.gru_read(forward, strings), expected[:, 0], atol=1e-12)
    found = reference.gru_read(backward, [ids[::-1] for ids in strings])
    np.testing.assert_allclose(found, expected[:, 1], atol=1e-12)
    assert (reference.gru_read(forward, [[]]) == 0).all()


@torch.no_grad()
def test_steps_and_strings_are_torchs(decoder, reference, exact):
    decoder.double()
    gru, embed, logits = decoder.gru, decoder.embed, decoder.logits
    z, longest = torch.randn(50, 5).double(), 20
    weights, readout, offset = exact(decoder.weights), exact(logits.weight), exact(decoder.offset)
    contribution, first = exact(z) @ weights.W_z.T, decoder.initial(z)
    written = reference.gru_write(weights, readout, offset, contribution, exact(first), longest, START, END)
    for k, ids in enumerate(written):
        token, state = torch.tensor([START]), first[k : k + 1]
        for t in range(longest):
            scores, states = reference.gru_next(
                weights, readout, offset, exact(token), contribution[k : k + 1], exact(state)
            )
            state = gru(torch.cat([embed(token), z[k : k + 1]], -1)[None], state[None])[1][0]
            expected = logits(state)
            expected[:, START] = -torch.inf
            np.testing.assert_allclose(states, exact(state), atol=1e-12)
            np.testing.assert_allclose(scores, exact(expected), atol=1e-12)
            token = expected.argmax(1)
            assert ids[t] == token
            if token == END:
                assert (ids[t:] == END).all()
                break
    assert len({int((ids != END).sum()) for ids in written}) > 3
