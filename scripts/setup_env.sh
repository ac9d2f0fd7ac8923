#!/usr/bin/env bash
# Makes the virtual environment that quickstart.sh and test.sh use, with BasicSR and this plugin (editable).
#
#   bash scripts/setup_env.sh [EXTRAS]      e.g. demo,test
#
# Environment:
#   SRKD_VENV         where the environment is (default: .venv beside setup.py)
#   SRKD_PYTHON       the Python to make it with, 3.9 to 3.12 (default: the first one found)
#   SRKD_TORCH_ARGS   what pip is to install as torch (default: "torch torchvision"), e.g.
#                     "torch torchvision --index-url https://download.pytorch.org/whl/cpu" for a small CPU build
#
# Safe to run again: what is installed already stays.
set -euo pipefail
cd "$(dirname "$0")/.."
extras="${1:-demo}"
venv="${SRKD_VENV:-.venv}"

find_python() {
  for candidate in "${SRKD_PYTHON:-python3}" python3.12 python3.11 python3.10 python3.9; do
    if "$candidate" -c 'import sys; sys.exit(not (3, 9) <= sys.version_info[:2] <= (3, 12))' 2>/dev/null; then
      echo "$candidate"
      return
    fi
  done
  echo "setup_env: no Python 3.9 to 3.12 found; name one in SRKD_PYTHON (BasicSR 1.4.2 cannot be built on 3.13)" >&2
  exit 1
}

if [ ! -x "$venv/bin/python" ]; then
  python="$(find_python)"
  echo "setup_env: making $venv with $("$python" --version)"
  "$python" -m venv "$venv"
fi
pip=("$venv/bin/python" -m pip install --quiet --disable-pip-version-check)

"$venv/bin/python" -c 'import torch, torchvision' 2>/dev/null || {
  echo "setup_env: installing torch (the large one)"
  # shellcheck disable=SC2086  # several words on purpose
  "${pip[@]}" ${SRKD_TORCH_ARGS:-torch torchvision}
}
"$venv/bin/python" -c 'from importlib.metadata import version; version("basicsr")' 2>/dev/null || {
  echo "setup_env: installing BasicSR"
  # Its setup.py wants torch at build time: with build isolation, pip would download torch a second time.
  "${pip[@]}" setuptools wheel cython numpy
  "${pip[@]}" --no-build-isolation "basicsr==1.4.2"
}
echo "setup_env: installing srkd-plugin [$extras]"
"${pip[@]}" --editable ".[$extras]"
