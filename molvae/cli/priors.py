"""molvae fit-prior."""

from pathlib import Path
from typing import Annotated

import typer

from molvae.cli.model import Column, Device, Model, Seed
from molvae.cli.rows import encodable
from molvae.cli.shell import best_device, command, print_table, remark
from molvae.errors import UsageError

SAMPLES = 1000
"""Prior samples by which the old and the new prior are compared, and which the card reports."""


@command("fit-prior", "molvae fit-prior zinc250k --smiles train.smi --kind flow --out models/zinc250k-flow")
def fit_prior(
    model: Model,
    smiles: Annotated[Path, typer.Option(help="The molecules that the model was trained on, or others.")],
    folder: Annotated[Path, typer.Option("--out", "-o", help="The model folder to make; the weights stay the same.")],
    kind: Annotated[str, typer.Option(help="normal, mixture or flow.")] = "flow",
    width: Annotated[float | None, typer.Option(help="Below 1: nearer to the molecules, more often valid.")] = None,
    column: Column = None,
    n: Annotated[int | None, typer.Option("-n", min=1, help="At most so many molecules; default: all.")] = None,
    device: Device = "auto",
    seed: Seed = 0,
) -> None:
    """A model with another prior: samples come from where the encoder puts these molecules, not from N(0, I)."""
    from itertools import islice

    from molvae.data.tables import read_rows
    from molvae.folders import sha256
    from molvae.vae.evaluation.metrics import text_statistics
    from molvae.vae.folder import load_model, model_facts, save_model
    from molvae.vae.prior import prior_settings, prior_table

    chosen = {"kind": kind} if width is None else {"kind": kind, "width": width}
    settings = prior_settings(chosen, "the command line")
    vae, facts = load_model(model, best_device(device)), model_facts(model)
    rows, bad = encodable(vae, islice(read_rows(smiles, column), n), smiles)
    if not rows:
        raise UsageError(f"{smiles} has no molecule that this model reads")
    posterior = vae.encode_texts([row.text for row in rows])
    priors = {"before": vae.prior, "now": settings.fit(posterior.mean, posterior.logvar, seed)}
    told = []
    for name, prior in priors.items():
        vae.prior = prior
        figures = text_statistics(vae.sample(SAMPLES, seed, grammar=False), vae.known)
        told.append({"prior": f"{name}: {prior_table(prior.settings)['kind']}", **figures})
    kept = {key: value for key, value in facts.items() if key != "evaluation"}  # it was that of the other prior
    metrics = {**facts.get("metrics", {}), "validity_prior": told[-1]["validity"]}
    source = {"name": smiles.name, "sha256": sha256(smiles), "molecules": len(rows), "seed": seed}
    source["settings"] = prior_table(settings)
    save_model(folder, vae, {**kept, "metrics": metrics, "prior": source})
    print_table(told)
    remark(f"{len(rows)} molecules, {len(bad)} left out; figures of {SAMPLES} samples without the grammar")
    remark(f"the model is in {folder}")
