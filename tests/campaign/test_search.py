import numpy as np
import pytest

from molvae.bo.regions import Region
from molvae.campaign.search import LatentSearch, Parent


@pytest.fixture
def parents(space):
    return [Parent(smiles, space.encode([smiles])[0]) for smiles in space.smiles[:60:3]]


def find(space, parents, length=0.8, known=frozenset(), restarts=0, seed=1, **settings):
    search = LatentSearch(**{"points": 200, **settings})
    return search(space, Region(length, restarts), parents, known, 20, seed)


def test_candidates_are_new_valid_known_to_the_model_and_carry_their_own_encoding(space, parents):
    known = {parent.smiles for parent in parents}
    found = find(space, parents, known=known)
    smiles = [candidate.smiles for candidate in found.candidates]
    assert len(smiles) == len(set(smiles)) >= 20
    assert not known & set(smiles)
    for candidate in found.candidates:
        assert candidate.z.tolist() == space.encode([candidate.smiles])[0].tolist()
        assert candidate.parent in known
        assert candidate.move in ("noise", "interpolation")
    assert {candidate.move for candidate in found.candidates} == {"noise", "interpolation"}
    assert found.decoded % 200 == 0
    assert found.valid <= found.decoded


def test_invalid_texts_are_dropped_and_counted(space, parents):
    far = [Parent(parent.smiles, parent.z + 50) for parent in parents]
    found = find(space, far)
    assert (found.candidates, found.decoded, found.valid) == ((), 1000, 0)


def test_molecules_that_the_model_cannot_encode_are_dropped(space, parents):
    class Narrow(type(space)):
        def knows(self, smiles):
            return "N" not in smiles and super().knows(smiles)

    found = find(Narrow(), parents)
    assert found.candidates
    assert not any("N" in candidate.smiles for candidate in found.candidates)


def test_same_seed_same_candidates(space, parents):
    a, b, c = (find(space, parents, seed=seed).candidates for seed in (1, 1, 2))
    assert [x.smiles for x in a] == [x.smiles for x in b] != [x.smiles for x in c]


def test_moves_stay_within_the_region_and_begin_at_the_best(space, parents):
    search = LatentSearch(points=4000, parents=3)
    rng = np.random.default_rng(0)
    moves, points = search._moves(parents[:3], 0.2, rng)
    starts = {parent.smiles: parent.z for parent in parents}
    lengths = np.array([np.linalg.norm(z - starts[name]) for (name, _), z in zip(moves, points, strict=True)])
    noise = np.array([move == "noise" for _, move in moves])
    assert lengths[~noise].max() <= 0.2 * np.sqrt(6) * 1.5
    # 6 dimensions of at most 0.2 each: beyond 1.0 is a draw of 5 standard deviations
    assert lengths[noise].max() < 1.0
    names = [name for name, _ in moves]
    assert [round(names.count(p.smiles) / 4000, 1) for p in parents[:3]] == [0.5, 0.3, 0.2]
    assert points.dtype == np.float32


def test_search_widens_only_while_it_finds_too_little(space, parents):
    assert find(space, parents, length=0.8).decoded == 200
    known = {parent.smiles for parent in parents}
    assert find(space, parents, length=0.02, known=known, points=20).decoded > 20


def test_restarts_widen_the_circle_of_parents(space, parents):
    search = LatentSearch(points=200, parents=2)
    few, more = (search(space, Region(0.8, restarts), parents, frozenset(), 20, 1) for restarts in (0, 2))
    assert len({candidate.parent for candidate in few.candidates}) == 2
    assert len({candidate.parent for candidate in more.candidates}) > 4
