"""molvae init, parts."""

import importlib
from pathlib import Path
from typing import Annotated

import typer

from molvae.cli.shell import command, out, print_table, remark
from molvae.errors import UsageError

RECIPES = {"campaign": "campaign", "pareto": "pareto", "pmo": "pmo", "train": "train_nci5k", "smoke": "smoke"}
"""Recipes that come with the package, by the name that `init` takes: the file in ``pipelines/``."""
HOMES = ("molvae.campaign.recipe", "molvae.vae.training.recipe")
"""Modules that bring all REGISTRIES with them."""


@command("init", "molvae init campaign.toml")
def init(
    recipe: Annotated[
        str, typer.Argument(help="campaign, pareto, pmo, train or smoke; also as a path, mine/train.toml.")
    ],
) -> None:
    """Write a commented recipe to begin with, into the current folder or where the path says."""
    from molvae.config import nearest
    from molvae.folders import write_atomic

    path = Path(recipe if recipe.endswith(".toml") else f"{recipe}.toml")
    if path.stem not in RECIPES:
        raise UsageError(f"there is no recipe {path.stem!r}{nearest(path.stem, RECIPES)}")
    if path.exists():
        raise UsageError(f"{path} is there already; move it away, or take another folder")
    file = f"{RECIPES[path.stem]}.toml"
    content = recipe_file(file).read_text(encoding="utf-8").replace(f"pipelines/{file}", str(path))
    write_atomic(path, content)
    what = "train" if "train" in content.partition("[")[0] else "optimize"
    remark(f"{path} is written; next: molvae {what} {path} --out runs/{path.stem}")


@command("parts", "molvae parts surrogate")
def parts(
    sort: Annotated[str | None, typer.Argument(help="Of one sort, such as surrogate; default: all.")] = None,
) -> None:
    """What recipes can choose by `kind`: the parts of this package, and those that installed packages announce."""
    from molvae.config import nearest
    from molvae.registry import REGISTRIES

    for module in HOMES:
        importlib.import_module(module)
    if sort is not None and sort not in REGISTRIES:
        raise UsageError(f"there is no sort of parts {sort!r}{nearest(sort, REGISTRIES)}")
    rows = [
        {"part": noun, "kind": kind, "is": what}
        for noun, registry in REGISTRIES.items()
        if sort in (None, noun)
        for kind, what in registry.described().items()
    ]
    print_table(rows)
    out.print("One of your own: kind = 'package.module:Class'.", markup=False)


def recipe_file(name: str) -> Path:
    """A recipe of the package: in an installed one ``molvae/recipes``, in a checkout ``pipelines``."""
    package = Path(__file__).parents[1]
    installed = package / "recipes" / name
    return installed if installed.is_file() else package.parent / "pipelines" / name
