#!/usr/bin/env bash
# Sets up, then lint, types and tests.   bash scripts/test.sh         everything
#                                        bash scripts/test.sh fast    without the slow tests
source "$(dirname "${BASH_SOURCE[0]}")/setup.sh"

export OMP_NUM_THREADS=1   # one process a core; threads inside them only get in each other's way
.venv/bin/ruff check .
.venv/bin/ruff format --check .
.venv/bin/mypy
marker=${1:-all}
if [ "$marker" = fast ]; then
    .venv/bin/pytest -n auto -m "not slow"
else
    .venv/bin/pytest -n auto
fi
