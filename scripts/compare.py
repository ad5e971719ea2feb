"""Is Bayesian optimisation worth it? The same recipe and number of evaluations by several methods, over several seeds.

    python scripts/compare.py pipelines/campaign.toml --out runs/compare
    python scripts/compare.py pipelines/campaign.toml --out runs/plogp \\
        --set 'objectives=[{score={kind="penalized_logp"}}]'
    python scripts/compare.py pipelines/pareto.toml --out runs/hv --methods bayes,latent,random,genetic \\
        --set 'reference_point=[0.3,5.0,5.0]'

Prints the best value and the mean of the best ten, start set included; of several objectives the hypervolume above the
recipe's reference, and the molecules in the first front; of those that hold the constraints, where there are any.
Campaigns are kept and resumed in OUT/METHOD/SEED.
"""

import argparse
import os
import signal
from functools import partial
from pathlib import Path

import pandas as pd

import molvae
from molvae.campaign.recipe import METHODS as KINDS
from molvae.cli import interrupted
from molvae.workers import Lost, worker_pool

METHODS = {
    "bayes": (),
    "latent": (  # no molecular graphs and no fingerprints: LogEI or qLogNEHVI with a Gaussian process on latent points
        "method.surrogate.kind=latent", "method.acquisition.kind=logei",
        "method.search.crossing=0", "method.search.mutation=0",
    ),
    "random": (),
    "genetic": (),
    "cmaes": (),
}  # fmt: skip


def reads(kind: str, change: str) -> bool:
    """Whether a method has the setting that is changed: what is Bayesian optimisation's alone leaves others alone."""
    section, *key = change.partition("=")[0].split(".")
    return section != "method" or key[0] in KINDS.kinds[kind].model_fields


def spent(source: str, overrides: list[str], out: Path, job: tuple[str, int]) -> dict[str, object]:
    """One campaign, and what came of it."""
    method, seed = job
    kind = method if method in KINDS.kinds else "bayes"
    own = [change for change in overrides if reads(kind, change)]
    changes = [f"method={{kind='{kind}'}}", *METHODS[method], *own, f"seed={seed}", "executor.kind=inline"]
    if kind == "bayes":
        changes = changes[1:]  # the recipe's own
    recipe = molvae.read_recipe(source, molvae.CampaignRecipe, changes)
    run = molvae.Campaign.open(recipe, out / method / str(seed))
    run.run()
    table = run.table()
    table = table[table["feasible"]] if recipe.constraints else table
    if len(recipe.improved) > 1:
        volume = (run.status()["best"] or {}).get("hypervolume", 0.0)
        return {"method": method, "seed": seed, "hypervolume": volume, "first front": int((table["front"] == 1).sum())}
    best = table[recipe.objectives[recipe.improved[0]].label][:10]
    return {"method": method, "seed": seed, "best": float(best.max()), "best ten": float(best.mean())}


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("recipe")
    options.add_argument("--out", required=True, type=Path)
    options.add_argument("--methods", default="bayes,random,genetic,cmaes", help=f"of {', '.join(METHODS)}")
    options.add_argument("--seeds", default=5, type=int)
    options.add_argument("--processes", default=os.cpu_count(), type=int)
    options.add_argument("--set", dest="overrides", action="append", default=[], help="KEY=VALUE over the recipe's")
    chosen = options.parse_args()
    methods = chosen.methods.split(",")
    if unknown := sorted({*methods} - {*METHODS}):
        options.error(f"there is no method {unknown[0]!r}; known are {', '.join(METHODS)}")

    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, interrupted)
    os.environ["OMP_NUM_THREADS"] = "1"
    rows: dict[int, dict[str, object]] = {}
    jobs = [(method, seed) for seed in range(chosen.seeds) for method in methods]
    with worker_pool(partial(spent, chosen.recipe, chosen.overrides, chosen.out), chosen.processes) as pool:
        for k, row in pool.unordered(jobs):
            if isinstance(row, Lost):
                raise SystemExit(f"{jobs[k]}: {row.reason}; the same command goes on with it")
            rows[k] = row
            print(row, flush=True)

    table = pd.DataFrame([rows[k] for k in sorted(rows)])
    print(f"\n{'method':<10}" + "".join(f"{column:>28}" for column in table.columns[2:]) + "   mean (min–max)")
    for method, group in table.groupby("method", sort=False):
        parts = [f"{group[c].mean():.3f} ({group[c].min():.3f}–{group[c].max():.3f})" for c in table.columns[2:]]
        print(f"{method:<10}" + "".join(f"{part:>28}" for part in parts))


if __name__ == "__main__":
    main()
