"""molvae train, evaluate, sample, encode, decode, score, models."""

import json
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from molvae.cli.shell import best_device, command, out, print_table, progress_bar, remark, see_current_folder
from molvae.errors import MolvaeError, UsageError

Model = Annotated[str, typer.Argument(help="A model folder, or the name of an installed model.")]
Table = Annotated[Path, typer.Argument(metavar="FILE", help="A table with a column of SMILES, or a .smi file.")]
Column = Annotated[str | None, typer.Option(help="Column of SMILES; by default SMILES in any case.")]
Device = Annotated[str, typer.Option(help="auto, cpu or cuda.")]
Temperature = Annotated[float | None, typer.Option(help="Draw characters; default: the likeliest.")]
Seed = Annotated[int, typer.Option(min=0, max=2**62, help="Of all chance.")]


@command("train", "molvae train pipelines/train_nci5k.toml --out runs/nci5k")
def train(
    recipe: Annotated[Path, typer.Argument(help="A training recipe (TOML).")],
    folder: Annotated[Path, typer.Option("--out", "-o", help="The run's folder; the same command again resumes.")],
    device: Annotated[str | None, typer.Option(help="auto, cpu or cuda; over the recipe's.")] = None,
    set_: Annotated[list[str] | None, typer.Option("--set", help="KEY=VALUE over the recipe's; repeatable.")] = None,
    seed: Annotated[int | None, typer.Option(help="Over the recipe's.")] = None,
) -> None:
    """Train a SMILES VAE; stopped at any moment, the same command goes on to the same weights."""
    from molvae.config import read_recipe
    from molvae.vae import train as training
    from molvae.vae.recipe import TrainRecipe

    overrides = list(set_ or [])
    overrides += [f'hardware.device="{device}"'] if device else []
    overrides += [f"seed={seed}"] if seed is not None else []
    settings = read_recipe(recipe, TrainRecipe, overrides)
    shown: dict[str, str] = {}
    with progress_bar(f"training {settings.name}", "steps") as update:

        def show(event: training.TrainEvent) -> None:
            if event.figures:
                shown["reconstruction"] = f"{event.figures['reconstruction']:.1%}"
                shown["valid"] = f"{event.figures['validity_prior']:.1%}"
                figures = "  ".join(f"{key} {value:.4g}" for key, value in event.figures.items())
                remark(figures)
            rate = f"{event.molecules_per_second:,.0f}/s"
            update(event.step, event.steps, molecules=rate, nll=f"{event.nll:.1f}", kl=f"{event.kl:.1f}", **shown)

        model = training.train(settings, folder, show)
    remark(f"the model is in {model}; figures of each evaluation in {folder / 'metrics.csv'}")


@command("evaluate", "molvae evaluate zinc250k --smiles data/zinc250k/prepared/valid.smi")
def evaluate(
    model: Model,
    smiles: Annotated[
        Path | None, typer.Option(help="Molecules it was not trained on: reconstruction, nll, kl.")
    ] = None,
    column: Column = None,
    n: Annotated[int, typer.Option("-n", min=1, help="Prior samples, and at most so many molecules.")] = 1000,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
    device: Device = "auto",
    seed: Seed = 0,
) -> None:
    """Figures of a model: validity, uniqueness and novelty of samples; with --smiles, reconstruction and likelihood."""
    from molvae.chem.molecule import parse_or_none
    from molvae.chem.tables import read_rows
    from molvae.vae import metrics
    from molvae.vae.checkpoint import load_model

    vae = load_model(model, best_device(device))
    figures = metrics.sample_statistics(vae, n, seed)
    if smiles is not None:
        texts: list[str] = []
        for row in read_rows(smiles, column):
            molecule = parse_or_none(row.text)
            if molecule is None or not vae.reads(molecule.smiles):
                remark(f"{smiles}:{row.line}: left out, not a molecule that this model reads: {row.text[:60]}")
            else:
                texts.append(molecule.smiles)
            if len(texts) == n:
                break
        if not texts:
            raise UsageError(f"{smiles} has no molecule that this model reads")
        figures |= {
            "molecules": float(len(texts)),
            **asdict(metrics.evaluate_beside(vae, texts, figures["validity"], seed)),
        }
    if as_json:
        out.print_json(json.dumps(figures))
    else:
        print_table([{"figure": name, "value": value} for name, value in figures.items()])


@command("sample", "molvae sample zinc250k -n 1000 --seed 1 -o samples.csv")
def sample(
    model: Model,
    n: Annotated[int, typer.Option("-n", min=1, help="How many.")] = 10,
    temperature: Temperature = None,
    output: Annotated[Path | None, typer.Option("--output", "-o", help="A table; default: print.")] = None,
    device: Device = "auto",
    seed: Seed = 0,
) -> None:
    """Strings decoded from the prior, valid or not; a table tells which are valid."""
    from molvae.chem.tables import check_ending
    from molvae.vae.checkpoint import load_model

    if output is not None:
        check_ending(output)
    texts = load_model(model, best_device(device)).sample(n, seed, temperature)
    _give_texts(texts, output)


@command("encode", "molvae encode zinc250k molecules.csv -o z.parquet")
def encode(
    model: Model,
    table: Table,
    output: Annotated[Path, typer.Option("--output", "-o", help=".parquet, .csv, …: SMILES, z0, z1, …")],
    column: Column = None,
    device: Device = "auto",
) -> None:
    """The latent point (posterior mean) of each molecule; rows that cannot be encoded go to a second table."""
    import pandas as pd

    from molvae.chem.molecule import Molecule
    from molvae.chem.tables import check_ending, read_rows, write_table
    from molvae.vae.checkpoint import load_model

    check_ending(output)
    vae = load_model(model, best_device(device))
    good, bad = [], []
    for row in read_rows(table, column):
        try:
            molecule = Molecule.parse(row.text)
            vae.check(molecule.smiles)
            good.append(molecule.smiles)
        except MolvaeError as error:
            bad.append({"SMILES": row.text, "line": row.line, "reason": str(error).splitlines()[0]})
            remark(f"{table}:{row.line}: {error}")
    if good:
        names = [f"z{k}" for k in range(vae.latent)]
        points = pd.DataFrame(vae.encode_texts(good).mean.numpy(), columns=names)
        write_table(pd.concat([pd.Series(good, name="SMILES"), points], axis=1), output)
    _tell_rejected(bad, output, len(good))


@command("decode", "molvae decode zinc250k z.parquet -o decoded.csv")
def decode(
    model: Model,
    table: Annotated[Path, typer.Argument(metavar="FILE", help="A table with the columns z0, z1, …")],
    output: Annotated[Path | None, typer.Option("--output", "-o", help="A table; default: print.")] = None,
    temperature: Temperature = None,
    device: Device = "auto",
    seed: Seed = 0,
) -> None:
    """The string that each latent point decodes to."""
    import torch

    from molvae.chem.tables import check_ending, read_columns
    from molvae.vae.checkpoint import load_model

    if output is not None:
        check_ending(output)
    vae = load_model(model, best_device(device))
    z = torch.tensor(read_columns(table, [f"z{k}" for k in range(vae.latent)]))
    _give_texts(vae.decode(z, temperature, seed), output)


@command("score", "molvae score molecules.csv -o scored.csv --objective qed --objective MolWt")
def score(
    table: Table,
    output: Annotated[Path, typer.Option("--output", "-o", help=".csv .tsv .parquet .xlsx .sdf .smi")],
    objective: Annotated[
        list[str] | None,
        typer.Option(help="logp, qed, sas, penalized_logp, qed_sas, an RDKit descriptor, or module:name; repeatable."),
    ] = None,
    column: Column = None,
) -> None:
    """The table with a column for each objective; a row without a value says why in the column "failure"."""
    from molvae.chem.objectives import named
    from molvae.chem.scoring import score_table
    from molvae.chem.tables import check_ending, read_table, write_table

    check_ending(output)
    see_current_folder()
    objectives = [named(word) for word in objective or ("logp", "qed", "sas")]
    with progress_bar("scoring", "molecules") as update:
        scored = score_table(read_table(table, column), objectives, update)
    write_table(scored, output)
    failed = int((scored["failure"] != "").sum())
    remark(f"{len(scored) - failed} of {len(scored)} molecules scored: {output}")
    if failed:
        raise MolvaeError(f"{failed} rows have no value; the column 'failure' of {output} says why")


@command("models", "molvae models zinc250k")
def models(
    name: Annotated[str | None, typer.Argument(help="Print this model's card.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Models that come with the package, and their cards."""
    from molvae.vae.checkpoint import find_model, installed_models, model_facts

    if name is not None:
        facts = model_facts(name)
        card = (find_model(name) / "card.md").read_text(encoding="utf-8")
        out.print_json(json.dumps(facts)) if as_json else out.print(card, markup=False)
        return
    found = installed_models()
    if as_json:
        cards = {model.name: {**model.facts["metrics"], "card": str(model.folder / "card.md")} for model in found}
        out.print_json(json.dumps(cards))
        return
    print_table([{"model": model.name, **model.facts["metrics"]} for model in found])
    for model in found:
        out.print(f"card: {model.folder / 'card.md'}", markup=False, soft_wrap=True)
    if not found:
        remark("no models are installed; `molvae train` makes one, and its folder serves as MODEL everywhere")


def _give_texts(texts: list[str], output: Path | None) -> None:
    import pandas as pd

    from molvae.chem.molecule import parse_or_none
    from molvae.chem.tables import write_table

    if output is None:
        for text in texts:
            out.print(text, markup=False, soft_wrap=True)
        return
    valid = [parse_or_none(text) is not None for text in texts]
    write_table(pd.DataFrame({"SMILES": texts, "valid": valid}), output)
    remark(f"{sum(valid)} of {len(texts)} strings are valid molecules: {output}")


def _tell_rejected(bad: list[dict[str, object]], output: Path, good: int) -> None:
    import pandas as pd

    from molvae.chem.tables import write_table

    if not bad:
        return
    rejects = output.with_name(output.stem + ".rejects.csv")
    write_table(pd.DataFrame(bad), rejects)
    raise MolvaeError(f"{len(bad)} of {good + len(bad)} rows were not encoded; all reasons are in {rejects}")
