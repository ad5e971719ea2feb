"""molvae predict, neighbors, interpolate, map."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from molvae.cli.model import Column, Device, Model, Seed, Table
from molvae.cli.rows import encodable, tell_rejected
from molvae.cli.shell import best_device, command, print_table, progress_bar, remark
from molvae.errors import UsageError

if TYPE_CHECKING:  # help should load neither pandas nor torch
    import pandas as pd

Found = Annotated[
    Path | None, typer.Option("--output", "-o", help="A table, or a picture: .png .svg .html; default: print.")
]


@command("predict", "molvae predict zinc250k molecules.csv -o predicted.csv")
def predict(
    model: Model,
    table: Table,
    output: Annotated[Path | None, typer.Option("--output", "-o", help="A table; default: print.")] = None,
    column: Column = None,
    device: Device = "auto",
) -> None:
    """Properties of each molecule as the model sees them in latent space; rows it cannot read go to a second table."""
    from molvae.data.tables import check_ending, read_rows
    from molvae.latent import prediction
    from molvae.vae.folder import load_model

    if output is not None:
        check_ending(output)
    vae = load_model(model, best_device(device))
    prediction.predict(vae, [])  # a model without heads says so before the work
    good, bad = encodable(vae, read_rows(table, column), table)
    if good:
        _give(prediction.predict(vae, [row.text for row in good]), output)
    tell_rejected(bad, output, len(good))


@command("neighbors", "molvae neighbors zinc250k 'CC(=O)Nc1ccc(O)cc1' -n 20 -o neighbors.html")
def neighbors(
    model: Model,
    smiles: Annotated[str, typer.Argument(metavar="SMILES", help="The molecule to look around.")],
    n: Annotated[int, typer.Option("-n", min=1, help="How many different molecules.")] = 50,
    output: Found = None,
    radius: Annotated[float, typer.Option(help="Largest noise in each dimension; the prior's spread is 1.")] = 0.5,
    decodes: Annotated[int, typer.Option(min=1, help="Give up after so many points.")] = 4096,
    device: Device = "auto",
    seed: Seed = 0,
) -> None:
    """Molecules around a molecule: what its latent point, moved by noise, decodes to; the most frequent first."""
    from molvae.latent import neighbors
    from molvae.vae.folder import load_model

    _check(output, n + 1)
    vae = load_model(model, best_device(device))
    with progress_bar("decoding", "molecules") as update:
        found = neighbors.neighbors(vae, smiles, n, radius, decodes, seed, update)
    told = found.attrs
    shares = f"{told['itself']:.1%} give the molecule itself, {told['valid']:.1%} a valid one"
    remark(f"{told['decodes']} points decoded: {shares}")
    if len(found) < n:
        remark(f"they gave {len(found)} other molecules, not {n}; more --decodes or a larger --radius find more")
    else:
        remark(f"{told['found']} other molecules found; these are {n}, the most frequent first")
    given = [("the query", told["query"])]
    _give(found, output, lambda path: _draw(path, found, f"Around {told['query']}", _near, "first", given, []))


@command("interpolate", "molvae interpolate zinc250k 'CC(=O)Nc1ccc(O)cc1' 'CC(C)Cc1ccc(C(C)C(=O)O)cc1' -o way.svg")
def interpolate(
    model: Model,
    a: Annotated[str, typer.Argument(metavar="A", help="SMILES of the one end.")],
    b: Annotated[str, typer.Argument(metavar="B", help="SMILES of the other end.")],
    n: Annotated[int, typer.Option("-n", min=2, help="Points to decode, both ends included.")] = 12,
    straight: Annotated[bool, typer.Option("--straight", help="A straight line; default: along the shell.")] = False,
    output: Found = None,
    device: Device = "auto",
) -> None:
    """The molecules on the way from A to B in latent space; consecutive points with one molecule make one row."""
    from molvae.latent import interpolation
    from molvae.vae.folder import load_model

    _check(output, n + 2)
    vae = load_model(model, best_device(device))
    found = interpolation.interpolate(vae, a, b, n, straight)
    told = found.attrs
    remark(f"{len(found)} molecules from {told['points']} points, {told['invalid']} of which gave no valid one")
    smiles = found["SMILES"].tolist()
    before = [("A", told["a"])] if told["a"] not in smiles[:1] else []
    after = [("B", told["b"])] if told["b"] not in smiles[-1:] else []
    for name, end in before + after:
        remark(f"the point of {name} does not give {end} back")
    title = f"From {told['a']} to {told['b']}"
    _give(found, output, lambda path: _draw(path, found, title, _between, "previous", before, after))


@command("map", "molvae map zinc250k molecules.csv -o map.html --color sas")
def latent_map(
    model: Model,
    table: Table,
    output: Annotated[Path, typer.Option("--output", "-o", help=".html, .png, or a table such as .csv")],
    color: Annotated[str, typer.Option(help="A column of FILE, or qed, sas, logp, MolWt, module:name, …")] = "qed",
    method: Annotated[str, typer.Option(help="pca, or umap, which needs the package umap-learn.")] = "pca",
    column: Column = None,
    device: Device = "auto",
    seed: Seed = 0,
) -> None:
    """Molecules as points of a plane, near each other where the model finds them alike, coloured by a property."""
    from molvae.data.tables import read_whole
    from molvae.latent import projection as maps
    from molvae.latent.map_page import PICTURES, write_map
    from molvae.vae.folder import load_model

    _check(output, pictures=PICTURES)
    maps.check_method(method)
    vae = load_model(model, best_device(device))
    whole = read_whole(table, column)
    good, bad = encodable(vae, whole.rows(), table)
    if good:
        lines = {row.line for row in good}
        kept = whole.frame[[line in lines for line in whole.lines]]
        found = maps.latent_map(vae, kept, color, method, seed)
        write_map(found, output, f"{table.name}: {len(found):,} molecules")
        remark(f"{len(found)} molecules, {', '.join(found.attrs['axes'])}: {output}")
    tell_rejected(bad, output, len(good))


def _near(row: Mapping[Any, Any]) -> str:
    """A caption, in ASCII: RDKit draws nothing else."""
    return f"{row['frequency']}x, similarity {row['similarity']:.2f}\nQED {row['QED']:.2f}, logP {row['logP']:.1f}"


def _between(row: Mapping[Any, Any]) -> str:
    place = f"{row['t']:.2f}" + (f" to {row['t_last']:.2f}" if row["t_last"] > row["t"] else "")
    return f"{place}, QED {row['QED']:.2f}\nlike A {row['similarity_a']:.2f}, like B {row['similarity_b']:.2f}"


def _check(output: Path | None, molecules: int = 0, pictures: tuple[str, ...] | None = None) -> None:
    """Refuse an ending that is neither a table's nor a picture's, before the work."""
    from molvae.chem.pictures import PICTURES, check_picture
    from molvae.data.tables import check_ending

    known = pictures or PICTURES
    if output is None:
        return
    if output.suffix.lower() in known:
        check_picture(output, molecules)
        return
    try:
        check_ending(output)
    except UsageError as error:
        raise UsageError(f"{error}; pictures are written as {', '.join(known)}") from None


def _give(found: "pd.DataFrame", output: Path | None, draw: Callable[[Path], None] | None = None) -> None:
    from molvae.chem.pictures import PICTURES
    from molvae.data.tables import write_table

    if output is None:
        print_table([{str(key): value for key, value in row.items()} for row in found.to_dict("records")])
        return
    if draw is not None and output.suffix.lower() in PICTURES:
        draw(output)
    else:
        write_table(found, output)
    remark(f"{len(found)} molecules: {output}")


def _draw(
    path: Path,
    found: "pd.DataFrame",
    title: str,
    caption: Callable[[Mapping[Any, Any]], str],
    turned_like: Literal["first", "previous"],
    before: list[tuple[str, str]],
    after: list[tuple[str, str]],
) -> None:
    """A picture of the molecules found, with those that were given before and after them."""
    from molvae.chem.molecule import Molecule
    from molvae.chem.pictures import write_picture

    rows = [(caption(row), row["SMILES"]) for row in found.to_dict("records")]
    captions, smiles = zip(*[*before, *rows, *after], strict=True)
    write_picture(path, [Molecule.parse(text) for text in smiles], captions, title, turned_like)
