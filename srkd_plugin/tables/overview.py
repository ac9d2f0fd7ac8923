"""What the runs of a table do, at the bottom of a terminal: a line for all, and one for each that goes on."""

from __future__ import annotations

import re
import sys
import threading
from pathlib import Path
from typing import Any, NamedTuple, Optional

from tqdm import tqdm

from srkd_plugin.tables.plan import Run
from srkd_plugin.utils.terminal import Bar

SECONDS = 2.0
"""How often the logs are looked at."""
END = 1 << 16
"""Bytes at the end of a log that are looked at."""
LOGGED = re.compile(r"iter: *([\d,]+), lr:\(.*?\[eta: ((?:-?\d+ days?, )?[\d:]+), time")
"""How BasicSR logs an iteration, and the time that is left."""
DONE, FAILED, ENDED, TRAINS = "done", "failed", "ended", "trains"
"""States of a run; others, such as ``is tested``, are shown as they are."""


class Logged(NamedTuple):
    """The last iteration that a training has logged."""

    iteration: int
    eta: str
    """Time left, as BasicSR writes it, e.g. ``1 day, 2:03:04``."""


def last_logged(log: Path, begin: int = 0) -> Optional[Logged]:
    """What a training has logged last; None for nothing.

    Args:
        log: What its command prints; it need not be there.
        begin: The byte at which the training that goes on began in it; before that are earlier ones.
    """
    found = LOGGED.findall(_end(log, begin))
    return Logged(int(found[-1][0].replace(",", "")), found[-1][1]) if found else None


def last_line(log: Path) -> str:
    """The last line that a command itself printed, without the runner's note of how it ended; empty for none."""
    lines = [line.strip() for line in _end(log, 0).splitlines()]
    return next((line for line in reversed(lines) if line and not line.startswith("# ")), "")


def _end(log: Path, begin: int) -> str:
    try:
        with open(log, "rb") as file:
            size = file.seek(0, 2)
            file.seek(max(begin, size - END))
            return file.read().decode("utf-8", errors="replace")
    except OSError:
        return ""


class Overview:
    """Shows what a table's runs do; a context in which a thread reads their logs.

    Runs that are done or have failed get a line above, which stays; commands are printed above, too.

    Args:
        name: The table's.
        runs: How many there are.
        done: How many are done already.
    """

    def __init__(self, name: str, runs: int, done: int) -> None:
        self._lock = threading.Lock()
        self._ended = threading.Event()
        self._bars: dict[str, tuple[Any, Path, int]] = {}
        self._failed = 0
        form = "{desc}: {n_fmt} of {total_fmt} runs done{postfix}"
        self._all = Bar(desc=name, total=runs, initial=done, bar_format=form, file=sys.stderr, dynamic_ncols=True)
        self._thread = threading.Thread(target=self._look, daemon=True)

    def __enter__(self) -> Overview:
        """Begin to read the logs."""
        self._thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        """Leave the line for all runs as it is; the others go."""
        self._ended.set()
        self._thread.join()
        with self._lock:
            for bar, _, _ in self._bars.values():
                bar.close()
            self._bars.clear()
            self._all.close()

    def show(self, command: str) -> None:
        """Print a command, above the lines."""
        tqdm.write(f"$ {command}", file=sys.stdout)
        sys.stdout.flush()

    def tell(self, run: Run, state: str, log: Path) -> None:
        """Take note of what a run does now.

        Args:
            run: The run.
            state: :data:`DONE`, :data:`FAILED`, :data:`ENDED` (with others; it can be resumed), or what it does, e.g.
                :data:`TRAINS`.
            log: What the command prints that it does it with.
        """
        with self._lock:
            going_on = self._bars.pop(run.name, None)
            if going_on is not None:
                going_on[0].close()
            if state == DONE:
                self._all.n += 1
                self._write(f"done: {run.name}")
            elif state == FAILED:
                self._failed += 1
                self._write(f"failed: {run.name}: {last_line(log) or f'it printed nothing; see {log}'}")
            elif state != ENDED:
                self._bars[run.name] = self._bar(run, state), log, log.stat().st_size if log.exists() else 0
            elif going_on is not None:
                self._write(f"ended: {run.name}; the same command goes on with it")
            said = [f"{len(self._bars)} going on"] + [f"{self._failed} failed"] * bool(self._failed)
            self._all.set_postfix_str(", ".join(said))

    def _write(self, line: str) -> None:
        tqdm.write(line, file=sys.stderr)

    def _bar(self, run: Run, state: str) -> Bar:
        total = None if run.train is None or state != TRAINS else int(run.train["train"]["total_iter"])
        form = "  {desc}: {percentage:3.0f}%|{bar:20}| {n_fmt}/{total_fmt}{postfix}" if total else "  {desc}"
        name = f"{run.name} {state}"
        return Bar(desc=name, total=total, bar_format=form, file=sys.stderr, leave=False, dynamic_ncols=True)

    def look(self) -> None:
        """Read the logs of what is going on, and show what they say."""
        with self._lock:
            for bar, log, begin in self._bars.values():
                logged = last_logged(log, begin) if bar.total else None
                if logged is not None:
                    bar.n = logged.iteration
                    bar.set_postfix_str(f"{logged.eta} left", refresh=False)
                bar.refresh()

    def _look(self) -> None:
        while not self._ended.wait(SECONDS):
            self.look()
