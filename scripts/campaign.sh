#!/usr/bin/env bash
# Sets up, runs the demo campaign with the model that comes with the package, prints the best ten, writes the tables.
# The same command again resumes, or shows the finished campaign. Arguments: a recipe and a run folder.
source "$(dirname "${BASH_SOURCE[0]}")/setup.sh"

recipe=${1:-pipelines/campaign.toml}
run=${2:-runs/demo}
.venv/bin/molvae optimize "$recipe" --out "$run"
for ending in csv sdf xlsx; do
    .venv/bin/molvae export "$run" -o "$run/candidates.$ending"
done
