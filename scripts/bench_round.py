"""What a round costs the optimiser: seconds per proposed molecule, and peak memory, with so many molecules observed.

    python scripts/bench_round.py --molecules data/zinc250k/prepared --observed 100,1000,10000

The observations are training molecules with the values of the recipe's objectives, as if a campaign had proposed them.
"""

import argparse
import resource
import time
from pathlib import Path

import numpy as np

import molvae
from molvae.campaign.record.state import Observed, Proposal, State, fold
from molvae.campaign.rounds import next_round
from molvae.campaign.space import LatentSpace
from molvae.chem.features import Featurizer


def observed(recipe: molvae.CampaignRecipe, space: LatentSpace, smiles: list[str]) -> State:
    z = space.encode(smiles)
    proposals = [Proposal(k, k // recipe.q, text, row) for k, (text, row) in enumerate(zip(smiles, z, strict=True), 1)]
    molecules = map(molvae.Molecule.parse, smiles)
    values = [tuple(objective.evaluate(one) for objective in recipe.objectives) for one in molecules]
    return fold(proposals, {k: Observed(row, 0.0) for k, row in enumerate(values, 1)})


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--recipe", default="pipelines/pmo.toml")
    options.add_argument("--molecules", required=True, type=Path, help="a prepared corpus folder")
    options.add_argument("--observed", default="100,1000,10000")
    options.add_argument("--rounds", default=3, type=int)
    options.add_argument("--set", dest="overrides", action="append", default=[], help="KEY=VALUE over the recipe's")
    chosen = options.parse_args()

    overrides = [*chosen.overrides, "budget.evaluations=1000000"]
    recipe = molvae.read_recipe(chosen.recipe, molvae.CampaignRecipe, overrides)
    space = LatentSpace.load(recipe.model)
    lines = (chosen.molecules / "train.smi").read_text().split()
    for n in map(int, chosen.observed.split(",")):
        drawn = np.random.default_rng(0).choice(len(lines), n, replace=False)
        state = observed(recipe, space, [molvae.Molecule.parse(lines[k]).smiles for k in drawn])
        featurizer = Featurizer()
        next_round(recipe, space, state, featurizer=featurizer)  # features of the observed are made once in a campaign
        began = time.monotonic()
        proposed = sum(len(next_round(recipe, space, state, featurizer=featurizer)[0]) for _ in range(chosen.rounds))
        seconds = (time.monotonic() - began) / proposed
        memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
        print(f"{n:>7,} observed: {seconds:.3f} s per molecule, {memory:.2f} GB", flush=True)


if __name__ == "__main__":
    main()
