"""Does the demo campaign beat chance? The same number of evaluations, three ways of spending them, several seeds.

Per seed: the campaign of pipelines/campaign.toml; as many random prior samples of the same model; as many random
training molecules. Prints the best value and the mean of the best ten. Campaigns are kept and resumed in --out.

    python scripts/compare_demo.py --training data/zinc250k/prepared --out runs/compare
"""

import argparse
from pathlib import Path

import numpy as np
import pandas as pd

import molvae

RECIPE = "pipelines/campaign.toml"


def values(objective: molvae.Objective, texts: list[str], n: int) -> list[float]:
    """Raw values of the first ``n`` different valid molecules."""
    found: dict[str, float] = {}
    for text in texts:
        try:
            molecule = molvae.Molecule.parse(text)
        except molvae.MolvaeError:
            continue
        if molecule.smiles not in found:
            found[molecule.smiles] = objective.evaluate(molecule)
        if len(found) == n:
            break
    return list(found.values())


def prior(vae: molvae.SmilesVAE, objective: molvae.Objective, n: int, seed: int) -> list[float]:
    texts: list[str] = []
    while len(found := values(objective, texts, n)) < n:
        texts += vae.sample(2 * n, seed=1_000_000 * (seed + 1) + len(texts))
    return found


def campaign(recipe: molvae.CampaignRecipe, out: Path, seed: int) -> list[float]:
    run = molvae.Campaign.open(recipe.model_copy(update={"seed": seed}), out / f"seed-{seed}")
    return [float(value) for value in run.run().values[:, 0]]


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--training", required=True, help="a prepared corpus folder")
    options.add_argument("--out", default="runs/compare", type=Path)
    options.add_argument("--seeds", default=5, type=int)
    options.add_argument("--set", dest="overrides", action="append", default=[], help="KEY=VALUE over the recipe's")
    chosen = options.parse_args()

    recipe = molvae.read_recipe(RECIPE, molvae.CampaignRecipe, chosen.overrides)
    objective, n = recipe.objectives[0], recipe.budget.evaluations
    vae = molvae.load(recipe.model)
    training = (Path(chosen.training) / "train.smi").read_text().split()

    rows = []
    for seed in range(chosen.seeds):
        drawn = np.random.default_rng(seed).choice(len(training), size=n, replace=False)
        spent = {
            "campaign": campaign(recipe, chosen.out, seed),
            "random prior samples": prior(vae, objective, n, seed),
            "random training molecules": values(objective, [training[k] for k in drawn], n),
        }
        for method, found in spent.items():
            best = sorted((objective.utility(value) for value in found), reverse=True)
            rows.append({"method": method, "seed": seed, "best": best[0], "best ten": float(np.mean(best[:10]))})
            print(rows[-1], flush=True)

    table = pd.DataFrame(rows)
    print(f"\n{objective.label}, {n} evaluations, {chosen.seeds} seeds; utility, bigger is better")
    print(f"{'method':<28}{'best: mean (min–max)':>26}{'mean of best ten (min–max)':>32}")
    for method, group in table.groupby("method", sort=False):
        shown = [f"{group[c].mean():.3f} ({group[c].min():.3f}–{group[c].max():.3f})" for c in ("best", "best ten")]
        print(f"{method:<28}{shown[0]:>26}{shown[1]:>32}")


if __name__ == "__main__":
    main()
