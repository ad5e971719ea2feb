"""Does this checkout compute what another one does? Twelve small campaigns and the model that ships, bit for bit.

    git worktree add ../before 760bd32
    python scripts/same_as.py ../before --out runs/same

Both are run from the command line, with the same recipes; what they wrote is compared cell by cell, but for
times and the recipe's hash. Prints a line a comparison; exits with 1 if one differs. What is in OUT
already is not computed again. On processors without bfloat16 the kernel is no part of this.
"""

import argparse
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd

HERE = Path(__file__).resolve().parent.parent
RECIPE = """
seed = 1
q = 5
[start]
kind = "prior"
n = 12
[budget]
evaluations = 32
[executor]
kind = "inline"
[search]
generations = 2
children = 60
"""
ONE, SEVERAL = (
    "[[objectives]]\nscore = {kind = 'qed_sas'}\n",
    "".join(f"[[objectives]]\nscore = {{kind = '{kind}'}}\n" for kind in ("qed", "sas")),
)
BOUND = "[[objectives]]\nscore = {kind = 'logp'}\ndirection = 'at most'\nbound = 2.5\n"
CAMPAIGNS = {
    "ucb": ONE,
    "logei": ONE + "[acquisition]\nkind = 'logei'\n",
    "thompson": ONE + "[acquisition]\nkind = 'thompson'\n",
    "latent": ONE + "[surrogate]\nkind = 'latent'\n",
    "pareto": SEVERAL,
    "pareto-logei": SEVERAL + "[acquisition]\nkind = 'logei'\n",
    "constrained": ONE + BOUND,
    "restarts": ONE + "[restarts]\npatience = 5\ngain = 0.9\n",
    "retraining": ONE + "[learning]\nevery = 10\ndrawn = 32\nreplay = 32\n",
    "random": ONE + "[method]\nkind = 'random'\n",
    "genetic": ONE + "[method]\nkind = 'genetic'\n",
    "cmaes": ONE + "[method]\nkind = 'cmaes'\n",
}
NOT_COMPARED = ("seconds", "recipe")


def molvae(checkout: Path, *arguments: object) -> None:
    """A command of a checkout, which ends with `-o` and the file that it is to write."""
    environment = {**os.environ, "PYTHONPATH": str(checkout), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-m", "molvae", *map(str, arguments), "-q"]
    done = subprocess.run(command, env=environment, cwd=checkout, capture_output=True, text=True)
    if done.returncode and not Path(str(arguments[-1])).exists():  # some rows may have been rejected
        raise SystemExit(f"{checkout}: molvae {arguments[0]} failed:\n{done.stderr}")


def compute(checkout: Path, out: Path) -> None:
    """All tables of a checkout, in a folder of its own."""
    out.mkdir(parents=True, exist_ok=True)
    for name, parts in CAMPAIGNS.items():
        head, *tables = parts.partition("[[objectives]]")
        recipe = out / f"{name}.toml"
        own = RECIPE if "[method]" not in parts else RECIPE.partition("[search]")[0]
        recipe.write_text(own + head + "".join(tables))
        if not (out / f"{name}.csv").exists():
            molvae(checkout, "optimize", recipe, "--out", out / "runs" / name)
            molvae(checkout, "export", out / "runs" / name, "-o", out / f"{name}.csv")
    model, n = "zinc250k", 500
    steps = {
        "sample": ("sample", model, "-n", n, "--seed", 3),
        "sample-free": ("sample", model, "-n", n, "--seed", 3, "--no-grammar"),
        "sample-hot": ("sample", model, "-n", n, "--seed", 3, "--temperature", 1.0),
        "encode": ("encode", model, out / "sample.csv"),
        "decode": ("decode", model, out / "encode.csv"),
        "neighbors": ("neighbors", model, "Cc1ccc(CNC(=O)c2cccs2)cc1", "-n", 30),
        "interpolate": ("interpolate", model, "CC(=O)Nc1ccc(O)cc1", "Cn1cnc2c1c(=O)n(C)c(=O)n2C", "-n", 60),
    }
    for name, (command, *arguments) in steps.items():
        if not (out / f"{name}.csv").exists():
            molvae(checkout, command, *arguments, "-o", out / f"{name}.csv")


def difference(ours: Path, theirs: Path) -> str:
    """What differs first between two tables, or nothing."""
    one, other = (pd.read_csv(path, dtype=str, keep_default_na=False) for path in (ours, theirs))
    columns = [c for c in other.columns if not any(word in c for word in NOT_COMPARED)]
    if missing := [c for c in columns if c not in one.columns]:
        return f"no column {missing[0]!r}"
    if len(one) != len(other):
        return f"{len(one)} rows, and {len(other)}"
    for column in columns:
        if (rows := np.flatnonzero(one[column].to_numpy() != other[column].to_numpy())).size:
            k = rows[0]
            return f"{column!r} in {len(rows)} rows, first in row {k + 1}: {one[column][k]}, and {other[column][k]}"
    return ""


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("before", type=Path, help="the other checkout")
    options.add_argument("--out", type=Path, required=True)
    options.add_argument("--only-before", action="store_true", help="compute the other checkout's tables alone")
    chosen = options.parse_args()
    out = chosen.out.resolve()
    compute(chosen.before.resolve(), out / "before")
    if chosen.only_before:
        return
    compute(HERE, out / "now")
    found = {path.name: difference(out / "now" / path.name, path) for path in sorted((out / "before").glob("*.csv"))}
    for name, what in found.items():
        print(f"{name:<20} {what or 'the same'}")
    sys.exit(any(found.values()))


if __name__ == "__main__":
    main()
