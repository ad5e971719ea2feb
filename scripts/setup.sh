#!/usr/bin/env bash
# Makes .venv with exactly the versions of requirements.lock, once; the other scripts source this file.
#   PYTHON=/path/to/python bash scripts/setup.sh     with another Python than the first that is 3.11 or newer
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

stamp=$(cat requirements.lock pyproject.toml | cksum)
if [ "$(cat .venv/.installed 2>/dev/null || true)" != "$stamp" ]; then
    python=""
    for candidate in ${PYTHON:-python3 python3.13 python3.12 python3.11 python}; do
        if "$candidate" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then
            python=$candidate
            break
        fi
    done
    if [ -z "$python" ]; then
        echo "molvae needs Python 3.11 or newer; found none of: ${PYTHON:-python3 python3.13 python3.12 python3.11 python}" >&2
        exit 2
    fi
    echo "setting up .venv with $("$python" --version); the first time takes a minute or two" >&2
    [ -x .venv/bin/python ] || "$python" -m venv .venv
    pip="env PIP_DISABLE_PIP_VERSION_CHECK=1 .venv/bin/python -m pip install --quiet"
    # On Linux the default build of PyTorch brings gigabytes of CUDA; without an NVIDIA GPU the CPU build does.
    if [ "$(uname -s)" = Linux ] && ! command -v nvidia-smi >/dev/null; then
        torch=$(grep '^torch==' requirements.lock)
        $pip --retries 0 --no-deps --index-url https://download.pytorch.org/whl/cpu "$torch" 2>/dev/null ||
            echo "no CPU build of PyTorch to be had; taking the default one, which is large" >&2
    fi
    $pip -r requirements.lock
    $pip --no-deps --no-build-isolation --editable .
    echo "$stamp" >.venv/.installed
fi
