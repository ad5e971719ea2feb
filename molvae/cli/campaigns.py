"""molvae optimize, status, export."""

import json
from pathlib import Path
from typing import Annotated, Any

import typer

from molvae.cli.shell import command, out, print_table, progress_bar, remark, see_current_folder

Run = Annotated[Path, typer.Argument(metavar="RUN", help="The run's folder.")]


@command("optimize", "molvae optimize pipelines/campaign.toml --out runs/demo")
def optimize(
    recipe: Annotated[Path, typer.Argument(help="A campaign recipe (TOML).")],
    folder: Annotated[Path, typer.Option("--out", "-o", help="The run's folder; the same command again resumes.")],
    set_: Annotated[list[str] | None, typer.Option("--set", help="KEY=VALUE over the recipe's; repeatable.")] = None,
    seed: Annotated[int | None, typer.Option(help="Over the recipe's.")] = None,
) -> None:
    """Run a campaign, print its best molecules; stopped at any moment, the same command goes on."""
    from molvae.campaign.campaign import Campaign, Event

    see_current_folder()
    overrides = [*(set_ or []), *([f"seed={seed}"] if seed is not None else [])]
    campaign = Campaign.open(recipe, folder, overrides)
    with progress_bar("optimising", "molecules") as update:

        def show(event: Event) -> None:
            name, value = event.best or ("best", float("nan"))
            made = event.made
            new = f"{made.new}/{made.decoded}"
            update(event.used, event.budget, round=str(made.round), new=new, **{name.replace(" ", "_"): f"{value:.3f}"})

        campaign.run(show)
    _print_status(campaign.status())
    remark(f"all molecules as a table: molvae export {folder} -o candidates.csv")


@command("status", "molvae status runs/demo")
def status(run: Run, as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False) -> None:
    """Where a campaign stands; also while it runs."""
    from molvae.campaign.campaign import Campaign

    found = Campaign.read(run).status()
    out.print_json(json.dumps(found)) if as_json else _print_status(found)


@command("export", "molvae export runs/demo -o candidates.sdf")
def export(
    run: Run,
    output: Annotated[Path, typer.Option("--output", "-o", help=".csv .tsv .parquet .sdf .smi .xlsx")],
) -> None:
    """The candidate table, and columns.json beside it, which explains each column."""
    from molvae.campaign.campaign import Campaign

    rows = Campaign.read(run).export(output)
    remark(f"{rows} molecules: {output}; the columns are explained in {output.with_name('columns.json')}")


def _print_status(found: dict[str, Any]) -> None:
    ended = found["stopped"] or "not finished"
    out.print(
        f"{found['folder']}: {found['used']} of {found['budget']} molecules evaluated, {found['failed']} failed, "
        f"round {found['round']}; {ended}",
        markup=False,
        soft_wrap=True,
    )
    print_table([{"#": k + 1, **row} for k, row in enumerate(found["molecules"])], title="the best so far")
