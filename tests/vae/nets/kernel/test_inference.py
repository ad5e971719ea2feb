"""Strings that are read and written in C, against the reference, and row by row against themselves."""

import numpy as np
import pytest
import torch

from molvae.data.vocab import END, START
from molvae.vae.nets.kernel.inference import Layer
from molvae.vae.nets.kernel.packing import BLOCK

ROWS = 37
pytestmark = pytest.mark.usefixtures("library")


@pytest.fixture
def writer(library, decoder) -> Layer:
    return Layer(library, decoder.weights, decoder.logits.weight, decoder.offset)


@torch.inference_mode()
def test_a_step_is_that_of_the_reference(writer, decoder, reference, exact):
    z, ids = torch.randn(ROWS, 5), torch.randint(len(decoder.embed.weight), (ROWS,))
    contribution, state = writer.begin(z, decoder.initial)
    weights, hidden = exact(decoder.weights), decoder.gru.hidden_size
    np.testing.assert_allclose(exact(contribution)[:, :hidden], (exact(z) @ weights.W_z.T)[:, :hidden], rtol=0.01)
    np.testing.assert_allclose(exact(state)[:, :hidden], exact(decoder.initial(z)), rtol=0.01)
    scores = writer.next(ids, contribution, state)
    expected, states = reference.gru_next(
        weights,
        exact(decoder.logits.weight),
        exact(decoder.offset),
        exact(ids),
        exact(z) @ weights.W_z.T,
        exact(decoder.initial(z)),
    )
    assert scores.shape == expected.shape
    assert (scores[:, START] == -torch.inf).all()
    np.testing.assert_allclose(exact(state)[:, :hidden], states, atol=0.02)
    assert (state[:, hidden:] == 0).all()
    np.testing.assert_allclose(scores, expected, atol=0.05)


@torch.inference_mode()
def test_strings_are_the_likeliest_characters_of_single_steps_bit_by_bit(writer, decoder):
    z, longest = torch.randn(5 * BLOCK, 5), 20
    contribution, first = writer.begin(z, decoder.initial)
    written = writer.write(contribution, first, (len(z), longest), START, END)
    state, ids, on = first.clone(), torch.full((len(z),), START), torch.ones(len(z), dtype=torch.bool)
    for t in range(longest):
        ids = writer.next(ids, contribution, state).argmax(1)
        assert torch.equal(written[:, t], torch.where(on, ids, END))
        on &= ids != END
    assert len({int((string != END).sum()) for string in written}) > 5
    assert on.any()


@torch.inference_mode()
def test_most_strings_are_those_of_the_reference(writer, decoder, reference, exact):
    """Where two characters are about as likely, a rounding decides."""
    z, longest, weights = torch.randn(2 * BLOCK + 5, 5), 12, exact(decoder.weights)
    written = writer.write(*writer.begin(z, decoder.initial), (len(z), longest), START, END)
    parts = exact(decoder.logits.weight), exact(decoder.offset), exact(z) @ weights.W_z.T, exact(decoder.initial(z))
    expected = reference.gru_write(weights, *parts, longest, START, END)
    assert (written.numpy() == expected).all(1).mean() > 0.8
    assert (written[:, 0].numpy() == expected[:, 0]).mean() > 0.95


@torch.inference_mode()
def test_a_row_is_independent_of_the_others(writer, decoder):
    z, ids = torch.randn(70, 5), torch.randint(len(decoder.embed.weight), (70,))
    contribution, first = writer.begin(z, decoder.initial)
    together = first.clone()
    scores = writer.next(ids, contribution, together)
    for some in (slice(3, 4), slice(5, 22), slice(30, 70)):
        state = first[some].clone()
        assert torch.equal(writer.next(ids[some], contribution[some], state), scores[some])
        assert torch.equal(state, together[some])


@torch.inference_mode()
def test_what_is_read_is_the_last_state_of_the_reference(library, decoder, reference, exact):
    lengths = [0, *range(1, 30), 0, *range(40, 3, -1)]
    strings = [torch.randint(len(decoder.embed.weight), (length,)).tolist() for length in lengths]
    ends = Layer(library, decoder.weights).read(strings)
    expected = reference.gru_read(exact(decoder.weights), strings)
    assert ends.dtype == torch.float32
    np.testing.assert_allclose(ends, expected, atol=0.05)
    assert np.abs(ends.numpy() - expected).mean() < 0.005
