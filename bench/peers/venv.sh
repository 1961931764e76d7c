#!/usr/bin/env bash
# Puts the packages that a file pins into a virtual environment of their own:  venv.sh PYTHON REQUIREMENTS
# The file is complete: nothing else is installed, so that no torch with several GB of CUDA comes along.
set -euo pipefail

"$1" -m venv "$OUT"
"$OUT/bin/python" -m pip install --no-input --disable-pip-version-check --no-deps --requirement "$2"
