"""Recipes: TOML files that become frozen pydantic values, or an error that names the key and the fix."""

import difflib
import hashlib
import json
import tomllib
import typing
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel, ConfigDict, ValidationError

from molvae.errors import RecipeError


class Component(BaseModel):
    """A frozen value whose fields are its settings; unknown settings are refused.

    Whatever a recipe can choose is a subclass. Where there is a choice of several, each has a field
    ``kind: Literal["..."]`` and the recipe's field is a union of them, discriminated by it.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


Recipe = TypeVar("Recipe", bound=Component)

MOST_NAMES = 24
"""Names that a hint lists; a module of anybody's may have hundreds."""


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
    for override in overrides:
        _apply_override(table, override)
    return parse_recipe(table, schema, source=str(path))


def parse_recipe(table: Mapping[str, Any], schema: type[Recipe], source: str = "the recipe") -> Recipe:
    """A recipe from nested dictionaries; types are strict, so ``"10"`` is not a number."""
    table = _with_default_kinds(table, schema)
    try:
        return schema.model_validate_json(json.dumps(table, default=str), strict=True)
    except ValidationError as error:
        found = error.errors()
        _refuse_another_command_s(found, schema, source)
        inner = {item["loc"][:-k] for item in found for k in range(1, len(item["loc"]))}
        # a list whose items do not fit counts as too short as well: what is wrong with the items says it all
        told = [item for item in found if item["type"] != "too_short" or item["loc"] not in inner]
        lines = [_explain(dict(item), schema) for item in told]
        raise RecipeError(f"{source} does not fit:\n" + "\n".join(f"  {line}" for line in lines)) from error


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


def _with_default_kinds(table: Mapping[str, Any], schema: type[BaseModel]) -> dict[str, Any]:
    """The table, where a section without ``kind`` is of the kind that it has by default."""
    full = dict(table)
    for name, field in schema.model_fields.items():
        section, default = full.get(name), field.default
        if isinstance(section, Mapping) and isinstance(default, BaseModel):
            kind = {"kind": default.model_dump()["kind"]} if "kind" in type(default).model_fields else {}
            full[name] = _with_default_kinds({**kind, **section}, type(default))
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


def _apply_override(table: dict[str, Any], override: str) -> None:
    key, equals, text = override.partition("=")
    if not equals or not key.strip():
        raise RecipeError(f"--set takes KEY=VALUE, for instance train.batch=512; it got {override!r}")
    try:
        value = tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        value = text
    *parents, last = key.strip().split(".")
    for parent in parents:
        table = table.setdefault(parent, {})
        if not isinstance(table, dict):
            raise RecipeError(f"--set {override}: {parent!r} is not a table of the recipe")
    table[last] = value


def _explain(item: dict[str, Any], schema: type[BaseModel]) -> str:
    where = item["loc"]
    key = ".".join(str(part) for part in where) or "(top level)"
    if item["type"] == "extra_forbidden":
        return f"{key}: unknown key{nearest(str(where[-1]), _keys_at(schema, where[:-1]))}"
    if item["type"] == "missing":
        return f"{key}: this key is required"
    if item["type"] == "union_tag_invalid":
        context = item["ctx"]
        known = [tag.strip(" '") for tag in str(context["expected_tags"]).split(",")]
        return f"{key}: there is no kind {context['tag']!r}{nearest(str(context['tag']), known)}"
    if item["type"] == "union_tag_not_found":
        return f"{key}: the key 'kind' is required here"
    came = json.dumps(item.get("input"), default=str)
    message = str(item["msg"]).removeprefix("Value error, ")
    return f"{key}: {message}; it is {came if len(came) < 80 else came[:80] + '…'}"


def _keys_at(schema: Any, where: tuple[int | str, ...]) -> list[str]:
    """Field names of the model that the location ``where`` of a validation error leads to."""
    choices = _models(schema)
    for part in where:
        by_kind = [m for m in choices if part in typing.get_args(_kind(m))]
        if by_kind:
            choices = by_kind
        elif isinstance(part, str):
            fields = [m.model_fields[part] for m in choices if part in m.model_fields]
            choices = [model for field in fields for model in _models(field.annotation)]
    return sorted({name for model in choices for name in model.model_fields})


def _kind(model: type[BaseModel]) -> Any:
    return model.model_fields["kind"].annotation if "kind" in model.model_fields else None


def _models(annotation: Any) -> list[type[BaseModel]]:
    """All pydantic models inside a type: of ``tuple[A | B, ...] | None`` both A and B."""
    if isinstance(annotation, type):
        return [annotation] if issubclass(annotation, BaseModel) else []
    return [model for inner in typing.get_args(annotation) for model in _models(inner)]
