"""Progress at a terminal or in a log: whether it is to be shown, and the bars for it."""

from __future__ import annotations

import os
import sys
from typing import Any, Optional

from tqdm import tqdm

SWITCH = "SRKD_PROGRESS"
"""Set to 0 in the environment to see no progress."""


LOG_SECONDS = 30.0
"""Seconds that are at least between two redraws of a bar that goes into a log."""
UNKNOWN_COLUMNS = 80
"""Columns of a terminal that does not say how many it has."""


def shows_progress() -> bool:
    """Whether standard error is a terminal, and progress has not been switched off."""
    return not _is_off() and _is_terminal()


def progress_bar(*arguments: Any, in_logs: bool = False, hidden: bool = False, **keywords: Any) -> tqdm:
    """Make a bar of tqdm's on standard error; there is none where progress has been switched off.

    Args:
        *arguments: tqdm's.
        in_logs: Show it also where standard error is no terminal, every :data:`LOG_SECONDS`; for work of hours.
        hidden: Show nothing in any case.
        **keywords: tqdm's.
    """
    disable = hidden or _is_off() or not (in_logs or _is_terminal())
    seconds = {} if _is_terminal() else {"mininterval": LOG_SECONDS, "maxinterval": LOG_SECONDS}
    return _SizedBar(*arguments, disable=disable, **seconds, **keywords)


def _is_off() -> bool:
    return os.environ.get(SWITCH) == "0" or sys.stderr is None


def _is_terminal() -> bool:
    return sys.stderr is not None and sys.stderr.isatty()


class _SizedBar(tqdm):
    """A bar that is there on a terminal of 0 columns and rows, too, as the pty of many programs says it is.

    tqdm keeps the last column and row free, and what is left then is -1.
    """

    @property
    def ncols(self) -> Optional[int]:
        """Columns that the bar may take; None: as many as its text has."""
        return self._ncols

    @ncols.setter
    def ncols(self, columns: Optional[int]) -> None:
        self._ncols = UNKNOWN_COLUMNS - 1 if columns is not None and columns < 0 else columns

    @property
    def nrows(self) -> Optional[int]:
        """Rows that bars may take; None: tqdm's default."""
        return self._nrows

    @nrows.setter
    def nrows(self, rows: Optional[int]) -> None:
        self._nrows = None if rows is not None and rows < 0 else rows


class Bar(_SizedBar):
    """A bar without tqdm's watching thread: its users start processes, some of them by forking."""

    monitor_interval = 0
