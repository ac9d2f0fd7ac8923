"""A fault campaign: commands are killed at random moments and files truncated, and the end must be as without that."""

from __future__ import annotations

import contextlib
import hashlib
import os
import random
import shutil
import signal
import subprocess
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Callable

import torch

from srkd_plugin.utils import markdown

FINISH_WITHIN = 1800.0
"""Seconds in which a command that is not killed must end."""


@dataclass
class Workload:
    """A command that can be interrupted and started again.

    Args:
        name: Name of its row in the table.
        command: The program and its arguments; it runs in a folder of the campaign's.
        result: A digest of what it leaves in that folder when it is complete.
        truncatable: Files of that folder that may be truncated now; none, if the command does not promise to go on.
    """

    name: str
    command: Sequence[str]
    result: Callable[[Path], str]
    truncatable: Callable[[Path], list[Path]] = lambda folder: []


@dataclass
class Outcome:
    """What was done to a workload, and whether it ended as undisturbed.

    Attributes:
        name: The workload's name.
        kills: SIGKILLs that hit it.
        truncations: Files that were truncated.
        completions: Ends that were compared.
        faults: What was wrong; the campaign has failed if anything was.
        skipped: Why it could not be tried here; empty if it was.
        remark: What is said of a workload that was tried and has no faults.
    """

    name: str
    kills: int = 0
    truncations: int = 0
    completions: int = 0
    faults: list[str] = field(default_factory=list)
    skipped: str = ""
    remark: str = "all equal"

    @property
    def failed(self) -> bool:
        """Whether anything was wrong."""
        return bool(self.faults)

    def row(self) -> tuple[str, int, int, int, str]:
        """A row of the table; columns as in :data:`COLUMNS`."""
        verdict = "; ".join(self.faults) or (f"skipped: {self.skipped}" if self.skipped else self.remark)
        return self.name, self.kills, self.truncations, self.completions, verdict


COLUMNS = ("workload", "SIGKILLs", "truncated files", "complete ends compared", "against the undisturbed run")


def report(outcomes: Sequence[Outcome]) -> tuple[str, int]:
    """The table of all outcomes as Markdown, and the exit code: 1 if one has failed, else 0."""
    return markdown.table(COLUMNS, [outcome.row() for outcome in outcomes]), int(any(o.failed for o in outcomes))


def campaign(workload: Workload, root: Path, kills: int, rng: random.Random) -> Outcome:
    """Run a workload undisturbed; then kill it, started as often as needed, and compare each end.

    Args:
        workload: The command.
        root: Folder for its folders and log.
        kills: How many SIGKILLs must hit the running command.
        rng: Chooses the moments and files.
    """
    outcome = Outcome(workload.name)
    undisturbed, folder = root / "undisturbed", root / "disturbed"
    undisturbed.mkdir(parents=True)
    began = time.monotonic()
    if _run(workload, undisturbed, FINISH_WITHIN) != 0:
        outcome.faults.append(f"the undisturbed run failed, see {undisturbed}.log")
        return outcome
    duration = time.monotonic() - began
    expected = workload.result(undisturbed)
    folder.mkdir()
    while outcome.kills < kills and not outcome.faults:
        code = _run(workload, folder, rng.uniform(0, duration))
        if code == -signal.SIGKILL:
            outcome.kills += 1
            outcome.truncations += _truncate_one(workload.truncatable(folder), rng)
        else:
            _compare(workload, folder, code, expected, outcome)
            shutil.rmtree(folder)
            folder.mkdir()
    if not outcome.faults:
        _compare(workload, folder, _run(workload, folder, FINISH_WITHIN), expected, outcome)
    return outcome


def _run(workload: Workload, folder: Path, kill_after: float) -> int:
    """Run the command; its exit code, negative if it was killed."""
    with open(folder.with_suffix(".log"), "ab") as log:
        process = subprocess.Popen(workload.command, cwd=folder, stdout=log, stderr=log, start_new_session=True)
        try:
            return process.wait(kill_after)
        except subprocess.TimeoutExpired:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            return process.wait()


def _truncate_one(files: list[Path], rng: random.Random) -> int:
    if not files or rng.random() < 0.5:
        return 0
    file = rng.choice(files)
    os.truncate(file, rng.randrange(file.stat().st_size))
    return 1


def _compare(workload: Workload, folder: Path, code: int, expected: str, outcome: Outcome) -> None:
    outcome.completions += 1
    if code != 0:
        outcome.faults.append(f"exit code {code}, see {folder}.log")
    elif workload.result(folder) != expected:
        outcome.faults.append(f"another result, see {folder}")


def digest(value: Any) -> str:
    """A sha256 of nested dicts, lists, numbers, texts and tensors; equal values, bit for bit, have equal ones."""
    sha = hashlib.sha256()
    _feed(sha, value)
    return sha.hexdigest()


def _feed(sha: Any, value: Any) -> None:
    if torch.is_tensor(value):
        sha.update(f"{value.dtype}{tuple(value.shape)}".encode())
        sha.update(value.detach().cpu().contiguous().numpy().tobytes())
    elif isinstance(value, Mapping):
        for key in sorted(value, key=repr):
            sha.update(repr(key).encode())
            _feed(sha, value[key])
    elif isinstance(value, (list, tuple)):
        sha.update(f"[{len(value)}]".encode())
        for item in value:
            _feed(sha, item)
    else:
        sha.update(repr(value).encode())
