import inspect
import pickle

import pytest

from molvae import errors
from molvae.errors import InvalidSmiles, MolvaeError, SmilesError, UnknownCharacter, UsageError, shorten

TREE = [kind for _, kind in inspect.getmembers(errors, inspect.isclass)]


def test_every_error_is_of_one_tree():
    assert all(issubclass(kind, MolvaeError) for kind in TREE)
    assert len(TREE) >= 11


def test_bad_usage_exits_with_2_and_the_rest_with_1():
    assert {kind.__name__ for kind in TREE if kind.exit_code == 2} == {"UsageError", "RecipeError"}
    assert all(kind.exit_code in (1, 2) for kind in TREE)
    assert UsageError.exit_code == 2


def test_the_caret_stands_under_the_offending_character():
    assert str(UnknownCharacter("CCxCC", "no such character", 2)) == (
        "no such character at character 3\n"  # counted from 1
        "  CCxCC\n"
        "    ^"
    )


def test_of_a_long_text_the_place_is_shown():
    text = "C" * 500 + "x" + "C" * 500
    first, shown, caret = str(InvalidSmiles(text, "no", 500)).splitlines()
    assert first == "no at character 501"
    assert shown[caret.index("^")] == "x"
    assert len(shown) < 70


def test_without_a_position_the_beginning_is_shown():
    assert str(SmilesError("C" * 1000, "too long")) == f"too long: '{'C' * 60}… (1000 characters)'"


@pytest.mark.parametrize("kind", [SmilesError, InvalidSmiles, UnknownCharacter])
def test_smiles_errors_pass_between_processes(kind):
    error = pickle.loads(pickle.dumps(kind("CC?", "bad", 2)))
    assert type(error) is kind
    assert (error.text, error.reason, error.position) == ("CC?", "bad", 2)
    assert str(error) == str(kind("CC?", "bad", 2))


def test_shorten_leaves_short_texts_alone():
    assert shorten("abc", 3) == "abc"
    assert shorten("abcd", 3) == "abc… (4 characters)"
