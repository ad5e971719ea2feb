#!/usr/bin/env bash
# Writes requirements.lock: the newest versions that pyproject.toml allows, from a fresh environment.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

fresh=$(mktemp -d)
trap 'rm -rf "$fresh"' EXIT
python3 -m venv "$fresh/venv"
"$fresh/venv/bin/python" -m pip install --quiet torch==2.13.0 hatchling hatch-fancy-pypi-readme editables ".[dev,docs]"
{
    echo "# Exact versions that scripts/setup.sh installs; made by scripts/lock.sh."
    "$fresh/venv/bin/python" -m pip freeze --exclude molvae | grep -v '^nvidia\|^triton' | sed 's/^torch==\([0-9.]*\).*/torch==\1/'
} >"$fresh/lock"
mv "$fresh/lock" requirements.lock
