import pytest
from hypothesis import given
from hypothesis import strategies as st

from molvae.data.vocab import END, START, Vocab
from molvae.errors import DataError, UnknownCharacter

ALPHABET = "#()+-123=@BCFHINOPS[]clnors"
VOCAB = Vocab.of([ALPHABET])


@given(st.text(ALPHABET))
def test_the_round_trip_is_exact(text):
    ids = VOCAB.encode(text)
    assert len(ids) == len(text)
    assert VOCAB.decode(ids) == text


@given(st.text(ALPHABET), st.text(ALPHABET))
def test_what_follows_the_end_is_not_read(text, rest):
    assert VOCAB.decode([*VOCAB.encode(text), END, *VOCAB.encode(rest)]) == text


@given(st.text(min_size=1))
def test_a_vocabulary_of_any_texts_encodes_them(text):
    vocab = Vocab.of([text])
    assert len(vocab) == len(set(text)) + 2
    assert vocab.decode(vocab.encode(text)) == text


def test_ids_follow_the_sorted_characters_after_end_and_start():
    assert (END, START) == (0, 1)
    assert Vocab.of(["CCO", "c1ccccc1"]).characters == "1COc"
    assert Vocab("1COc").encode("CCO1") == [3, 3, 4, 2]


def test_an_unknown_character_is_pointed_at():
    with pytest.raises(UnknownCharacter) as caught:
        VOCAB.encode("CC[Xe]")
    assert caught.value.position == 3
    assert str(caught.value) == "the model does not know the character 'X' at character 4\n  CC[Xe]\n     ^"


@pytest.mark.parametrize("characters", ["", "ba", "aab"])
def test_other_than_sorted_different_characters_are_refused(characters):
    with pytest.raises(DataError, match="sorted characters"):
        Vocab(characters)


def test_no_text_makes_no_vocabulary():
    with pytest.raises(DataError):
        Vocab.of([])
