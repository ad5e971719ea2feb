#!/usr/bin/env bash
# The model that ships, from nothing: data, two trainings on ZINC-250k, one on molecules of its own making as well, one
# on ZINC alone, one on those of its molecules that match ZINC, its evaluation. Six hours on two cores; stopped or killed, the same command goes on.
#   bash scripts/model.sh                    arguments go to each training, such as --device cuda
source "$(dirname "${BASH_SOURCE[0]}")/setup.sh"

molvae=.venv/bin/molvae
data=data/zinc250k
if ! [ -e $data/prepared/manifest.json ]; then
    $molvae data fetch zinc250k -o $data/raw
    $molvae data prepare $data/raw -o $data/prepared --score logp --score qed --score sas
fi
$molvae train pipelines/train_zinc250k.toml --out runs/zinc250k "$@"
$molvae train pipelines/refine_zinc250k.toml --out runs/zinc250k-refined "$@"
[ -e $data/samples.csv ] ||
    $molvae sample runs/zinc250k-refined/model -n 1000000 --seed 1 --no-grammar -o $data/samples.csv
$molvae data prepare $data/samples.csv -o $data/samples --valid 0 --test 0
$molvae train pipelines/synthetic_zinc250k.toml --out runs/zinc250k-synthetic "$@"
$molvae train pipelines/anneal_zinc250k.toml --out runs/zinc250k-settled "$@"
[ -e runs/zinc250k-fitted ] ||
    $molvae fit-prior runs/zinc250k-settled/model --smiles $data/prepared/train.smi --width 0.95 --out runs/zinc250k-fitted
[ -e $data/samples2.csv ] ||
    $molvae sample runs/zinc250k-fitted -n 1000000 --seed 4 --no-grammar -o $data/samples2.csv
[ -e $data/alike.csv ] ||
    $molvae data match $data/samples.csv $data/samples2.csv --like $data/prepared/train.smi -o $data/alike.csv
$molvae data prepare $data/alike.csv -o $data/alike --valid 0 --test 0
$molvae train pipelines/match_zinc250k.toml --out runs/zinc250k-shipped "$@"
$molvae evaluate runs/zinc250k-shipped/model --smiles $data/prepared/valid.smi --to-card
