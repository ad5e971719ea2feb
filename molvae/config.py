"""Recipes: TOML files that become frozen pydantic values, or an error that names the key and the fix."""

import difflib
import hashlib
import json
import logging
import tomllib
import typing
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar, TypeVar

from pydantic import BaseModel, ConfigDict, ValidationError
from pydantic._internal._model_construction import ModelMetaclass

from molvae.arguments import checked
from molvae.errors import RecipeError

log = logging.getLogger("molvae")


class _Refusing(ModelMetaclass):
    """Settings that do not fit are refused in our words from Python, too, and not in pydantic's."""

    def __call__(cls, *values: Any, **settings: Any) -> Any:  # noqa: N805 (of a metaclass)
        """Build one.

        Raises:
            RecipeError: names each setting that does not fit.
        """
        try:
            return super().__call__(*values, **settings)
        except ValidationError as error:
            raise _refusal(error, typing.cast(type[BaseModel], cls), cls.__name__) from error


class Component(BaseModel, metaclass=_Refusing):
    """A frozen value whose fields are its settings; unknown settings are refused.

    Whatever a recipe can choose is a subclass. Where there is a choice of several, each of ours has a field
    ``kind: Literal["..."]``, and the recipe's field is annotated with a `molvae.registry.Registry` of them.

    Attributes:
        ALIASES: dotted keys of earlier releases, and what each is called now; a recipe may have either for a release.
        REMOVED: keys of earlier releases that are gone, each with the value by which it did nothing: by that one a
            recipe may still have it.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    ALIASES: ClassVar[Mapping[str, str]] = {}
    REMOVED: ClassVar[Mapping[str, Any]] = {}


Recipe = TypeVar("Recipe", bound=Component)

MOST_NAMES = 24
"""Names that a hint lists; a module of anybody's may have hundreds."""


@checked
def read_recipe(path: str | Path, schema: type[Recipe], overrides: Iterable[str] = ()) -> Recipe:
    """The recipe in a TOML file, with ``overrides`` such as ``"train.batch=512"`` applied on top.

    Raises:
        RecipeError: the file is missing or not TOML, a key is unknown, a value has the wrong type.
    """
    path = Path(path)
    try:
        table = tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise RecipeError(f"there is no recipe {path}") from None
    except (OSError, UnicodeDecodeError) as error:
        raise RecipeError(f"{path} cannot be read: {error}") from error
    except tomllib.TOMLDecodeError as error:
        raise RecipeError(f"{path} is not valid TOML: {error}") from error
    table = _renamed(table, schema, str(path))
    for override in overrides:
        _apply_override(table, override, schema.ALIASES)
    return parse_recipe(table, schema, source=str(path))


def parse_recipe(table: Mapping[str, Any], schema: type[Recipe], source: str = "the recipe") -> Recipe:
    """A recipe from nested dictionaries; types are strict, so ``"10"`` is not a number.

    Keys of earlier releases are read by their new names, each with a remark.
    """
    table = _renamed(table, schema, source)
    try:
        return _parsed(table, schema)
    except ValidationError as error:
        raise _refusal(error, schema, source) from error


def read_record(table: Mapping[str, Any], schema: type[Recipe], source: str) -> Recipe:
    """A recipe as a run of this or an earlier release recorded it, in full.

    Earlier releases recorded settings of parts that the chosen kind never read, too; these are left out.
    """
    table, _ = with_new_keys(table, schema.ALIASES)
    try:
        return _parsed(table, schema)
    except ValidationError as error:
        for item in error.errors(include_url=False):
            if item["type"] != "extra_forbidden" or not _owners(schema, item["loc"]):
                raise _refusal(error, schema, source) from error
            place: Any = table
            for part in item["loc"][:-1]:
                place = place[part] if isinstance(part, int) else place.get(part, place)  # a kind is no key
            del place[item["loc"][-1]]
    try:
        return _parsed(table, schema)
    except ValidationError as error:
        raise _refusal(error, schema, source) from error


def _parsed(table: Mapping[str, Any], schema: type[Recipe]) -> Recipe:
    return schema.model_validate_json(json.dumps(_with_default_kinds(table, schema), default=str), strict=True)


def _renamed(table: Mapping[str, Any], schema: type[Component], source: str) -> dict[str, Any]:
    """The table by the keys of this release, with a remark for each that had its old name."""
    table, renamed = with_new_keys(table, schema.ALIASES)
    for old, new in renamed.items():
        log.warning("%s: %s is called %s now; the old name will go in a later release", source, old, new)
    return table


def with_new_keys(table: Mapping[str, Any], aliases: Mapping[str, str]) -> tuple[dict[str, Any], dict[str, str]]:
    """A copy of the table in which old dotted keys have their new names, and which were found.

    Raises:
        RecipeError: a key stands there by its old and by its new name.
    """
    found: dict[str, str] = {}
    copy: dict[str, Any] = json.loads(json.dumps(table, default=str))
    for old, new in sorted(aliases.items(), key=lambda pair: -pair[0].count(".")):
        *parents, last = old.split(".")
        place: Any = copy
        for parent in parents:
            place = place.get(parent) if isinstance(place, Mapping) else None
        if not isinstance(place, dict) or last not in place:
            continue
        value = place.pop(last)
        if parents and not place:
            _drop_empty(copy, parents)
        *parents, last = new.split(".")
        place = copy
        for parent in parents:
            place = place.setdefault(parent, {})
        if not isinstance(place, dict) or (last in place and not (_both_tables(place[last], value))):
            raise RecipeError(f"{old} is called {new} now, and the recipe has both; take {old} out")
        place[last] = {**value, **place[last]} if last in place else value
        found[old] = new
    return copy, found


def _drop_empty(table: dict[str, Any], parents: Sequence[str]) -> None:
    """Take out the tables that a renamed key left empty: the new home of their other keys may not be theirs."""
    first, *rest = parents
    if rest:
        _drop_empty(table[first], rest)
    if not table[first]:
        del table[first]


def _both_tables(one: Any, other: Any) -> bool:
    return isinstance(one, Mapping) and isinstance(other, Mapping) and not one.keys() & other.keys()


def _refusal(error: ValidationError, schema: type[BaseModel], source: str) -> RecipeError:
    """What does not fit, a line a key."""
    found = error.errors(include_url=False)
    _refuse_another_command_s(found, schema, source)
    inner = {item["loc"][:-k] for item in found for k in range(1, len(item["loc"]))}
    # a list whose items do not fit counts as too short as well: what is wrong with the items says it all
    told = [item for item in found if item["type"] != "too_short" or item["loc"] not in inner]
    lines = [_explain(dict(item), schema) for item in told]
    return RecipeError(f"{source} does not fit:\n" + "\n".join(f"  {line}" for line in lines))


def as_table(recipe: Component) -> dict[str, Any]:
    """The recipe as plain JSON values, defaults included: what a run folder keeps."""
    table: dict[str, Any] = recipe.model_dump(mode="json")
    return table


def recipe_hash(recipe: Component) -> str:
    """SHA-256 of the canonical JSON text, first 16 hexadecimal digits."""
    text = json.dumps(as_table(recipe), sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def differing_keys(old: Mapping[str, Any], new: Mapping[str, Any], prefix: str = "") -> list[str]:
    """Dotted keys whose values differ, each with both values: ``"train.batch: 256 → 512"``."""
    found: list[str] = []
    for key in sorted({*old, *new}):
        a, b = old.get(key, "(absent)"), new.get(key, "(absent)")
        if isinstance(a, Mapping) and isinstance(b, Mapping):
            found += differing_keys(a, b, f"{prefix}{key}.")
        elif a != b:
            found.append(f"{prefix}{key}: {json.dumps(a)} → {json.dumps(b)}")
    return found


def nearest(name: str, known: Iterable[str]) -> str:
    """A hint such as ``"; did you mean 'batch'?"``, or (the first `MOST_NAMES` of) what may come, or nothing."""
    known = list(known)
    close = difflib.get_close_matches(name, known, n=1, cutoff=0.5)
    if close:
        return f"; did you mean {close[0]!r}?"
    shown, left = sorted(known)[:MOST_NAMES], len(known) - MOST_NAMES
    return f"; known are {', '.join(shown)}{f' and {left} more' if left > 0 else ''}" if known else ""


def _with_default_kinds(table: Mapping[str, Any], schema: type[BaseModel], prefix: str = "") -> dict[str, Any]:
    """The table, where a section without ``kind`` is of the kind that it has by default; removed keys are left out."""
    removed: Mapping[str, Any] = getattr(schema, "REMOVED", {})
    for key in table.keys() & removed.keys():
        if table[key] != removed[key]:
            was = f"{prefix}{key} was removed, and is {json.dumps(table[key], default=str)} here"
            raise RecipeError(f"{was}; take it out ({json.dumps(removed[key])} is what there is without it)")
    full = {key: value for key, value in table.items() if key not in removed}
    for name, field in schema.model_fields.items():
        section, default = full.get(name), field.default
        if isinstance(section, Mapping) and isinstance(default, BaseModel):
            kind = {"kind": default.model_dump()["kind"]} if "kind" in type(default).model_fields else {}
            full[name] = section = {**kind, **section}
            if section.get("kind") == kind.get("kind"):  # a section of another kind has other sections in it
                full[name] = _with_default_kinds(section, type(default), f"{prefix}{name}.")
    return full


def _refuse_another_command_s(found: Sequence[Any], schema: type[BaseModel], source: str) -> None:
    """One line for a recipe that has another shape altogether: a key of a line each would say it less well."""
    top: dict[str, list[str]] = {"missing": [], "extra_forbidden": []}
    for item in found:
        if len(item["loc"]) == 1 and item["type"] in top:
            top[item["type"]].append(str(item["loc"][0]))
    missing, unknown = top.values()
    if missing and len(unknown) > 2:
        raise RecipeError(
            f"{source} seems to be for another command: it has no {', '.join(missing)}, and nothing here is called "
            f"{', '.join(unknown)}; known are {', '.join(sorted(schema.model_fields))}"
        )


def _apply_override(table: dict[str, Any], override: str, aliases: Mapping[str, str]) -> None:
    key, equals, text = override.partition("=")
    key = key.strip()
    if not equals or not key:
        raise RecipeError(f"--set takes KEY=VALUE, for instance train.batch=512; it got {override!r}")
    try:
        value = tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        value = text
    for old, new in aliases.items():
        if f"{key}.".startswith(f"{old}."):
            log.warning("--set %s: %s is called %s now; the old name will go in a later release", override, old, new)
            key = new + key.removeprefix(old)
            break
    *parents, last = key.split(".")
    for parent in parents:
        table = table.setdefault(parent, {})
        if not isinstance(table, dict):
            raise RecipeError(f"--set {override}: {parent!r} is not a table of the recipe")
    table[last] = value


def _explain(item: dict[str, Any], schema: type[BaseModel]) -> str:
    where = item["loc"]
    key = ".".join(str(part) for part in where) or "(top level)"
    if item["type"] == "extra_forbidden":
        known = sorted({name for model in _models_at(schema, where[:-1]) for name in model.model_fields})
        return f"{key}: unknown key{_owners(schema, where) or nearest(str(where[-1]), known)}"
    if item["type"] == "missing":
        return f"{key}: this key is required"
    if item["type"] == "union_tag_invalid":
        context = item["ctx"]
        tags = [tag.strip(" '") for tag in str(context["expected_tags"]).split(",")]
        return f"{key}: there is no kind {context['tag']!r}{nearest(str(context['tag']), tags)}"
    if item["type"] == "union_tag_not_found":
        return f"{key}: the key 'kind' is required here"
    if item["type"] in ("no_such_kind", "no_such_part"):
        return f"{key}: {item['msg']}"
    came = json.dumps(item.get("input"), default=repr)
    message = str(item["msg"]).removeprefix("Value error, ")
    return f"{key}: {message}; it is {came if len(came) < 80 else came[:80] + '…'}"


def _owners(schema: type[BaseModel], where: tuple[int | str, ...]) -> str:
    """Which other kinds have a key that the chosen one has not."""
    members = _models_at(schema, where[:-2]) if len(where) > 1 else []
    if not any(where[-2] in kinds(model) for model in members):
        return ""
    owners = sorted(repr(kind) for model in members if where[-1] in model.model_fields for kind in kinds(model))
    return f": the kind {where[-2]!r} does not read it, but {' and '.join(owners)}" if owners else ""


def _models_at(schema: Any, where: tuple[int | str, ...]) -> list[type[BaseModel]]:
    """The models that may stand at the location ``where`` of a validation error."""
    choices = _models(schema)
    for part in where:
        by_kind = [model for model in choices if part in kinds(model)]
        if by_kind:
            choices = by_kind
        elif isinstance(part, str):
            fields = [model.model_fields[part] for model in choices if part in model.model_fields]
            choices = [model for field in fields for model in _models(typing.Annotated[(field.annotation, field)])]
    return choices


def kinds(model: type[BaseModel]) -> tuple[str, ...]:
    """The ``kind`` that a recipe chooses one of our components by; nothing for others."""
    return typing.get_args(model.model_fields["kind"].annotation) if "kind" in model.model_fields else ()


def _models(annotation: Any) -> list[type[BaseModel]]:
    """All components inside a type: of ``tuple[A | B, ...] | None`` both A and B, of a registry's field its members."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [annotation]
    if typing.get_origin(annotation) is typing.Annotated:
        marks = [mark for one in annotation.__metadata__ for mark in (one, *getattr(one, "metadata", ()))]
        members = [model for mark in marks for model in getattr(mark, "members", ())]
        return members or _models(annotation.__origin__)
    return [model for inner in typing.get_args(annotation) for model in _models(inner)]
