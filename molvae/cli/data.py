"""molvae data …: list, fetch, prepare, match."""

from pathlib import Path
from typing import Annotated

import typer

from molvae.cli.shell import app, command, out, print_table, progress_bar, remark

data = typer.Typer(help="Sets of molecules: list, fetch, prepare, match.", no_args_is_help=True)
app.add_typer(data, name="data")


@command("list", "molvae data list", data)
def list_() -> None:
    """Datasets that `fetch` knows, with their licence and citation."""
    from molvae.data.datasets import available

    for dataset in available():
        parts = ", ".join(f"{part.name} {part.molecules:,}" for part in dataset.parts)
        out.print(f"[bold]{dataset.name}[/bold]  {dataset.description}", soft_wrap=True)
        for label, text in (("molecules", parts), ("licence", dataset.licence), ("cite", dataset.citation)):
            out.print(f"  {label}: {' '.join(text.split())}", markup=False, soft_wrap=True)


@command("fetch", "molvae data fetch zinc250k -o data/zinc250k/raw", data)
def fetch(
    name: Annotated[str, typer.Argument(help="Of a dataset in `molvae data list`.")],
    folder: Annotated[Path | None, typer.Option("--out", "-o", help="Default: data/NAME/raw.")] = None,
    source: Annotated[list[Path] | None, typer.Option("--from", help="A file or folder at hand; repeatable.")] = None,
) -> None:
    """Download a dataset, or take it from files at hand; resumes, verifies, writes its manifest last."""
    from molvae.data import datasets
    from molvae.folders import unseal

    folder = folder or Path("data") / name / "raw"
    with progress_bar(f"fetching {name}", "bytes") as update:
        datasets.fetch(name, folder, source or (), progress=lambda part, done, total: update(done, total, part=part))
    if missing := unseal(folder, verify=False)["missing"]:
        remark(f"without {', '.join(missing)}: the same command without --from, or with that file, adds the rest")
    remark(f"{name} is in {folder}; next: molvae data prepare {folder} -o data/{name}/prepared")


@command("prepare", "molvae data prepare molecules.csv -o data/mine --column smiles", data)
def prepare(
    source: Annotated[
        Path, typer.Argument(metavar="INPUT", help=".smi .csv .tsv .parquet (.gz), or a fetched folder.")
    ],
    folder: Annotated[Path, typer.Option("--out", "-o", help="The corpus folder to make.")],
    column: Annotated[str | None, typer.Option(help="Column of SMILES; by default SMILES in any case.")] = None,
    split: Annotated[str | None, typer.Option(help="random, scaffold, or given (by the source's parts).")] = None,
    valid: Annotated[float, typer.Option(help="Validation part: a share below 1, or a number.")] = 0.05,
    test: Annotated[float, typer.Option(help="Test part, likewise.")] = 0.05,
    max_length: Annotated[int, typer.Option(help="Longest canonical SMILES kept, in characters.")] = 120,
    keep_largest_fragment: Annotated[bool, typer.Option(help="Of salts and mixtures keep the largest part.")] = False,
    seed: Annotated[int, typer.Option(help="Of the split.")] = 0,
    label: Annotated[
        list[str] | None,
        typer.Option(help="Column of numbers to keep as a label; a cell may be empty or text; repeatable."),
    ] = None,
    score: Annotated[
        list[str] | None,
        typer.Option(help="Label to compute: logp, qed, sas, an RDKit descriptor such as MolWt; repeatable."),
    ] = None,
) -> None:
    """Clean, canonicalise, split, label: from a file of molecules to a corpus for training.

    Labels are for models that also predict properties. A molecule of several rows gets the mean of their labels;
    any label may be missing for any molecule.
    """
    from molvae.config import parse_recipe
    from molvae.data.prepare import PrepareSettings
    from molvae.data.prepare import prepare as make

    shares = {key: int(x) if x.is_integer() else x for key, x in (("valid", valid), ("test", test))}
    choices = {"column": column, "split": split, "seed": seed, "max_length": max_length, **shares}
    table = {**choices, "keep_largest_fragment": keep_largest_fragment, "labels": label or [], "scores": score or []}
    settings = parse_recipe(table, PrepareSettings, "the command line")
    with progress_bar(f"preparing {source.name}", "rows") as update:
        manifest = make(source, folder, settings, progress=update)
    print_table([{**manifest["counts"], "longest": manifest["longest"], "split": manifest["split"]}])
    print_table([{"labelled": name, **counts} for name, counts in manifest.get("labelled", {}).items()])
    if manifest["counts"]["rejected"]:
        remark(f"rejected rows and the reasons: {folder / 'rejects.csv'}")


@command("match", "molvae data match samples.csv --like data/zinc250k/prepared/train.smi -o alike.csv", data)
def match(
    samples: Annotated[list[Path], typer.Argument(metavar="FILES", help="Tables as `molvae sample` writes.")],
    like: Annotated[Path, typer.Option(help="The molecules that they should resemble: a .smi file or a table.")],
    output: Annotated[Path, typer.Option("--output", "-o", help=".csv .tsv .parquet .smi .xlsx")],
    keep: Annotated[float, typer.Option(help="Share of the valid samples that is kept.")] = 0.3,
    epochs: Annotated[int, typer.Option(min=1, help="Of the classifier.")] = 3,
    strata: Annotated[int, typer.Option(min=1, help="Of each property; 1 for none.")] = 10,
    seed: Annotated[int, typer.Option(min=0, help="Of all chance.")] = 0,
) -> None:
    """Samples that resemble the data: by a classifier that tells the one from the other, within strata of properties.

    A model can be trained on what is kept, beside its corpus: `synthetic` in its recipe.
    """
    import pandas as pd

    from molvae.config import parse_recipe
    from molvae.data.match import MatchSettings
    from molvae.data.match import match as choose
    from molvae.data.tables import check_ending, write_table

    check_ending(output)
    table = {"keep": keep, "epochs": epochs, "strata": strata, "seed": seed}
    found = choose(samples, like, parse_recipe(table, MatchSettings, "the command line"))
    write_table(pd.DataFrame({"SMILES": found.smiles}), output)
    columns = ("mean molecular weight", "mean logP", "mean SAS")
    rows = [(name, n, dict(zip(columns, means, strict=True))) for name, (n, means) in found.means.items()]
    print_table([{"molecules of": name, "number": n, **means} for name, n, means in rows])
    remark(f"the classifier is right in {found.told_apart:.1%} of pairs of a molecule and a sample it has not seen")
