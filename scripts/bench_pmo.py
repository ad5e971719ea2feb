"""How good are campaigns with few evaluations? The PMO benchmark's twenty RDKit tasks, several seeds, several methods.

    python scripts/bench_pmo.py run --out runs/pmo
    python scripts/bench_pmo.py run --out runs/pmo --tasks zaleplon_mpo,qed --method genetic --set method.kind=genetic
    python scripts/bench_pmo.py report --out runs/pmo --json pmo.json --picture pmo.svg

Each task and seed is one campaign of pipelines/pmo.toml in OUT/METHOD/TASK/SEED; a method is a name and what --set
makes different. Stopped or killed, the same command goes on; a campaign that fails is named and stops no other.

Figures follow the benchmark's own code (Gao et al. 2022, arXiv:2206.12411): every molecule evaluated is a call, also
those of the start set and failures, which score 0. AUC top-10 is the area under the mean of the ten best so far, taken
every 100 calls, over 10,000 calls. A shorter run is held flat: its AUC is a lower bound of what 10,000 would give.
"""

import argparse
import heapq
import json
import os
import signal
import time
import traceback
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from itertools import zip_longest
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pandas as pd
from rdkit import DataStructs

import molvae
from molvae.campaign.propose.initial import FromTraining
from molvae.campaign.record.state import Observed, State
from molvae.campaign.record.store import FILE, Round, Store
from molvae.chem.fingerprints import morgan
from molvae.chem.guacamol import GUACAMOL
from molvae.chem.scorers import SAS
from molvae.cli import interrupted
from molvae.errors import DataError, UsageError
from molvae.folders import write_atomic, write_json
from molvae.workers import Lost, worker_pool

ROOT = Path(__file__).resolve().parents[1]
RECIPE, PUBLISHED = ROOT / "pipelines/pmo.toml", ROOT / "data/reference/pmo_auc_top10.csv"
BUDGET, EVERY = 10_000, 100
COLORS = ("#1f6feb", "#d1495b", "#2a9d5c", "#b8860b", "#7b52ab", "#5b6470")

Curve = npt.NDArray[np.float64]

# --- run ----------------------------------------------------------------------------------------------


def run(chosen: argparse.Namespace) -> int:
    """All campaigns in worker processes of one thread each; 1 if one failed."""
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, interrupted)
    jobs = [
        (recipe(chosen, task, seed), chosen.out / chosen.method / task / str(seed))
        for seed in range(chosen.seeds)
        for task in chosen.tasks
    ]
    os.environ["OMP_NUM_THREADS"] = "1"
    failed = 0
    with worker_pool(campaign, chosen.processes) as pool:
        for done, (k, found) in enumerate(pool.unordered(jobs), start=1):
            said, well = (f"{found.reason}; the same command goes on", False) if isinstance(found, Lost) else found
            failed += not well
            print(f"{done} of {len(jobs)}  {jobs[k][1]}: {said}", flush=True)
    if failed:
        print(f"{failed} of {len(jobs)} campaigns failed")
    return min(failed, 1)


def recipe(chosen: argparse.Namespace, task: str, seed: int) -> molvae.CampaignRecipe:
    """That of one campaign.

    Raises:
        RecipeError: an override, or the task, is none.
        DataError: the molecules to start from are not there.
    """
    own = [f'objectives=[{{score={{kind="guacamol",name="{task}"}}}}]', f"seed={seed}"]
    overrides = [*chosen.overrides, *own, f"budget.evaluations={chosen.calls}"]
    found = molvae.read_recipe(RECIPE, molvae.CampaignRecipe, overrides)
    if isinstance(found.start, FromTraining) and not Path(found.start.path).exists():
        raise DataError(
            f"there is no {found.start.path} to start from; `molvae data fetch zinc250k` and `molvae data prepare` "
            f"bring it, as {RECIPE} says"
        )
    return found


def campaign(job: tuple[molvae.CampaignRecipe, Path]) -> tuple[str, bool]:
    """Begin a campaign or go on with it, in a worker; what to say of it, and whether it went well."""
    recipe, folder = job
    began = time.monotonic()
    try:
        state = molvae.Campaign.open(recipe, folder).run()
    except molvae.MolvaeError as error:
        return str(error), False
    except Exception:  # the other campaigns go on
        return traceback.format_exc(), False
    best, seconds = running_best(scores(state), 10)[-1], time.monotonic() - began
    return f"{state.used} calls, ten best {best:.3f}, {seconds:.0f} s", True


# --- figures ------------------------------------------------------------------------------------------


def running_best(scores: Sequence[float], k: int) -> Curve:
    """After each call the mean of the ``k`` best so far, or of all where there are fewer: (calls,)."""
    best: list[float] = []
    means = []
    for score in scores:
        (heapq.heappush if len(best) < k else heapq.heappushpop)(best, score)
        means.append(sum(best) / len(best))
    return np.array(means)


def area(scores: Sequence[float], k: int) -> float:
    """AUC top-k of the benchmark: trapezoids from 0 at call 0 over each 100th and the last call, flat to 10,000."""
    curve = running_best(scores[:BUDGET], k)
    calls = np.array([*range(EVERY, len(curve), EVERY), len(curve)])
    heights = np.array([0.0, *curve[calls - 1], curve[-1]])
    return float(np.diff([0, *calls, BUDGET]) @ (heights[1:] + heights[:-1]) / 2 / BUDGET)


def diversity(molecules: Sequence[molvae.Molecule]) -> float:
    """1 − mean Tanimoto similarity over all pairs (Morgan, radius 2, 2048 bits); nan where there is no pair."""
    prints = [morgan()(molecule.mol) for molecule in molecules]
    similar = [s for k in range(1, len(prints)) for s in DataStructs.BulkTanimotoSimilarity(prints[k], prints[:k])]
    return 1 - float(np.mean(similar)) if similar else float("nan")


def scores(state: State) -> list[float]:
    """Of each call that is over, in order; 0 for one that failed."""
    outcomes = [record.outcome for record in state.records if record.outcome is not None]
    return [outcome.values[0] if isinstance(outcome, Observed) else 0.0 for outcome in outcomes]


@dataclass(frozen=True)
class Run:
    """One campaign as its folder has it; ``stopped``: why it is over, None while it is not."""

    method: str
    task: str
    seed: int
    state: State
    rounds: tuple[Round, ...]
    stopped: str | None

    def figures(self) -> dict[str, str | int | float]:
        """A row of the report; the fields are explained by `KEYS`."""
        values = scores(self.state)
        order = np.argsort(-self.state.values[:, 0], kind="stable")[:100]
        molecules = [molvae.Molecule.parse(self.state.observed[k].proposal.smiles) for k in order]
        began = {record.proposal.round for record in self.state.records if record.proposal.start}
        searched = [made for made in self.rounds if made.round not in began]
        guided = sum(not record.proposal.start for record in self.state.records)
        decoded, searching = sum(made.decoded for made in searched), sum(made.seconds for made in searched)
        evaluating = sum(record.outcome.seconds for record in self.state.records if record.outcome is not None)
        return {
            "method": self.method,
            "task": self.task,
            "seed": self.seed,
            **{f"auc_top{k}": area(values, k) for k in (1, 10, 100)},
            **{f"top{k}": float(running_best(values, k)[-1]) for k in (1, 10, 100)},
            "sas": float(np.mean([SAS()(molecule) for molecule in molecules])),
            "diversity": diversity(molecules),
            "valid": sum(made.valid for made in searched) / decoded if decoded else float("nan"),
            "calls": len(values),
            "failed": len(self.state.failed),
            "seconds": sum(made.seconds for made in self.rounds) + evaluating,
            "seconds_per_call": searching / guided if guided else float("nan"),
        }


KEYS = {
    "auc_topK": "area under the mean of the K best so far, 10,000 calls, held flat after the last; 0 to 1",
    "topK": "mean of the K best at the end; 0 to 1",
    "sas": "mean synthetic accessibility of the 100 best; 1 (easy) to 10",
    "diversity": "1 - mean Tanimoto similarity among the 100 best (Morgan, radius 2, 2048 bits)",
    "valid": "share of decoded points that are molecules, start molecules excluded",
    "calls": "evaluations, failures and start set included",
    "failed": "evaluations that gave no value",
    "seconds": "of all rounds and evaluations; loading and storing not included",
    "seconds_per_call": "of the search alone, for each molecule that it proposed",
}


def read(out: Path) -> list[Run]:
    """All campaigns below ``out`` that have a value, by method, task and seed.

    Raises:
        UsageError: there are none.
        CampaignError: one is damaged.
    """
    found = []
    for folder in sorted(path.parent for path in out.glob(f"*/*/*/{FILE}")):
        store = Store.read(folder)
        state = store.state()
        if state.observed:
            method, task, seed = folder.parts[-3:]
            found.append(Run(method, task, int(seed), state, store.rounds(), store.facts().get("stopped")))
    if not found:
        raise UsageError(f"there is no campaign in {out}: `run --out {out}` makes them")
    return found


# --- report -------------------------------------------------------------------------------------------


def report(chosen: argparse.Namespace) -> int:
    """Tables on standard output, and what else was asked for."""
    runs = read(chosen.out)
    figures = pd.DataFrame([run.figures() for run in runs])
    published = pd.read_csv(PUBLISHED, comment="#", index_col="task")
    for _, rows in figures.groupby("method"):
        print(table_of(rows), end="\n\n")
    print(f"AUC top-10 beside published figures; sums are of the {figures['task'].nunique()} tasks shown")
    beside = comparison(figures, published)
    words = [name.split("_") for name in beside.columns]  # one below the other
    lines = pd.MultiIndex.from_arrays(list(zip_longest(*words, fillvalue="")))
    print(beside.set_axis(lines, axis=1).to_string(float_format="{:.3f}".format, na_rep="–", sparsify=False))
    for run in runs:
        if run.stopped is None:
            print(f"not finished: {run.method}/{run.task}/{run.seed}, {run.state.used} calls")
    if chosen.json:
        means = figures.drop(columns="seed").groupby(["method", "task"], as_index=False).mean()
        parts = {"runs": figures, "means": means, "auc_top10": beside.reset_index()}
        tables = {name: json.loads(part.to_json(orient="records")) for name, part in parts.items()}
        write_json(chosen.json, {"keys": KEYS, **tables})
    if chosen.picture:
        write_atomic(chosen.picture, picture(runs))
    return 0


def table_of(rows: pd.DataFrame) -> str:
    """One method's figures by task: mean over seeds, with the standard deviation where there are several."""
    by_task = rows.groupby("task")
    means, spread = by_task.mean(numeric_only=True), by_task["auc_top10"].std()
    shown = [f"{m:.3f} ± {s:.3f}" if s == s else f"{m:.3f}" for m, s in zip(means["auc_top10"], spread, strict=True)]
    table = pd.DataFrame({"seeds": by_task.size(), "AUC top-10": shown}, index=means.index)
    formats = {"top10": ".3f", "sas": ".2f", "diversity": ".3f", "valid": ".1%", "calls": ",.0f", "failed": ".1f"}
    for key, form in {**formats, "seconds": ",.0f", "seconds_per_call": ".3f"}.items():
        table[key] = [format(value, form) if value == value else "–" for value in means[key]]
    table = table.rename(columns={"top10": "top-10", "seconds_per_call": "s/call"}).rename_axis(None)
    return f"{rows['method'].iloc[0]}: sum of AUC top-10 {means['auc_top10'].sum():.3f}\n{table.to_string()}"


def comparison(figures: pd.DataFrame, published: pd.DataFrame) -> pd.DataFrame:
    """AUC top-10 of each task and their sum: mean of our methods, then the published ones. A sum needs every task."""
    ours = figures.pivot_table("auc_top10", "task", "method", sort=False)
    taken = {name: f"{name}_published" for name in ours.columns}
    both = ours.join(published.rename(columns=taken)).sort_index()
    return pd.concat([both, both.sum(skipna=False).to_frame("sum").T]).rename_axis("task")


def picture(runs: Sequence[Run]) -> str:
    """SVG, a panel a task: mean of the ten best by calls; a line a method, a band from its worst to its best seed."""
    methods, tasks = sorted({run.method for run in runs}), sorted({run.task for run in runs})
    columns, wide, high, width, height = 5, 250, 190, 190, 120
    size = f"0 0 {columns * wide + 20} {-(-len(tasks) // columns) * high + 50}"
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="{size}" font-family="sans-serif" font-size="11">',
        '<rect width="100%" height="100%" fill="#fff"/>',
        f'<text x="{columns * wide - 15}" y="24" text-anchor="end">mean of the ten best; worst to best seed</text>',
    ]
    for k, (method, color) in enumerate(zip(methods, COLORS * len(methods), strict=False)):
        parts.append(f'<text x="{45 + 160 * k}" y="24" font-size="14" fill="{color}">— {escape(method)}</text>')
    for k, task in enumerate(tasks):
        curves = {
            method: [running_best(scores(run.state), 10) for run in runs if (run.method, run.task) == (method, task)]
            for method in methods
        }
        end = max(len(curve) for group in curves.values() for curve in group)
        best = max(curve[-1] for group in curves.values() for curve in group) or 1.0
        parts += [
            f'<g transform="translate({45 + k % columns * wide} {60 + k // columns * high})">',
            f'<text y="-8" font-weight="600">{escape(task)}</text>',
            f'<rect width="{width}" height="{height}" fill="#f5f6f8"/>',
            f'<text x="-4" y="{height}" text-anchor="end">0</text>',
            f'<text x="-4" y="8" text-anchor="end">{best:.2f}</text>',
            f'<text y="{height + 14}">0</text>',
            f'<text x="{width}" y="{height + 14}" text-anchor="end">{end:,} calls</text>',
        ]
        for method, group in curves.items():
            if not group:
                continue
            color, n = COLORS[methods.index(method) % len(COLORS)], min(map(len, group))
            at = np.unique(np.linspace(0, n - 1, 100).astype(int))
            stack = np.stack([curve[at] for curve in group])
            x, (low, mean, up) = (
                (at + 1) / end * width,
                height * (1 - np.stack([stack.min(0), stack.mean(0), stack.max(0)]) / best),
            )
            line = " ".join(f"{a:.1f},{b:.1f}" for a, b in zip(x, mean, strict=True))
            band = " ".join(
                f"{a:.1f},{b:.1f}" for a, b in [*zip(x, up, strict=True), *zip(x[::-1], low[::-1], strict=True)]
            )
            parts.append(f'<polygon points="{band}" fill="{color}" opacity=".2"/>')
            parts.append(f'<polyline points="{line}" fill="none" stroke="{color}" stroke-width="1.5"/>')
        parts.append("</g>")
    return "\n".join([*parts, "</svg>\n"])


def tasks(text: str) -> list[str]:
    return list(GUACAMOL) if text == "all" else text.split(",")


def svg(text: str) -> Path:
    if not text.endswith(".svg"):
        raise argparse.ArgumentTypeError(f"the picture is written as .svg; {text!r} is none")
    return Path(text)


def main() -> int:
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = options.add_subparsers(required=True)
    begin = commands.add_parser("run", help="begin campaigns, or go on with them")
    begin.add_argument("--calls", default=1000, type=int)
    begin.add_argument("--seeds", default=3, type=int, help="how many, from seed 0")
    begin.add_argument("--tasks", default="all", type=tasks, help="all, or names with commas between")
    begin.add_argument("--method", default="bayes", help="name of the folder")
    begin.add_argument("--set", dest="overrides", action="append", default=[], help="KEY=VALUE over the recipe's")
    begin.add_argument("--processes", default=os.cpu_count(), type=int)
    begin.set_defaults(command=run)
    show = commands.add_parser("report", help="what there is so far, also while it runs")
    show.add_argument("--json", type=Path, help="a file for all figures of all runs")
    show.add_argument("--picture", type=svg, help="an .svg file for the curves")
    show.set_defaults(command=report)
    for command in (begin, show):
        command.add_argument("--out", required=True, type=Path)
    chosen = options.parse_args()
    try:
        code: int = chosen.command(chosen)
    except molvae.MolvaeError as error:
        options.exit(error.exit_code, f"error: {error}\n")
    return code


if __name__ == "__main__":
    raise SystemExit(main())
