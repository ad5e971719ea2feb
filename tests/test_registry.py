"""What a recipe can choose by kind: ours, what packages announce, anything by its path; and what a run records."""

import sys
from typing import Annotated, Literal, Protocol

import pytest
from pydantic import Field

from molvae import registry
from molvae.config import Component, as_table, parse_recipe
from molvae.errors import RecipeError
from molvae.registry import Registry, import_path, missing, only_installed, package_version, parts_of


class Shape(Protocol):
    """Something with an area."""

    most: int

    def __call__(self, scale: float) -> float:
        """The area."""


class Round(Component):
    """A circle."""

    kind: Literal["round"] = "round"
    most: int = 1
    radius: float = Field(1.0, gt=0)

    def __call__(self, scale: float) -> float:
        """Three is near enough."""
        return 3 * scale * self.radius**2


class Square(Component):
    """A square."""

    kind: Literal["square"] = "square"
    most: int = 1
    side: int = 1
    inner: tuple[int, ...] = ()

    def __call__(self, scale: float) -> float:
        """Side times side."""
        return scale * self.side**2


SHAPES = Registry("toy shape", Shape, (Round, Square))
del registry.REGISTRIES["toy shape"]  # no contract test should look for it


class Box(Component):
    """The recipe."""

    lid: Annotated[Shape, SHAPES] = Round()
    shapes: tuple[Annotated[Shape, SHAPES], ...] = ()


OUTSIDE = """
from molvae.config import Component

class Triangle(Component):
    most: int = 1
    height: float = 2.0
    points: tuple[float, ...] = ()

    def __call__(self, scale):
        return scale * self.height / 2

class Bare(Component):
    pass

class Narrow(Component):
    most: int = 1

    def __call__(self):
        return 0.0

class Plain:
    pass
"""


@pytest.fixture
def outside(tmp_path, monkeypatch):
    """A module of somebody else's."""
    (tmp_path / "other_shapes.py").write_text(OUTSIDE)
    (tmp_path / "other_script.py").write_text("raise SystemExit(0)\n")
    monkeypatch.setattr(sys, "path", [*sys.path, str(tmp_path)])
    yield "other_shapes"
    sys.modules.pop("other_shapes", None)


def refusal(table) -> str:
    with pytest.raises(RecipeError) as caught:
        parse_recipe(table, Box)
    return str(caught.value)


def test_our_own_go_by_kind():
    box = parse_recipe({"lid": {"kind": "square", "side": 2}, "shapes": [{"kind": "round"}]}, Box)
    assert box == Box(lid=Square(side=2), shapes=(Round(),))
    assert as_table(box)["lid"] == {"kind": "square", "most": 1, "side": 2, "inner": []}


def test_a_class_from_outside_goes_by_its_path_and_comes_back_from_the_record(outside):
    table = {"lid": {"kind": f"{outside}:Triangle", "height": 3, "points": [1, 2]}}
    box = parse_recipe(table, Box)
    assert box.lid(2.0) == 3.0
    assert box.lid.points == (1.0, 2.0)
    assert as_table(box)["lid"]["kind"] == "other_shapes:Triangle"
    assert parse_recipe(as_table(box), Box) == box


def test_a_package_announces_its_parts(outside, monkeypatch):
    class Point:
        name, value = "triangle", f"{outside}:Triangle"

    monkeypatch.setattr(registry, "entry_points", lambda group: [Point] if group == "molvae.toy_shapes" else [])
    assert SHAPES.announced() == {"triangle": "other_shapes:Triangle"}
    box = parse_recipe({"lid": {"kind": "triangle"}}, Box)
    assert as_table(box)["lid"]["kind"] == "other_shapes:Triangle"  # the record does not depend on what is installed


@pytest.mark.parametrize(
    ("table", "said"),
    [
        ({"lid": {"kind": "squire"}}, "lid: there is no kind 'squire'; did you mean 'square'?"),
        ({"lid": {"kind": 7}}, "lid: the key 'kind' is required here"),
        ({"lid": 5}, "lid: Input should be an object; it is 5"),
        ({"shapes": [{"radius": 1.0}]}, "shapes.0: the key 'kind' is required here"),
        ({"lid": {"kind": "round", "radios": 2.0}}, "lid.round.radios: unknown key; did you mean 'radius'?"),
        ({"lid": {"kind": "round", "side": 2}}, "side: unknown key: the kind 'round' does not read it, but 'square'"),
        ({"shapes": [{"kind": "round", "radius": -1.0}]}, "shapes.0.round.radius: Input should be greater than 0"),
        ({"lid": {"kind": "no_such_package:Part"}}, "the module 'no_such_package' cannot be imported"),
        ({"lid": {"kind": "other_script:Part"}}, "the module 'other_script' cannot be imported (SystemExit: 0)"),
        ({"lid": {"kind": "other_shapes:Triangel"}}, "has no 'Triangel'; did you mean 'Triangle'?"),
        ({"lid": {"kind": "other shapes:Triangle"}}, "is not written package.module:Name"),
        ({"lid": {"kind": "other_shapes:Plain"}}, "is no toy shape: it is not a class whose base is molvae.Component"),
        ({"lid": {"kind": "other_shapes:Bare"}}, "is no toy shape: it lacks most; it lacks __call__(scale)"),
        ({"lid": {"kind": "other_shapes:Narrow"}}, "__call__ is called with (scale), and takes ()"),
        ({"lid": {"kind": "other_shapes:Triangle", "heigth": 1}}, "heigth: unknown key"),
        ({"lid": {"kind": "other_shapes:Triangle", "height": "1"}}, "height: Input should be a valid number"),
    ],
)
def test_what_cannot_be_chosen_is_said(outside, table, said):
    assert said in refusal(table)


def test_from_python_too():
    class Bare(Component):
        pass

    with pytest.raises(RecipeError, match="lid: this is no toy shape: it lacks most"):
        Box(lid=Bare())
    with pytest.raises(RecipeError, match=r"radius: Input should be greater than 0; it is -1"):
        Round(radius=-1)


def test_a_record_names_path_and_version_of_each_part(outside):
    recorded = parts_of(parse_recipe({"lid": {"kind": f"{outside}:Triangle"}, "shapes": [{"kind": "round"}]}, Box))
    assert recorded.keys() == {"lid", "shapes.0"}
    assert recorded["shapes.0"]["path"].endswith("test_registry:Round")
    assert recorded["lid"]["path"] == "other_shapes:Triangle"
    assert recorded["lid"]["version"].startswith("sha256 ")
    assert package_version("molvae.config").startswith("molvae ")
    assert package_version("pydantic.fields").startswith("pydantic ")


def test_a_subclass_is_recorded_as_itself_and_refused_where_it_cannot_be_found():
    class Mine(Round):
        pass

    box = Box(lid=Mine())
    assert as_table(box)["lid"]["kind"].endswith("<locals>.Mine")
    with pytest.raises(RecipeError, match="put the class at the top of a module of its own"):
        parts_of(box)


def test_only_what_has_a_path_is_imported():
    for path in ("json", "json:", ":loads", "js-on:loads", "json:lo ads", "../x:y"):
        with pytest.raises(ImportError, match="not written"):
            import_path(path)
    assert import_path("json.decoder:JSONDecoder.decode")


def test_a_protocol_is_met_by_settings_and_methods():
    assert missing(Round, Shape) == []
    assert missing(Shape, Shape) == ["it is not a class whose base is molvae.Component"]


def test_what_is_no_recipe_imports_nothing_of_the_current_folder(tmp_path, monkeypatch):
    (tmp_path / "here_only.py").write_text(OUTSIDE)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [folder for folder in sys.path if folder != ""])
    with only_installed(), pytest.raises(RecipeError, match=r"No module named 'here_only'.* folder on PYTHONPATH"):
        parse_recipe({"lid": {"kind": "here_only:Triangle"}}, Box)
    assert str(tmp_path) not in sys.path
    assert parse_recipe({"lid": {"kind": "here_only:Triangle"}}, Box).lid(1.0) == 1.0
    sys.modules.pop("here_only")
