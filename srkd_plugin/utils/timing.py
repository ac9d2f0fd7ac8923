"""Timing of things against each other: interleaved repetitions and ratios with their spread."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass
from statistics import median, quantiles
from typing import Callable

Step = Callable[[], object]
Timer = Callable[[Step], float]

LEAST_ROUNDS = 3
"""Rounds that are run however long they take, if this many are asked for."""


@dataclass(frozen=True)
class Spread:
    """Median of repeated measurements, and how far they spread: the quartiles, or the lowest and the highest."""

    median: float
    low: float
    high: float

    @classmethod
    def of(cls, values: list[float]) -> Spread:
        """Median and quartiles of at least one value; a single one is its own quartiles."""
        if len(values) == 1:
            return cls(values[0], values[0], values[0])
        low, _, high = quantiles(values, n=4, method="inclusive")
        return cls(median(values), low, high)

    @classmethod
    def whole(cls, values: list[float]) -> Spread:
        """Median, lowest and highest of at least one value."""
        return cls(median(values), min(values), max(values))

    def __str__(self) -> str:
        """``median (low to high)`` with three decimals."""
        return f"{self:.3f}"

    def __format__(self, number: str) -> str:
        """``median (low to high)``, each in this format of a number."""
        return f"{self.median:{number}} ({self.low:{number}} to {self.high:{number}})"


def interleaved(
    steps: Mapping[str, Step], repeats: int, warm_up: int, timer: Timer, budget: float = float("inf")
) -> dict[str, list[float]]:
    """Time every step once per round, so that whatever disturbs the machine disturbs all of them.

    Each round begins with another step, so that none always comes after the same one.

    Args:
        steps: What is timed, by name.
        repeats: Rounds, >= 1.
        warm_up: Calls of each step beforehand that are not timed.
        timer: Runs a step and returns its seconds.
        budget: Seconds of timed steps after which no round begins any more, once :data:`LEAST_ROUNDS` are done.

    Returns:
        Seconds of each step, one per round.
    """
    for step in steps.values():
        for _ in range(warm_up):
            step()
    names = list(steps)
    seconds: dict[str, list[float]] = {name: [] for name in names}
    for turn in range(repeats):
        if turn >= LEAST_ROUNDS and sum(map(sum, seconds.values())) > budget:
            break
        first = turn % len(names)
        for name in names[first:] + names[:first]:
            seconds[name].append(timer(steps[name]))
    return seconds


def ratios(seconds: Mapping[str, list[float]], reference: str) -> dict[str, Spread]:
    """Each step's seconds as multiples of the reference's in the same round."""
    base = seconds[reference]
    return {name: Spread.of([a / b for a, b in zip(values, base)]) for name, values in seconds.items()}


def wall_timer(step: Step) -> float:
    """Seconds of wall time."""
    start = time.perf_counter()
    step()
    return time.perf_counter() - start
