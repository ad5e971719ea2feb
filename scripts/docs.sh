#!/usr/bin/env bash
# Builds the documentation into build/docs; a warning is an error. Open build/docs/index.html in a browser.
source "$(dirname "${BASH_SOURCE[0]}")/setup.sh"

.venv/bin/python -m sphinx -W --keep-going -q -b html docs build/docs
echo "the documentation is build/docs/index.html"
