"""Where the tests find the real benchmark sets, which are never part of the project."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

BESIDE_THE_CHECKOUT = Path(__file__).parents[2] / "shared/data"


def real_data(name: str) -> Path:
    """The folder of a real data set, e.g. ``Set5``; the test is skipped where it is not there.

    Looked for below ``$SRKD_DATA``, by default in ``shared/data`` beside the checkout.
    """
    root = Path(os.environ.get("SRKD_DATA", BESIDE_THE_CHECKOUT))
    if not (root / name).is_dir():
        pytest.skip(f"no {name} in {root}; SRKD_DATA names the folder with the real data sets")
    return root / name
