"""Decoding: the likeliest characters, or characters drawn with the odds of the softmax."""

import math

import pytest
import torch
from torch.nn.functional import log_softmax

from molvae.data.vocab import END, START
from molvae.vae import decoding as module
from molvae.vae.decoding import beam_odds, generate
from molvae.vae.nets.nets import GRUDecoder, GRUDecoderModule

CHARACTERS, LONGEST = 7, 12
pytestmark = pytest.mark.usefixtures("either_way")


@pytest.fixture(scope="module")
def decoder() -> GRUDecoderModule:
    """Wild enough that strings differ and end at different places."""
    torch.manual_seed(10)
    decoder = GRUDecoder(hidden=8)(latent=3, embedding=4, characters=CHARACTERS).eval()
    with torch.no_grad():
        for weights in decoder.parameters():
            weights.mul_(4)
    return decoder


@pytest.fixture(scope="module")
def z() -> torch.Tensor:
    return torch.randn(60, 3, generator=torch.Generator().manual_seed(3))


def seeded(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@torch.no_grad()
def one_by_one(decoder, point) -> list[int]:
    """What greedy decoding means, without batches."""
    ids, state, before = [], decoder.initial(point[None]), START
    while len(ids) < LONGEST:
        logits, state = decoder(torch.tensor([[before]]), point[None], state)
        before = max((k for k in range(CHARACTERS) if k != START), key=lambda k: float(logits[0, 0, k]))
        if before == END:
            break
        ids.append(before)
    return ids + [END] * (LONGEST - len(ids))


def test_greedy_is_the_likeliest_character_each_time(decoder, z):
    expected = [one_by_one(decoder, point) for point in z]
    lengths = {sum(k != END for k in ids) for ids in expected}
    assert len(lengths) >= 4  # else nothing is said of those that finish early
    assert max(lengths) == LONGEST
    assert generate(decoder, z, LONGEST).tolist() == expected


def test_a_string_is_the_same_in_any_batch(decoder, z):
    together = generate(decoder, z, LONGEST)
    assert torch.equal(generate(decoder, z.flip(0), LONGEST), together.flip(0))
    assert torch.equal(torch.cat([generate(decoder, point[None], LONGEST) for point in z]), together)


def test_more_points_than_are_decoded_together(decoder, z, monkeypatch):
    together = generate(decoder, z, LONGEST)
    monkeypatch.setattr(module, "CHUNK", 7)
    assert torch.equal(generate(decoder, z, LONGEST), together)


def test_cold_sampling_is_greedy(decoder, z):
    assert torch.equal(generate(decoder, z, LONGEST, 1e-5, seeded(0)), generate(decoder, z, LONGEST))


@pytest.mark.parametrize("temperature", [1.0, 2.0])
def test_sampled_strings_come_with_the_odds_of_the_softmax(decoder, temperature):
    """Chi-square of all two-character strings, so that the second depends rightly on the first."""
    n, point = 20_000, torch.tensor([[0.3, -0.2, 0.1]])
    with torch.no_grad():
        odds = {}
        for first, p in enumerate(following(decoder, point, [START], temperature)):
            after = following(decoder, point, [START, first], temperature) if first != END else [1.0]
            odds |= {(first, second): p * q for second, q in enumerate(after)}
    drawn = generate(decoder, point.expand(n, 3), 2, temperature, seeded(1)).tolist()
    counts = dict.fromkeys(odds, 0)
    for first, second in drawn:
        counts[first, second] += 1
    assert math.isclose(sum(odds.values()), 1.0, abs_tol=1e-6)
    likely = [pair for pair in odds if n * odds[pair] >= 5]
    chi_square = sum((counts[pair] - n * odds[pair]) ** 2 / (n * odds[pair]) for pair in likely)
    freedom = len(likely) - 1
    assert freedom >= 5
    assert chi_square < freedom + 4 * math.sqrt(2 * freedom)


def following(decoder, point, written, temperature) -> list[float]:
    logits, _ = decoder(torch.tensor([written]), point, decoder.initial(point))
    scores = logits[0, -1].double() / temperature
    scores[START] = -torch.inf
    return log_softmax(scores, -1).exp().tolist()


def test_the_seed_decides(decoder, z):
    a, b, c = (generate(decoder, z, LONGEST, 1.0, seeded(seed)) for seed in (5, 5, 6))
    assert torch.equal(a, b)
    assert not torch.equal(a, c)


@pytest.mark.parametrize("temperature", [None, 1.0, 50.0])
def test_the_start_is_never_written_and_ends_fill_the_rest(decoder, temperature):
    z = torch.randn(500, 3, generator=seeded(2))
    with torch.no_grad():
        decoder.logits.bias[START] += 100.0
        ids = generate(decoder, z, LONGEST, temperature, seeded(0))
        decoder.logits.bias[START] -= 100.0
    assert ids.shape == (500, LONGEST)
    assert START not in ids
    ended = (ids == END).int().cummax(1).values.bool()
    assert (ids[ended] == END).all()


@pytest.mark.parametrize("longest", [1, 3])
def test_what_has_not_ended_is_cut(decoder, z, longest):
    assert torch.equal(generate(decoder, z, longest), generate(decoder, z, LONGEST)[:, :longest])


def test_no_point_no_string(decoder):
    assert generate(decoder, torch.zeros(0, 3), LONGEST).shape == (0, LONGEST)
    assert generate(decoder, torch.zeros(0, 3), LONGEST, 1.0, seeded(0)).shape == (0, LONGEST)


@pytest.fixture
def threads():
    before = torch.get_num_threads()
    yield torch.set_num_threads
    torch.set_num_threads(before)


def test_threads_change_nothing(decoder, z, threads):
    """More tiles than threads; each thread has an inference mode of its own."""
    many = z.repeat(5, 1)
    threads(1)
    alone = generate(decoder, many, LONGEST)
    threads(3)
    assert torch.equal(generate(decoder, many, LONGEST), alone)


def test_a_beam_is_the_same_in_any_batch(decoder, z):
    """Points leave the batch when their strings have all ended."""
    ids, odds = beam_odds(decoder, z.repeat(3, 1), LONGEST, None, 5)
    for row in (0, 1, 7, 59):
        alone = beam_odds(decoder, z[row : row + 1], LONGEST, None, 5)
        for copy in (row, row + 60, row + 120):
            assert torch.equal(ids[copy], alone[0][0])
            assert torch.equal(odds[copy], alone[1][0])
