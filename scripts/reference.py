"""The reference pages of the documentation, written from the code: recipe keys, commands, columns, Python interface.

    python scripts/reference.py docs/reference

`docs/conf.py` calls this for every build, so the pages are not kept in the repository.
"""

import argparse
import inspect
import json
import re
import textwrap
import types
import typing
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal, NamedTuple, get_args, get_origin

import typer
from pydantic import BaseModel
from pydantic.fields import FieldInfo

import molvae
from molvae.campaign.recipe import CampaignRecipe
from molvae.campaign.report.table import Facts, columns
from molvae.cli import app
from molvae.config import kinds, parse_recipe
from molvae.data.prepare import PrepareSettings
from molvae.registry import Registry
from molvae.vae.training.recipe import TrainRecipe

RECIPES: dict[str, tuple[str, type[BaseModel]]] = {
    "campaign-recipe": ("Campaign recipe", CampaignRecipe),
    "training-recipe": ("Training recipe", TrainRecipe),
    "prepare-settings": ("Settings of a preparation", PrepareSettings),
}
EXAMPLE: dict[str, Any] = {
    "objectives": [
        {"score": {"kind": "qed"}},
        {"score": {"kind": "logp"}, "direction": "target", "target": 2.0, "tolerance": 1.0},
        {"score": {"kind": "sas"}, "direction": "at most", "bound": 4.0},
    ]
}
"""Objectives of the three sorts that columns differ by."""
PLAIN: dict[Any, str] = {int: "integer", float: "number", str: "text", bool: "`true` or `false`", Path: "path"}
LIMITS = {"ge": "≥", "gt": ">", "le": "≤", "lt": "<", "min_length": "at least", "max_length": "at most"}
TITLES = "Attributes|Args|Returns|Raises|Example"


class Key(NamedTuple):
    """A key of a recipe, in words; ``meaning`` is empty where the code does not say it."""

    name: str
    type: str
    default: str
    meaning: str


class Table(NamedTuple):
    """A table of a recipe: its dotted key, its class, and the registry that ``kind`` chooses it from, if it does."""

    key: str
    model: type[BaseModel]
    registry: Registry | None = None


def pages() -> dict[str, str]:
    """Every page by its file's name."""
    found = {f"{name}.md": recipe_page(name, title, model) for name, (title, model) in RECIPES.items()}
    return found | {"command-line.md": command_page(), "columns.md": columns_page(), "python.md": python_page()}


def tables(recipe: type[BaseModel]) -> list[Table]:
    """The recipe and every table that can stand in it, each class once, in the order of a reader."""
    found: dict[type[BaseModel], Table] = {recipe: Table("", recipe)}

    def below(outer: Table) -> None:
        for name, field in outer.model.model_fields.items():
            key = f"{outer.key}.{name}".lstrip(".") + ("[]" if get_origin(field.annotation) is tuple else "")
            fresh = [model for model in models(typed(field)) if model not in found]
            found.update({model: Table(key, model, registry(typed(field))) for model in fresh})
            for model in fresh:
                below(found[model])

    below(found[recipe])
    return list(found.values())


def keys(model: type[BaseModel]) -> list[Key]:
    """The keys of one table, ``kind`` apart."""
    told = attributes(model)
    found = []
    for name, field in model.model_fields.items():
        choices = models(typed(field))
        meaning = field.description or told.get(name, "")
        if not meaning and choices:
            meaning = summary(choices[0]) if len(choices) == 1 else "one of"
        if name != "kind":
            found.append(Key(name, type_words(typed(field)), default_words(field), meaning))
    return found


def typed(field: FieldInfo) -> Any:
    """A field's type, with what its annotation said of it."""
    return Annotated[(field.annotation, *field.metadata)] if field.metadata else field.annotation


def models(annotation: Any) -> list[type[BaseModel]]:
    """All tables inside a type: of a choice its members, of a registry's field those of the registry."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [annotation]
    if get_origin(annotation) is Annotated:
        members = [model for mark in annotation.__metadata__ for model in getattr(mark, "members", ())]
        return members or models(annotation.__origin__)
    return [model for inner in get_args(annotation) for model in models(inner)]


def registry(annotation: Any) -> Registry | None:
    """What ``kind`` chooses from, where others may add to it."""
    marks = annotation.__metadata__ if get_origin(annotation) is Annotated else ()
    found = [mark for mark in marks if isinstance(mark, Registry)]
    inner = [one for one in (registry(part) for part in get_args(annotation)) if one is not None]
    return next(iter([*found, *inner]), None)


def type_words(annotation: Any) -> str:
    """What may come, for somebody who writes TOML."""
    origin, inner = get_origin(annotation), get_args(annotation)
    if origin is Annotated:
        plain = "table with `kind`" if registry(annotation) and get_origin(inner[0]) is None else type_words(inner[0])
        return plain + limits(annotation.__metadata__)
    if origin in (types.UnionType, typing.Union) and not models(annotation):
        return " or ".join(type_words(one) for one in inner if one is not type(None))
    if origin is Literal:
        return " or ".join(f"`{json.dumps(one)}`" for one in inner)
    if origin is tuple:
        if inner[-1] is Ellipsis:
            return f"list of {plural(type_words(inner[0]))}"
        return f"[{', '.join(type_words(one) for one in inner)}]"
    if origin is dict:
        return f"table of {plural(type_words(inner[1]))}"
    if found := models(annotation):
        return "table with `kind`" if kinds(found[0]) or len(found) > 1 else "table"
    return PLAIN.get(annotation, getattr(annotation, "__name__", str(annotation)))


def plural(words: str) -> str:
    """Of a type in words."""
    return re.sub(r"^(table|integer|number|path)\b", r"\1s", words)


def limits(marks: tuple[Any, ...]) -> str:
    """Bounds of a number, or of how many."""
    pairs = ((mark, name, sign) for mark in marks for name, sign in LIMITS.items() if hasattr(mark, name))
    found = [f"{sign} {getattr(mark, name):g}" for mark, name, sign in pairs]
    return f" ({', '.join(found)})" if found else ""


def default_words(field: FieldInfo) -> str:
    """A default as TOML has it."""
    if field.is_required():
        return "required"
    default = field.get_default(call_default_factory=True)
    if default is None:
        return "not set"
    if isinstance(default, BaseModel):
        return f'`kind = "{kinds(type(default))[0]}"`' if kinds(type(default)) else "its defaults"
    return f"`{json.dumps(default, default=str, ensure_ascii=False)}`"


def recipe_page(name: str, title: str, recipe: type[BaseModel]) -> str:
    """All keys of a recipe, a section a table."""
    found = tables(recipe)
    label = {table.model: f"{name}-{table.model.__name__}".lower() for table in found}
    lines = [f"# {title}", "", *prose(recipe), "", *key_table(recipe, label)]
    previous = ""
    for table in found[1:]:
        if table.key != previous:
            lines += ["", f"## `{table.key}`"]
            if kinds(table.model):
                same = [one.model for one in found if one.key == table.key]
                lines += ["", "One of: " + ", ".join(f"[{kinds(one)[0]}](#{label[one]})" for one in same) + "."]
            if table.registry:
                lines += [
                    'A class of your own is chosen by its path, `kind = "package.module:Class"`, or by the name that',
                    f"an installed package gives it in the entry points `{table.registry.group}`.",
                ]
            previous = table.key
        heading = f'`kind = "{kinds(table.model)[0]}"`' if kinds(table.model) else table.model.__name__
        lines += ["", f"({label[table.model]})=", f"### {heading}", ""]
        lines += [*prose(table.model), "", *key_table(table.model, label)]
    return "\n".join(lines).rstrip() + "\n"


def key_table(model: type[BaseModel], label: dict[type[BaseModel], str]) -> list[str]:
    """A row a key; of one that is a table, links to its sections."""
    rows = []
    for key in keys(model):
        inside = models(typed(model.model_fields[key.name]))
        links = ", ".join(f"[{(kinds(one) or ('keys',))[0]}](#{label[one]})" for one in inside)
        meaning = f"{key.meaning} ({links})" if links else key.meaning
        rows.append((f"`{key.name}`", key.type, key.default, meaning))
    return grid(("key", "type", "default", "meaning"), rows) if rows else ["It has no keys besides `kind`."]


# The command line


def commands() -> Iterator[tuple[str, Any]]:
    """Every command with its whole name."""

    def below(name: str, command: Any) -> Iterator[tuple[str, Any]]:
        inner = getattr(command, "commands", None)
        if inner is None:
            yield name, command
        for word, one in (inner or {}).items():
            yield from below(f"{name} {word}", one)

    return below("molvae", typer.main.get_command(app))


def command_page() -> str:
    """Every command with its options and its example."""
    lines = ["# Command line", "", "Every command takes `--help`, and prints what stands here."]
    for name, command in commands():
        rows = []
        words = [name]
        for one in command.params:
            named = one.opts[0].startswith("-")
            shown = ", ".join(f"`{opt}`" for opt in [*one.opts, *one.secondary_opts]) if named else f"`{_metavar(one)}`"
            plain = one.default is None or one.default is False or one.required
            default = "required" if one.required else "" if plain else f"`{one.default}`"
            rows.append((shown, default, one.help or ""))
            if one.required or not named:
                word = f"{one.opts[0]} {one.name.upper()}" if named else _metavar(one)
                words.append(word if one.required else f"[{word}]")
        usage = fenced(f"{' '.join(words)} [OPTIONS]", "text")
        lines += ["", f"## {name}", "", markdown(command.help), "", *usage, ""]
        lines += grid(("argument or option", "default", "meaning"), rows)
        example = re.sub(r"^Example: |\[/?bold\]", "", command.epilog or "")
        lines += ["", *fenced(example, "bash")]
    return "\n".join(lines) + "\n"


def _metavar(argument: Any) -> str:
    return str(argument.metavar or argument.name.upper())


def columns_page() -> str:
    """The columns of a candidate table."""
    recipe = parse_recipe(EXAMPLE, CampaignRecipe)
    lines = [
        "# Columns of a candidate table",
        "",
        "`molvae export` and `Campaign.table` give these columns, in this order; `columns.json` beside the table says",
        "the same of your own campaign. The example has an objective to maximise (`QED`), one with a target (`logP`),",
        "and a constraint (`SAS`); without a constraint there is no column `feasible`.",
        "",
    ]
    rows = [
        (f"`{name}`", column.meaning, column.unit or "", column.direction or "")
        for name, column in columns(recipe, Facts()).items()
    ]
    return "\n".join([*lines, *grid(("column", "meaning", "unit", "better"), rows)]) + "\n"


def python_page() -> str:
    """The public names of the package, from their docstrings."""
    lines = ["# Python interface", "", *prose(molvae)]
    for name in molvae.__all__:
        thing = getattr(molvae, name)
        page = next((page for page, (_, model) in RECIPES.items() if model is thing), None)
        if page:
            lines += ["", f"## {name}", "", *prose(thing), "", f"Its keys: [{RECIPES[page][0]}]({page}.md)."]
            continue
        lines += ["", f"## {name}", "", *described(f"molvae.{name}", thing)]
        if inspect.isclass(thing):
            for method, function in public(thing):
                lines += ["", f"### {name}.{method}", "", *described(f"{name}.{method}", function)]
    return "\n".join(lines) + "\n"


def public(thing: type) -> list[tuple[str, Any]]:
    """The public methods and properties that a class itself defines."""
    kept = (types.FunctionType, classmethod, staticmethod, property)
    return [(name, one) for name, one in vars(thing).items() if not name.startswith("_") and isinstance(one, kept)]


def described(name: str, thing: Any) -> list[str]:
    """Signature, text, and what its docstring lists."""
    lines = [] if isinstance(thing, property) else signature(name, getattr(thing, "__func__", thing))
    lines += prose(thing)
    for title, entries in sections(thing).items():
        if isinstance(entries, str):
            fence = fenced(entries, "python") if ">>>" in entries else [markdown(entries)]
            lines += ["", f"**{title}**", "", *fence]
        else:
            lines += ["", f"**{title}**", "", *(f"- `{key}`: {text}" for key, text in entries.items())]
    return lines


def signature(name: str, thing: Any) -> list[str]:
    """As code, an argument a line where it is long."""
    if inspect.isclass(thing) and issubclass(thing, BaseModel | Exception):
        return []
    found = inspect.signature(thing)
    shown = []
    for one in found.parameters.values():
        if one.name not in ("self", "cls"):
            default = "" if one.default is one.empty else f" = {one.default!r}"
            shown.append(f"{one.name}: {_bare(one.annotation)}{default}")
    back = found.return_annotation
    tail = "" if inspect.isclass(thing) or back is found.empty else f" -> {_bare(back)}"
    line = f"{name}({', '.join(shown)}){tail}"
    if len(line) > 88:
        line = "\n    ".join([f"{name}(", *(f"{one}," for one in shown)]) + f"\n){tail}"
    return [*fenced(line, "python"), ""]


def _bare(annotation: Any) -> str:
    """A type by its name, without modules and quotes."""
    return re.sub(r"\b(?:[a-z_]\w*\.)+(?=\w)|['~]", "", inspect.formatannotation(annotation))


# Docstrings


def docstring(thing: Any) -> str:
    """The docstring, its indentation gone."""
    return inspect.cleandoc(thing.__doc__ or "")


def prose(thing: Any) -> list[str]:
    """A docstring's text before its lists."""
    text = re.split(rf"^(?:{TITLES}):$", docstring(thing), maxsplit=1, flags=re.MULTILINE)[0]
    return [markdown(text.strip())]


def summary(thing: Any) -> str:
    """A docstring's first paragraph, in one line."""
    return " ".join(markdown(docstring(thing).split("\n\n")[0]).split())


def sections(thing: Any) -> dict[str, dict[str, str] | str]:
    """What a docstring lists, by title: names with their text, or text alone."""
    parts = re.split(rf"^({TITLES}):\n", docstring(thing), flags=re.MULTILINE)[1:]
    found: dict[str, dict[str, str] | str] = {}
    for title, block in zip(parts[::2], parts[1::2], strict=True):
        body = textwrap.dedent(block).strip()
        entries = re.findall(r"^([\w, ]+): (.*(?:\n[ \t]+.*)*)", body, re.MULTILINE)
        if title in ("Returns", "Example") or not entries:
            found[title] = body
        else:
            found[title] = {key: " ".join(markdown(text).split()) for key, text in entries}
    return found


def attributes(model: type[BaseModel]) -> dict[str, str]:
    """What the docstrings of a class, and of those that it is made of, say of each field."""
    found: dict[str, str] = {}
    for base in reversed(model.__mro__):
        listed = sections(base).get("Attributes", {}) if "__doc__" in vars(base) else {}
        for names, text in listed.items() if isinstance(listed, dict) else ():
            found |= {name.strip(): text for name in names.split(",")}
    return found


def markdown(text: str | None) -> str:
    """Code as Markdown writes it."""
    return re.sub(r"``(.+?)``", r"`\1`", (text or "").strip())


def fenced(text: str, language: str) -> list[str]:
    """A block of code."""
    return [f"```{language}", *text.splitlines(), "```"]


def grid(head: tuple[str, ...], rows: Iterable[Sequence[str]]) -> list[str]:
    """A table."""
    lines = [" | ".join(" ".join(cell.replace("|", "\\|").split()) for cell in row) for row in (head, *rows)]
    return [f"| {lines[0]} |", f"|{'---|' * len(head)}", *(f"| {line} |" for line in lines[1:])]


def write(folder: Path) -> None:
    """Write every page that is not what it should be."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in pages().items():
        path = folder / name
        if not path.exists() or path.read_text(encoding="utf-8") != text:
            path.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path)
    write(parser.parse_args().folder)
