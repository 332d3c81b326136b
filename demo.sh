#!/usr/bin/env bash
# Sets up a virtual environment of its own and opens the dashboard on the built-in demo models.
set -euo pipefail
cd "$(dirname "$0")"
python3 -m venv .venv
.venv/bin/python -m pip install --quiet --disable-pip-version-check -r requirements.txt
.venv/bin/python -m pip install --quiet --disable-pip-version-check --no-deps -e .
exec .venv/bin/rnp dashboard --browser "$@"
