"""molvae train, evaluate, doctor, sample, encode, decode, score, models."""

import json
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from molvae.cli.rows import encodable, tell_rejected
from molvae.cli.shell import best_device, command, out, print_table, progress_bar, remark
from molvae.errors import MolvaeError, UsageError

if TYPE_CHECKING:  # help should not load torch
    from molvae.vae.model import SmilesVAE

Model = Annotated[str, typer.Argument(help="A model folder, or the name of an installed model.")]
Table = Annotated[Path, typer.Argument(metavar="FILE", help="A table with a column of SMILES, or a .smi file.")]
Column = Annotated[str | None, typer.Option(help="Column of SMILES; by default SMILES in any case.")]
Device = Annotated[str, typer.Option(help="auto, cpu or cuda.")]
Temperature = Annotated[float | None, typer.Option(help="Draw characters; default: the likeliest.")]
Grammar = Annotated[bool, typer.Option(help="Write only what the grammar of SMILES and RDKit allow.")]
Held = Annotated[Path | None, typer.Option(metavar="FILE", help="Molecules that the model was not trained on.")]
Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]
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
    from molvae.vae.training import loop as training
    from molvae.vae.training.recipe import TrainRecipe

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
    smiles: Held = None,
    column: Column = None,
    n: Annotated[int, typer.Option("-n", min=2, help="Prior samples, and at most so many molecules.")] = 10_000,
    to_card: Annotated[bool, typer.Option("--to-card", help="Put the figures on the model's card as well.")] = False,
    as_json: Json = False,
    device: Device = "auto",
    seed: Seed = 0,
) -> None:
    """Every figure of a model: of its samples, and with --smiles of how it reads, writes and resembles molecules."""
    from molvae.vae.evaluation.distribution import has_chemnet
    from molvae.vae.evaluation.report import as_rows, as_values, put_on_card, report
    from molvae.vae.folder import load_model

    vae = load_model(model, best_device(device))
    texts = [] if smiles is None else _readable(vae, smiles, column, n)
    with progress_bar("evaluating", "parts") as update:
        figures = report(vae, texts, n, seed, lambda done, parts, now: update(done, parts, now=now))
    if as_json:
        out.print_json(json.dumps(as_values(figures)))
    else:
        for group, rows in as_rows(figures).items():
            numbers = ("value", "with grammar")
            print_table([row | {key: row[key].rjust(len("with grammar")) for key in numbers} for row in rows], group)
            out.print()
    if texts and not has_chemnet():
        remark("without the Fréchet ChemNet distance: `pip install 'molvae[fcd]'` brings what it needs")
    if to_card:
        remark(f"the figures are on the card: {put_on_card(model, vae, figures, smiles, n, seed)}")


@command("doctor", "molvae doctor zinc250k")
def doctor(
    model: Model,
    smiles: Held = None,
    column: Column = None,
    as_json: Json = False,
    device: Device = "auto",
    seed: Seed = 0,
) -> None:
    """Is a model fit for campaigns? Its figures against thresholds, and what to change; leaves with 1 if it is not."""
    from molvae.vae.evaluation.doctor import PROBES, diagnose
    from molvae.vae.folder import load_model

    vae = load_model(model, best_device(device))
    diagnosis = diagnose(vae, () if smiles is None else _readable(vae, smiles, column, PROBES), seed)
    rows = [
        {
            "check": check.threshold.words,
            "value": check.value,
            "good": check.threshold.ok,
            "bad": check.threshold.bad,
            "verdict": check.verdict,
        }
        for check in diagnosis.checks
    ]
    if as_json:
        out.print_json(json.dumps({"fit": diagnosis.fit, "molecules": diagnosis.molecules, "checks": rows}))
    else:
        print_table(rows, f"measured on {diagnosis.molecules}")
    if not diagnosis.fit:
        raise MolvaeError(diagnosis.verdict)
    if not as_json:
        out.print(f"\n{diagnosis.verdict}", markup=False, soft_wrap=True)


@command("sample", "molvae sample zinc250k -n 1000 --seed 1 -o samples.csv")
def sample(
    model: Model,
    n: Annotated[int, typer.Option("-n", min=1, help="How many.")] = 10,
    temperature: Temperature = None,
    grammar: Grammar = True,
    output: Annotated[Path | None, typer.Option("--output", "-o", help="A table; default: print.")] = None,
    device: Device = "auto",
    seed: Seed = 0,
) -> None:
    """Strings decoded from the prior; with --no-grammar valid or not, and a table tells which are."""
    from molvae.data.tables import check_ending
    from molvae.vae.folder import load_model

    if output is not None:
        check_ending(output)
    texts = load_model(model, best_device(device)).sample(n, seed, temperature, grammar)
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

    from molvae.data.tables import check_ending, read_rows, write_table
    from molvae.vae.folder import load_model

    check_ending(output)
    vae = load_model(model, best_device(device))
    rows, bad = encodable(vae, read_rows(table, column), table)
    good = [row.text for row in rows]
    if good:
        names = [f"z{k}" for k in range(vae.latent)]
        points = pd.DataFrame(vae.encode_texts(good).mean.numpy(), columns=names)
        write_table(pd.concat([pd.Series(good, name="SMILES"), points], axis=1), output)
    tell_rejected(bad, output, len(good))


@command("decode", "molvae decode zinc250k z.parquet -o decoded.csv")
def decode(
    model: Model,
    table: Annotated[Path, typer.Argument(metavar="FILE", help="A table with the columns z0, z1, …")],
    output: Annotated[Path | None, typer.Option("--output", "-o", help="A table; default: print.")] = None,
    temperature: Temperature = None,
    grammar: Grammar = True,
    device: Device = "auto",
    seed: Seed = 0,
) -> None:
    """The string that each latent point decodes to."""
    import torch

    from molvae.data.tables import check_ending, read_columns
    from molvae.vae.folder import load_model

    if output is not None:
        check_ending(output)
    vae = load_model(model, best_device(device))
    z = torch.tensor(read_columns(table, [f"z{k}" for k in range(vae.latent)]))
    _give_texts(vae.decode(z, temperature, seed, grammar), output)


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
    from molvae.data.tables import check_ending, read_whole, write_table

    check_ending(output)
    objectives = [named(word) for word in objective or ("logp", "qed", "sas")]
    with progress_bar("scoring", "molecules") as update:
        found = read_whole(table, column)
        faults = {k: f"line {row.line}: {row.fault}: {row.text}" for k, row in found.faults.items()}
        scored = score_table(found.frame, objectives, update, faults)
    write_table(scored, output)
    failed = int((scored["failure"] != "").sum())
    remark(f"{len(scored) - failed} of {len(scored)} molecules scored: {output}")
    if failed:
        raise MolvaeError(f"{failed} rows have no value; the column 'failure' of {output} says why")


@command("models", "molvae models zinc250k")
def models(
    name: Annotated[str | None, typer.Argument(help="Print this model's card.")] = None,
    as_json: Json = False,
) -> None:
    """Models that come with the package, and their cards."""
    from molvae.vae.folder import find_model, installed_models, model_facts

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


def _readable(vae: "SmilesVAE", table: Path, column: str | None, most: int) -> list[str]:
    """The molecules in the first rows of a table that the model can read, canonical; remarks tell of the others."""
    from molvae.data.tables import read_rows

    rows, _ = encodable(vae, islice(read_rows(table, column), most), table)
    if len(rows) < 2:
        raise UsageError(f"{table} has {len(rows)} molecules that this model reads; 2 or more are needed")
    return [row.text for row in rows]


def _give_texts(texts: list[str], output: Path | None) -> None:
    import pandas as pd

    from molvae.chem.molecule import parse_or_none
    from molvae.data.tables import write_table

    if output is None:
        for text in texts:
            out.print(text, markup=False, soft_wrap=True)
        return
    valid = [parse_or_none(text) is not None for text in texts]
    write_table(pd.DataFrame({"SMILES": texts, "valid": valid}), output)
    remark(f"{sum(valid)} of {len(texts)} strings are valid molecules: {output}")
