#!/usr/bin/env bash
# Sets up a virtual environment of its own and scans a built-in demo model.
set -euo pipefail
cd "$(dirname "$0")"
python3 -m venv .venv
.venv/bin/python -m pip install --quiet --disable-pip-version-check -r requirements.txt
.venv/bin/python -m pip install --quiet --disable-pip-version-check --no-deps -e .
model="${1:-patch}"
status=0
.venv/bin/rnp scan "demo:$model" --out "runs/$model" --force || status=$?
[ "$status" -eq 0 ] || [ "$status" -eq 1 ] || [ "$status" -eq 3 ]
