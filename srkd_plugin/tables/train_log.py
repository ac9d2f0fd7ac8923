"""What the log of a training says: the curve of its validations, and the time that its commands took."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Optional

CPU = r"([\d.]+) s of CPU time"
WALL = r"after ([\d.]+) s\b"
BEGINS = re.compile(r"Start training from epoch: \d+, iter: (\d+)")
"""How BasicSR's trainer begins, and from which iteration."""
ENDED = re.compile(r"^# .*: exit code (-?\d+) .*$", re.MULTILINE)
"""What the runner notes when a command has ended."""


def of_this_training(log: str) -> str:
    """The log from the command on that began at iteration 0; what is before is of a training that is gone.

    Example:
        >>> of_this_training("x\\n# python: exit code 0 after 1 s\\nStart training from epoch: 0, iter: 0\\n")
        'Start training from epoch: 0, iter: 0\\n'
    """
    begins = [found.start() for found in BEGINS.finditer(log) if found.group(1) == "0"]
    before = [found.end() + 1 for found in ENDED.finditer(log, 0, begins[-1])] if begins else []
    return log[before[-1] :] if before else log


def exit_code(log: str) -> Optional[int]:
    """How the last command of a log has ended; None while it is carried out, or if it never was."""
    found = ENDED.fullmatch(log.rstrip().rpartition("\n")[2])
    return int(found.group(1)) if found else None


def seconds(log: str, pattern: str) -> float:
    """The sum over the commands of a log: by :data:`WALL` of their time, by :data:`CPU` of their CPU time."""
    return round(sum(map(float, re.findall(rf"exit code -?\d+ .*?{pattern}", log))), 2)


def read_curve(log: str, train: Optional[Mapping[str, Any]] = None) -> list[tuple[int, float]]:
    """The validations in a training's log; the last counts if one was repeated.

    BasicSR does not log at which iteration it validates. It is the one that was logged last, unless ``val_freq`` says
    that it is a later one, as ``print_freq`` iterations lie between what is logged.

    Args:
        log: The log.
        train: The training's options; without them the iteration that was logged last counts.

    Returns:
        ``(iteration, PSNR in dB)``, the iterations rising.
    """
    every = int(((train or {}).get("val") or {}).get("val_freq") or 0)
    total = int(train["train"]["total_iter"]) if train else 0
    curve: dict[int, float] = {}
    seen: set[tuple[str, int]] = set()
    at, name, is_over = 0, "", False

    def iteration() -> int:
        if is_over or not every:
            return total if is_over and total else at
        found = -(-max(at, 1) // every) * every
        while (name, found) in seen:
            found += every
        return found

    for line in log.splitlines():
        if found := BEGINS.search(line):
            at, is_over = int(found.group(1)), False
            seen = {(name, at)} if at in curve else set()  # otherwise a resumed run makes up for that validation
            curve = {} if at == 0 else curve  # what was logged before is of another training
        elif found := re.search(r"\biter:\s*([\d,]+)", line):
            at = int(found.group(1).replace(",", ""))
        elif "INFO: End of training" in line:
            is_over = True
        elif found := re.search(r"INFO: Validation (.+)$", line):
            name = found.group(1)
        elif found := re.search(r"# psnr: ([\d.]+)", line):
            where = iteration()
            seen.add((name, where))
            curve[where] = float(found.group(1))
    return sorted(curve.items())
