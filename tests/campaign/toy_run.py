"""Run a toy campaign as a process of its own, to be killed: ``python toy_run.py FOLDER MODULES``."""

import sys

from toy import OpenSpace

from molvae.campaign.campaign import Campaign
from molvae.campaign.recipe import CampaignRecipe
from molvae.config import parse_recipe

RECIPE = {
    "model": "toy",
    "objectives": [{"score": {"kind": "callable", "call": "slowly:score"}}],
    "start": {"kind": "prior", "n": 8},
    "budget": {"evaluations": 24},
    "q": 4,
    "search": {"generations": 2, "children": 40},
    "executor": {"kind": "processes", "workers": 2},
}

if __name__ == "__main__":
    sys.path.insert(0, sys.argv[2])
    campaign = Campaign.open(parse_recipe(RECIPE, CampaignRecipe), sys.argv[1], space=OpenSpace())
    campaign.run()
