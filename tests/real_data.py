"""Where the tests find the real benchmark sets, which are never part of the project."""

from __future__ import annotations

import os
from pathlib import Path

import pytest


def real_data(name: str) -> Path:
    """The folder of a real data set, e.g. ``Set5``; the test is skipped where it is not there.

    Looked for below ``$SRKD_DATA``, and without that in any ``data`` of a folder beside the checkout.
    """
    beside = Path(__file__).parents[2].glob("*/data")
    roots = [Path(os.environ["SRKD_DATA"])] if "SRKD_DATA" in os.environ else sorted(beside)
    for root in roots:
        if (root / name).is_dir():
            return root / name
    pytest.skip(f"no {name}; SRKD_DATA names the folder with the real data sets")
