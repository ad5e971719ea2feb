"""Run a toy campaign as a process of its own, to be killed: ``python toy_run.py FOLDER MODULES [MODEL]``.

Without a model, it begins again on the way; with one, that is fine-tuned.
"""

import sys

from toy import OpenSpace, pool

from molvae.campaign.campaign import Campaign
from molvae.campaign.recipe import CampaignRecipe
from molvae.config import parse_recipe

RECIPE = {
    "model": "toy",
    "objectives": [{"score": {"kind": "callable", "call": "slowly:score"}}],
    "start": {"kind": "prior", "n": 8},
    "budget": {"evaluations": 40},
    "q": 4,
    "search": {"generations": 2, "children": 40},
    "executor": {"kind": "processes", "workers": 2},
    "restarts": {"patience": 4, "gain": 0.9},
}

RETRAIN = {
    "budget": {"evaluations": 24},
    "restarts": {"patience": 0},
    "start": {"kind": "given", "smiles": pool()[:80:10]},
    "learning": {"every": 4, "best": 5, "sampled": 200, "replay": 20},
}

if __name__ == "__main__":
    folder, modules, *model = sys.argv[1:]
    sys.path.insert(0, modules)
    table = {**RECIPE, **RETRAIN, "model": model[0]} if model else RECIPE
    space = None if model else OpenSpace()
    Campaign.open(parse_recipe(table, CampaignRecipe), folder, space=space).run()
