#!/usr/bin/env bash
# Sets everything up in .venv and runs all checks and tests.
#
#   bash scripts/test.sh [ARGUMENTS FOR PYTEST]     e.g. -m "not integration", -k contrastive
#
# CONTRIBUTING.md says what each check is for and how to run it alone.
set -euo pipefail
cd "$(dirname "$0")/.."
bash scripts/setup_env.sh demo,test
bin="$(cd "${SRKD_VENV:-.venv}/bin" && pwd)"
"$bin/ruff" check .
"$bin/ruff" format --check .
"$bin/codespell"
"$bin/mypy"
"$bin/lint-imports"
NO_MKDOCS_2_WARNING=1 "$bin/mkdocs" build --strict --quiet --site-dir build/site  # warns of MkDocs 2.0 otherwise
# Tests train tiny networks and start many processes: one thread each is fastest, and the same on every machine.
OMP_NUM_THREADS="${OMP_NUM_THREADS:-1}" "$bin/python" -m pytest --numprocesses auto --cov --cov-report= "$@"
echo "Coverage by the tests' own processes, lines and branches: $("$bin/python" -m coverage report --format=total) %"
