"""Where a table's page comes from: its file, its results, and the working directory or the stored files."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Optional

from srkd_plugin.errors import OptionsError
from srkd_plugin.tables.plan import Run, plan_runs
from srkd_plugin.tables.results import Results
from srkd_plugin.tables.runner import Runner
from srkd_plugin.tables.table_sections import TEACHER, Table
from srkd_plugin.tables.train_log import exit_code, of_this_training, read_curve
from srkd_plugin.training.stop_signals import STOPPED


@dataclass(frozen=True)
class Source:
    """What a page is made of.

    Attributes:
        file: The table's file.
        table: Its content.
        results: What has been measured so far.
        folders: Folders of stored results; none where the results are those of ``machine``.
        machine: What carries out the table in its working directory; None for stored results.
    """

    file: Path
    table: Table
    results: Results
    folders: Sequence[Path] = ()
    machine: Optional[Runner] = None

    def runs(self) -> tuple[list[Run], str]:
        """The runs that the table asks for, or none and why: its options files can be elsewhere."""
        try:
            return plan_runs(self.table, self.file), ""
        except OptionsError as error:
            return [], str(error)


@dataclass(frozen=True)
class MissingRun:
    """A run of the table without results, or with results of some of its sets."""

    method: str
    seed: int
    state: str


def missing_runs(source: Source) -> list[MissingRun]:
    """What the table asks for and the results do not have, and how far it is, the teacher first."""
    runs, _ = source.runs()
    by_key = {(run.method, run.seed): run for run in runs}
    sets_of: dict[tuple[str, int], set[str]] = {}
    for image in source.results.images:
        sets_of.setdefault((image.method, image.seed), set()).add(image.set)
    found = []
    for key in _wanted(source.table):
        without = [name for name in source.table.sets if name not in sets_of.get(key, set())]
        if key in sets_of and without:
            found.append(MissingRun(*key, f"not tested on {', '.join(without)}"))
        elif without:
            found.append(MissingRun(*key, _state(source.machine, by_key.get(key))))
    return found


def count_wanted(table: Table) -> int:
    """How many runs a table asks for, that of the teacher among them."""
    return len(_wanted(table))


def _wanted(table: Table) -> list[tuple[str, int]]:
    students = [(method, seed) for method in table.methods for seed in table.seeds_of(method)]
    return [(TEACHER, table.teacher.seed), *students] if table.teacher.test else students


def _state(machine: Optional[Runner], run: Optional[Run]) -> str:
    if machine is None or run is None:
        return "no stored result"
    log = machine.log_file(run, "train")
    if run.train is None or not log.exists():
        return "not started"
    text = of_this_training(log.read_text("utf-8", errors="replace"))
    total, code = run.train["train"]["total_iter"], exit_code(text)
    if code == 0:
        tests = machine.log_file(run, "test")
        tested = exit_code(tests.read_text("utf-8", errors="replace")) if tests.exists() else None
        return f"trained, not tested yet{_how_ended(tested)}"
    reached = re.findall(r"\biter:\s*(\d+(?:,\d+)*)", text)
    where = f"iteration {reached[-1]} of {total:,}" if reached else f"before the first logged iteration of {total:,}"
    curve = read_curve(text, run.train)
    last = f"; last validation {curve[-1][1]:.3f} dB" if curve else ""
    return f"begun: {where}{last}{_how_ended(code)}"


def _how_ended(code: Optional[int]) -> str:
    """What is added about a command by its exit code, if that has not gone well."""
    if not code:
        return ""
    return "; asked to end, to be resumed" if code == STOPPED else f"; its last command failed (exit code {code})"
