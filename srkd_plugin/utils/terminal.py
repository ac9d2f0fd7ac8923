"""Progress at a terminal: whether it is to be shown, and the bar for it."""

from __future__ import annotations

import os
import sys

from tqdm import tqdm

SWITCH = "SRKD_PROGRESS"
"""Set to 0 in the environment to see no progress."""


def shows_progress() -> bool:
    """Whether standard error is a terminal, and progress has not been switched off."""
    return os.environ.get(SWITCH) != "0" and sys.stderr is not None and sys.stderr.isatty()


class Bar(tqdm):
    """A bar without tqdm's watching thread: its users start processes, some of them by forking."""

    monitor_interval = 0
