"""molvae optimize, status, export."""

import json
from pathlib import Path
from typing import Annotated, Any

import typer

from molvae.cli.shell import command, log, out, print_table, progress_bar, remark

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

    overrides = [*(set_ or []), *([f"seed={seed}"] if seed is not None else [])]
    campaign = Campaign.open(recipe, folder, overrides)
    with progress_bar("optimising", "molecules") as update:

        def show(event: Event) -> None:
            name, value = event.best or ("best", float("nan"))
            made = event.made
            new = f"{made.new}/{made.decoded}"
            update(event.used, event.budget, round=str(made.round), new=new, **{name.replace(" ", "_"): f"{value:.3f}"})

        campaign.run(show)
    found = campaign.status()
    _print_status(found)
    _print_warnings(found)
    remark(f"all molecules as a table: molvae export {folder} -o candidates.csv")


@command("status", "molvae status runs/demo")
def status(run: Run, as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False) -> None:
    """Where a campaign stands, and how well its search works; also while it runs."""
    from molvae.campaign.campaign import Campaign

    found = Campaign.read(run).status()
    if as_json:
        out.print_json(json.dumps(found))
    else:
        _print_status(found)
        _print_diagnosis(found["diagnosis"], found["improved"])
        _print_warnings(found)


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
    again = "".join(f", begun again at call {call:,}" for call in found["restarts"])
    feasible = "" if found["feasible"] is None else f"{found['feasible']:.0%} of the others feasible, "
    out.print(
        f"{found['folder']}: {found['used']} of {found['budget']} molecules evaluated, {found['failed']} failed, "
        f"{feasible}round {found['round']}{again}; {ended}",
        markup=False,
        soft_wrap=True,
    )
    print_table([{"#": k + 1, **row} for k, row in enumerate(found["molecules"])], title="the best so far")


def _print_diagnosis(found: dict[str, Any], objectives: int) -> None:
    """Tables of predictions and moves, then a line each on search, texts and the ten best; what there is of these."""
    last = f"of the last {found['window']} molecules"
    predictions = [
        {
            "objective": label,
            "within 1 sd": f"{one['within_1']:.0%}",
            "within 2 sd": f"{one['within_2']:.0%}",
            "rank correlation": _number(one["rank_correlation"]),
        }
        for label, one in found["calibration"].items()
    ]
    if predictions:
        out.print(f"\npredictions {last}; 68%, 95% and a correlation near 1 are good", markup=False, soft_wrap=True)
        print_table(predictions)
    into = "into the ten best" if objectives == 1 else "onto the first front"
    if found["moves"]:
        out.print(f"\nmoves {last}", markup=False)
        moves = found["moves"].items()
        print_table([{"move": move, "proposed": one["proposed"], into: one["entered"]} for move, one in moves])
    for line in _lines(found) if found["rounds"] else ():
        out.print(line, markup=False, soft_wrap=True)


def _lines(found: dict[str, Any]) -> list[str]:
    best = found["best"]
    search = f"\nrounds: {found['rounds']}, of which {found['without_gain']} since the last gain"
    lines = [f"{search}; {_number(found['seconds'])} s to choose a molecule"]
    if found["known"] is not None:
        lines.append(f"texts: {found['invalid']:.0%} invalid, {found['known']:.0%} of the others not new")
    if best is not None:
        line = f"ten best: Tanimoto similarity {best['nearest_start']:.2f} to the nearest start molecule"
        if best["alike"] is not None:
            line += f", {best['alike']:.2f} to each other"
        if best["far"] is not None:
            line += f"; {best['far_in_any']} far outside the start set's {', '.join(best['far'])}"
        lines.append(line)
    return lines


def _print_warnings(found: dict[str, Any]) -> None:
    for warning in found["warnings"]:
        log.warning("%s", warning)


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.2f}"
