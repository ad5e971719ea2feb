"""Recipes: strict, and each refusal names the key and the fix."""

import hashlib
import json
from typing import Annotated, ClassVar, Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import Field, ValidationError

from molvae.config import Component, as_table, differing_keys, nearest, parse_recipe, read_recipe, recipe_hash
from molvae.errors import RecipeError


class Round(Component):
    """A choice."""

    kind: Literal["round"] = "round"
    radius: float = Field(1.0, gt=0)


class Square(Component):
    """Another."""

    kind: Literal["square"] = "square"
    side: int = 1


class Box(Component):
    """Holds shapes."""

    shapes: tuple[Annotated[Round | Square, Field(discriminator="kind")], ...] = ()
    lid: Annotated[Round | Square, Field(discriminator="kind")] = Round()


class Order(Component):
    """The recipe."""

    ALIASES: ClassVar = {"cover": "box.lid", "count": "amount"}
    REMOVED: ClassVar = {"gift": False}

    name: str
    amount: int = 1
    box: Box = Box()
    spare: Box | None = None


@pytest.fixture
def toml(tmp_path):
    def write(text: str):
        path = tmp_path / "order.toml"
        path.write_text(text)
        return path

    return write


def refusal(table) -> str:
    with pytest.raises(RecipeError) as caught:
        parse_recipe(table, Order)
    return str(caught.value)


def test_a_toml_file_becomes_a_frozen_value(toml):
    path = toml('name = "a"\namount = 3\n[[box.shapes]]\nkind = "square"\nside = 2\n')
    order = read_recipe(path, Order)
    assert order == Order(name="a", amount=3, box=Box(shapes=(Square(side=2),)))
    with pytest.raises(ValidationError):
        order.amount = 4


@pytest.mark.parametrize(
    ("table", "said"),
    [
        ({"amuont": 1}, "amuont: unknown key; did you mean 'amount'?"),
        ({"box": {"lidd": {}}}, "box.lidd: unknown key; did you mean 'lid'?"),
        ({"box": {"lid": {"kind": "round", "radios": 1}}}, "unknown key; did you mean 'radius'?"),
        ({"box": {"shapes": [{"kind": "square"}, {"kind": "square", "sides": 1}]}}, "did you mean 'side'?"),
        ({"spare": {"shape": []}}, "spare.shape: unknown key; did you mean 'shapes'?"),
        ({"zzz": 1}, "zzz: unknown key; known are amount, box, name, spare"),
        ({"box": {"lid": {"kind": "squire"}}}, "box.lid: there is no kind 'squire'; did you mean 'square'?"),
        ({"box": {"shapes": [{"radius": 1.0}]}}, "box.shapes.0: the key 'kind' is required here"),
    ],
)
def test_an_unknown_key_is_named_with_the_nearest_at_any_depth(table, said):
    assert said in refusal({"name": "a", **table})


@pytest.mark.parametrize(
    ("table", "said"),
    [
        ({"amount": "10"}, 'amount: Input should be a valid integer; it is "10"'),
        ({"amount": 1.5}, "it is 1.5"),
        ({"amount": True}, "it is true"),
        ({"name": 7}, "name: Input should be a valid string; it is 7"),
        ({"box": 5}, "box: Input should be an object; it is 5"),
        ({"box": {"lid": {"kind": "round", "radius": -1.0}}}, "greater than 0; it is -1.0"),
        ({"box": {"lid": {"kind": "round", "radius": float("nan")}}}, "finite number; it is NaN"),
    ],
)
def test_a_wrong_value_is_named_with_what_it_is(table, said):
    assert said in refusal({"name": "a", **table})


def test_everything_wrong_is_said_at_once():
    text = refusal({"amuont": 1, "amount": "1"})
    assert "name: this key is required" in text
    assert "amuont: unknown key" in text
    assert "amount: Input should be" in text


def test_a_recipe_of_another_command_is_said_in_a_line():
    text = refusal({"corpus": "data", "net": {}, "train": {}})
    assert "\n" not in text
    assert "seems to be for another command: it has no name, and nothing here is called corpus, net, train" in text
    assert "known are amount, box, name, spare" in text


def test_an_integer_serves_where_a_number_is_asked_for():
    assert parse_recipe({"name": "a", "box": {"lid": {"kind": "round", "radius": 2}}}, Order).box.lid == Round(radius=2)


@pytest.mark.parametrize("content", [b"name = ", b"\xff\xfe", None])
def test_a_file_that_is_missing_or_no_toml_is_named(tmp_path, content):
    path = tmp_path / "order.toml"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(RecipeError, match=r"order\.toml"):
        read_recipe(path, Order)


def test_a_folder_is_no_recipe(tmp_path):
    with pytest.raises(RecipeError, match="cannot be read"):
        read_recipe(tmp_path, Order)


@pytest.mark.parametrize(
    ("override", "expected"),
    [
        ("amount=12", {"amount": 12}),
        ("name=plain words", {"name": "plain words"}),
        ('name="12"', {"name": "12"}),
        ("box.lid={kind='square', side=4}", {"box": Box(lid=Square(side=4))}),
    ],
)
def test_overrides_are_toml_values_and_bare_words_are_text(toml, override, expected):
    order = read_recipe(toml('name = "a"'), Order, [override])
    assert order == Order(**{"name": "a", **expected})


def test_the_last_override_wins(toml):
    assert read_recipe(toml('name = "a"'), Order, ["amount=2", "amount=3"]).amount == 3


@pytest.mark.parametrize(
    ("override", "said"),
    [
        ("amount", "KEY=VALUE"),
        ("=3", "KEY=VALUE"),
        ("amont=3", "did you mean 'amount'"),
        ("amount.x=3", "'amount' is not a table"),
        ("amount=many", 'it is "many"'),
    ],
)
def test_a_bad_override_is_refused(toml, override, said):
    with pytest.raises(RecipeError, match=said):
        read_recipe(toml('name = "a"\namount = 1'), Order, [override])


orders = st.builds(
    Order,
    name=st.text(min_size=1),
    amount=st.integers(0, 10**6),
    box=st.builds(
        Box,
        shapes=st.lists(st.builds(Square, side=st.integers(-5, 5)) | st.builds(Round, radius=st.floats(0.1, 1e9))).map(
            tuple
        ),
    ),
)


@given(orders)
def test_a_recipe_survives_json(order):
    assert parse_recipe(json.loads(json.dumps(as_table(order))), Order) == order


@given(orders, orders)
def test_hashes_and_differences_agree(a, b):
    assert (recipe_hash(a) == recipe_hash(b)) == (a == b)
    assert (differing_keys(as_table(a), as_table(b)) == []) == (a == b)


def test_the_hash_is_of_the_canonical_json_text():
    expected = hashlib.sha256(b'{"kind":"square","side":1}').hexdigest()
    assert recipe_hash(Square()) == expected[:16]


def test_differences_are_dotted_with_both_values():
    old = {"train": {"batch": 256, "beta": {"kind": "linear"}}, "seed": 0}
    new = {"train": {"batch": 512, "beta": {"kind": "linear"}}, "name": "x"}
    assert differing_keys(old, new) == [
        'name: "(absent)" → "x"',
        'seed: 0 → "(absent)"',
        "train.batch: 256 → 512",
    ]


def test_nearest_lists_what_there_is_where_nothing_is_near():
    assert nearest("btach", ["batch", "epochs"]) == "; did you mean 'batch'?"
    assert nearest("xyz", ["b", "a"]) == "; known are a, b"
    assert nearest("xyz", []) == ""
    assert nearest("xyz", [f"name{k:03}" for k in range(300)]).endswith("name023 and 276 more")


def test_a_list_whose_items_do_not_fit_is_not_called_too_short():
    class Shapes(Component):
        shapes: tuple[Annotated[Round | Square, Field(discriminator="kind")], ...] = Field(min_length=1)

    with pytest.raises(RecipeError) as caught:
        parse_recipe({"shapes": [{"kind": "squire"}]}, Shapes)
    assert str(caught.value).splitlines()[1:] == ["  shapes.0: there is no kind 'squire'; did you mean 'square'?"]
    with pytest.raises(RecipeError, match="shapes: Tuple should have at least 1 item"):
        parse_recipe({"shapes": []}, Shapes)


def test_a_section_without_kind_is_of_its_default_kind():
    assert parse_recipe({"radius": 2.0}, Round) == Round(radius=2.0)
    assert parse_recipe({"lid": {"radius": 2.0}}, Box).lid == Round(radius=2.0)
    with pytest.raises(RecipeError, match=r"lid\.round\.side: unknown key"):
        parse_recipe({"lid": {"side": 2}}, Box)
    with pytest.raises(RecipeError, match=r"shapes\.0: the key 'kind' is required"):
        parse_recipe({"shapes": [{"radius": 2.0}]}, Box)


def test_a_section_of_another_kind_than_the_default_keeps_its_sections():
    """What the default kind would add to them may be unknown to the other."""

    class Crate(Component):
        kind: Literal["crate"] = "crate"
        lid: Round = Round()

    class Sack(Component):
        kind: Literal["sack"] = "sack"
        lid: dict[str, float] = Field({})

    class Cargo(Component):
        hold: Annotated[Crate | Sack, Field(discriminator="kind")] = Crate()

    assert parse_recipe({"hold": {"kind": "sack", "lid": {"radius": 2.0}}}, Cargo).hold.lid == {"radius": 2.0}
    assert parse_recipe({"hold": {"lid": {"radius": 2.0}}}, Cargo).hold.lid == Round(radius=2.0)


def test_keys_of_an_earlier_release_are_read_by_their_new_names_with_a_remark(toml, caplog):
    order = read_recipe(toml('name = "a"\ncount = 2\n[cover]\nkind = "square"\n'), Order, ["cover.side=5", "count=3"])
    assert order == Order(name="a", amount=3, box=Box(lid=Square(side=5)))
    for remark in ("cover is called box.lid now", "count is called amount now", "--set count=3: count is called"):
        assert remark in caplog.text
    new = toml('name = "a"\n[box.lid]\nkind = "square"\nside = 4\n')
    assert read_recipe(new, Order, ["cover.side=5"]).box.lid == Square(side=5)
    with pytest.raises(RecipeError, match="count is called amount now, and the recipe has both"):
        parse_recipe({"name": "a", "count": 1, "amount": 2}, Order)


def test_a_removed_key_is_read_where_it_asks_for_nothing(caplog):
    assert parse_recipe({"name": "a", "gift": False}, Order) == Order(name="a")
    assert not caplog.text
    with pytest.raises(RecipeError, match="gift was removed, and is true here; take it out"):
        parse_recipe({"name": "a", "gift": True}, Order)

    class Post(Component):
        order: Order = Order(name="a")

    with pytest.raises(RecipeError, match=r"order\.gift was removed"):
        parse_recipe({"order": {"name": "b", "gift": 1.5}}, Post)
