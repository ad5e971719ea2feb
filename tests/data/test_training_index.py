from hypothesis import given
from hypothesis import strategies as st

from molvae.data.training_index import KnownMolecules

texts = st.lists(st.text(max_size=12), max_size=30)


@given(texts, texts)
def test_it_answers_as_a_set_would(seen, asked):
    known = KnownMolecules.of(seen)
    assert len(known) == len(set(seen))
    assert known.contains(asked).tolist() == [text in set(seen) for text in asked]


def test_nothing_is_known_of_nothing():
    assert KnownMolecules.of([]).contains(["C"]).tolist() == [False]
    assert KnownMolecules.of(["C"]).contains([]).shape == (0,)


def test_hashes_are_the_same_everywhere():
    """They are stored in model folders: 64 bits of BLAKE2b, little-endian, sorted."""
    assert KnownMolecules.of(["CCO", "C", "CCO"]).hashes.tolist() == sorted(KnownMolecules.of(["C", "CCO"]).hashes)
    assert KnownMolecules.of(["CCO"]).hashes.dtype.str == "<i8"
