from itertools import pairwise

import numpy as np
import pytest

from molvae.campaign.propose.inner_loop import MOVES, Found, Search
from molvae.campaign.space import CachedSpace
from molvae.chem.molecule import Molecule
from molvae.config import parse_recipe
from molvae.errors import RecipeError

LATENT = {"crossing": 0.0, "mutation": 0.0}
EDITS = {"noise": 0.0, "interpolation": 0.0}


def long(molecule):
    return len(molecule.smiles)


def by(score):
    """A judge of one taste."""
    return lambda generation: lambda molecules: np.array([float(score(molecule)) for molecule in molecules])


class Judge:
    """Keeps what it was asked, in each generation, with its scores."""

    def __init__(self, score):
        self.score, self.asked = score, []

    def __call__(self, generation):
        assert generation == len(self.asked)

        def scores(molecules):
            self.asked.append([molecule.smiles for molecule in molecules])
            return np.array([float(self.score(molecule)) for molecule in molecules])

        return scores

    def best(self, generation, n):
        return sorted(self.asked[generation], key=lambda smiles: -self.score(Molecule.trusted(smiles)))[:n]


class Spy:
    """A space that keeps what was encoded and decoded."""

    def __init__(self, space):
        self.space, self.encoded, self.decoded = space, [], []
        self.can_encode = space.can_encode

    def encode(self, smiles):
        self.encoded.append(list(smiles))
        return self.space.encode(smiles)

    def decode(self, z):
        self.decoded.append(z)
        return self.space.decode(z)

    @property
    def points(self):
        return np.concatenate(self.decoded)


@pytest.fixture
def parents(space):
    return space.smiles[:60:3]


def find(space, start, length=0.8, known=frozenset(), judge=None, seed=1, **settings):
    search = Search(**{"generations": 2, "children": 100, "length": length, **settings})
    return search(space, start, known, judge or by(long), seed)


def texts(found):
    return [(one.molecule.smiles, one.parent, one.move) for one in found.candidates]


def test_candidates_are_new_valid_and_known_to_the_model(open_space, parents):
    judge = Judge(long)
    found = find(open_space, parents, known=set(parents), judge=judge)
    smiles = [candidate.molecule.smiles for candidate in found.candidates]
    assert len(smiles) == len(set(smiles)) >= 20
    assert not set(parents) & set(smiles)
    assert all(Molecule.parse(text).smiles == text and open_space.can_encode(text) for text in smiles)
    assert len(smiles) < found.valid < found.decoded <= 200


def test_each_candidate_tells_its_parent_and_move(open_space, parents):
    found = find(open_space, parents, known=set(parents), children=200)
    assert {candidate.move for candidate in found.candidates} == set(MOVES)
    earlier = set(parents)
    for candidate in found.candidates:
        assert candidate.parent in earlier
        assert candidate.parent != candidate.molecule.smiles
        earlier.add(candidate.molecule.smiles)


def test_each_generation_is_bred_from_the_best_before_it(open_space, parents):
    judge = Judge(long)
    found = find(open_space, parents, known=set(parents), judge=judge, generations=4, children=60, parents=7)
    candidates = {candidate.molecule.smiles: candidate for candidate in found.candidates}
    observed = parents[:7]
    assert judge.asked[0][:7] == observed
    assert judge.asked[-1] == observed + list(candidates)
    breeders = [observed, *(judge.best(generation, 7) for generation in range(3))]
    for generation, (before, after) in enumerate(pairwise([observed, *judge.asked])):
        assert after[: len(before)] == before
        born = after[len(before) :]
        assert born
        assert {candidates[smiles].parent for smiles in born} <= set(breeders[generation])


def test_what_the_judge_prefers_is_what_comes(open_space, parents):
    def lengths(score):
        judge = Judge(score)
        find(open_space, parents, judge=judge, generations=4, children=60, parents=10, **EDITS)
        first, *_, before, last = judge.asked
        born = first[10:], last[len(before) :]
        return [np.mean([len(smiles) for smiles in some]) for some in born]

    start = np.mean([len(smiles) for smiles in parents])
    first, last = lengths(long)
    assert start - 3 < first < last - 8
    assert lengths(lambda molecule: -long(molecule))[1] < start - 3


def test_the_judge_has_a_taste_of_its_own_for_each_generation(open_space, parents):
    asked = []

    def judge(generation):
        asked.append(generation)
        return by(long)(generation)

    find(open_space, parents, judge=judge, generations=3, children=10)
    assert asked == [0, 1, 2]


def test_only_what_is_bred_from_is_encoded(open_space, parents):
    spy, judge = Spy(open_space), Judge(long)
    found = find(spy, parents, judge=judge, generations=4, children=60, parents=5)
    encoded = [smiles for some in spy.encoded for smiles in some]
    bred = {smiles for generation in range(3) for smiles in judge.best(generation, 5)}
    assert set(encoded) == bred | set(parents[:5])
    assert len(set(encoded)) < len(found.candidates)


def test_invalid_texts_are_dropped_and_counted(space, parents):
    far = CachedSpace(space, dict(zip(parents, space.encode(parents) + 50, strict=True)))
    assert find(far, parents, **LATENT) == Found((), 200, 0)


def test_where_nothing_is_new_nothing_is_found(space, parents):
    found = find(space, parents, known=set(space.smiles), **LATENT)
    assert (found.candidates, found.decoded) == ((), 200)
    assert 0 < found.valid <= 200


def test_where_no_edit_is_possible_nothing_is_written(open_space):
    methane = ["C"]
    assert find(open_space, methane, **EDITS, mutation=0.0) == Found((), 0, 0)


def test_molecules_that_the_model_cannot_encode_are_dropped(open_space, parents):
    class Narrow(type(open_space)):
        def can_encode(self, smiles):
            return "N" not in smiles and super().can_encode(smiles)

    found = find(Narrow(), parents)
    assert found.candidates
    assert not any("N" in candidate.molecule.smiles for candidate in found.candidates)


def test_same_seed_same_candidates(open_space, parents):
    before = np.random.get_state()[1].tolist()
    a, b, c = (find(open_space, parents, seed=seed) for seed in (1, 1, 2))
    assert texts(a) == texts(b) != texts(c)
    assert np.random.get_state()[1].tolist() == before


@pytest.mark.parametrize("only", MOVES)
def test_a_move_alone(open_space, parents, only):
    spy = Spy(open_space)
    shares = dict.fromkeys(MOVES, 0.0) | {only: 2.0}
    found = find(spy, parents, **shares)
    assert {candidate.move for candidate in found.candidates} == {only}
    assert bool(spy.decoded) == (only in ("noise", "interpolation"))


def test_moves_are_shared_as_asked(space, parents):
    spy = Spy(space)
    find(spy, parents, generations=1, children=4000, noise=1.0, interpolation=2.0, crossing=0.0, mutation=1.0)
    assert len(spy.points) / 4000 == pytest.approx(0.75, abs=0.03)
    assert spy.points.dtype == np.float32


def test_a_search_without_moves_is_refused():
    with pytest.raises(RecipeError, match="one of noise, interpolation, crossing and mutation"):
        parse_recipe(LATENT | EDITS, Search)


def test_noise_is_between_a_fifth_of_the_length_and_the_whole(space, parents):
    """Of scale s = 0.2ᵘ · length, u uniform: E s² = length² (1 − 0.2²) / (2 ln 5)."""
    spy, z = Spy(space), space.encode(parents[:1])
    find(spy, parents[:1], 0.5, generations=1, children=4000, interpolation=0.0, **LATENT)
    steps = spy.points - z
    assert (steps**2).mean() == pytest.approx(0.25 * 0.96 / (2 * np.log(5)), rel=0.05)
    lengths = np.linalg.norm(steps, axis=1) / np.sqrt(space.latent)
    assert np.quantile(lengths, 0.02) > 0.05
    assert np.quantile(lengths, 0.98) < 0.75


def test_interpolation_goes_from_one_parent_to_another(space, parents):
    spy, (start, end) = Spy(space), space.encode(parents[:2])
    find(spy, parents[:2], 1e-6, generations=1, children=500, noise=0.0, **LATENT)
    along = (spy.points - start) @ (end - start) / ((end - start) ** 2).sum()
    np.testing.assert_allclose(spy.points, start + along[:, None] * (end - start), atol=1e-4)
    between = along[(along > 1e-3) & (along < 1 - 1e-3)]
    assert len(between) / 500 == pytest.approx(4 / 9, abs=0.07)  # both parents the same in 1 + 4 of 9 pairs
    assert np.histogram(between, 4, (0, 1))[0].min() > len(between) / 6


def test_parents_are_the_best_and_drawn_by_rank(space, parents):
    spy = Spy(space)
    find(spy, parents, 1e-6, generations=1, children=4000, parents=3, interpolation=0.0, **LATENT)
    starts = space.encode(parents)
    nearest = ((spy.points[:, None] - starts[None]) ** 2).sum(-1).argmin(1)
    shares = np.bincount(nearest, minlength=len(starts)) / 4000
    assert shares[:3] == pytest.approx(np.array([6, 3, 2]) / 11, abs=0.03)
    assert shares[3:].sum() == 0


def test_children_become_parents_of_the_next_generation(open_space, parents):
    found = find(open_space, parents, generations=3, children=60, parents=5, **EDITS)
    assert any(candidate.parent not in parents for candidate in found.candidates)
    alone = find(open_space, parents, generations=1, children=60, parents=5, **EDITS)
    assert all(candidate.parent in parents for candidate in alone.candidates)
    assert texts(found)[: len(alone.candidates)] == texts(alone)
