"""The validation curves of a table's runs, and what the last quarter of a training still gave."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import fmean
from typing import Optional

from srkd_plugin.tables.paired_stats import Interval, interval
from srkd_plugin.tables.results import Results
from srkd_plugin.tables.table_sections import TEACHER, Table

Curve = Sequence[tuple[int, float]]
"""``(iteration, PSNR in dB)`` of a run's validations, in their order."""
LAST = 0.75
"""Where the last quarter of a training begins."""


def curves_by_run(results: Results) -> dict[tuple[str, int], Curve]:
    """The curves by ``(method, seed)``.

    Args:
        results: Validations in any order; of several at one iteration the last one counts.
    """
    found: dict[tuple[str, int], dict[int, float]] = {}
    for point in sorted(results.curves, key=lambda point: point.iteration):
        found.setdefault((point.method, point.seed), {})[point.iteration] = point.psnr
    return {run: list(curve.items()) for run, curve in found.items()}


def mean_curve(results: Results, method: str) -> Curve:
    """The mean over a method's seeds; at each iteration over those that were validated there.

    Args:
        results: Validations in any order.
        method: A row, or the teacher; the curve of one that has none is empty.
    """
    points: dict[int, list[float]] = {}
    for (row, _), curve in curves_by_run(results).items():
        if row == method:
            for iteration, psnr in curve:
                points.setdefault(iteration, []).append(psnr)
    return [(iteration, fmean(points[iteration])) for iteration in sorted(points)]


def gain_of_last_quarter(curve: Curve) -> Optional[float]:
    """PSNR at the last validation minus that at three quarters of the way there, in dB; linear between validations.

    Args:
        curve: See :data:`Curve`.

    Returns:
        The gain; None if no validation is as early as that.

    Example:
        >>> gain_of_last_quarter([(1000, 30.0), (2000, 31.0)])
        0.5
    """
    if not curve or curve[0][0] > LAST * curve[-1][0]:
        return None
    start, last = LAST * curve[-1][0], curve[-1][1]
    for (before, lower), (after, higher) in zip(curve, curve[1:]):
        if before <= start <= after:
            return last - (lower + (higher - lower) * (start - before) / (after - before))
    return None


def last_quarters(table: Table, results: Results) -> dict[str, Interval]:
    """The gain of the last quarter by row, over its seeds, the teacher first: near zero, the training has converged.

    Args:
        table: Its rows.
        results: Their validations; rows without are left out.
    """
    found: dict[str, list[float]] = {}
    for (method, _), curve in curves_by_run(results).items():
        gain = gain_of_last_quarter(curve)
        if gain is not None:
            found.setdefault(method, []).append(gain)
    return {name: interval(found[name]) for name in (TEACHER, *table.methods) if name in found}
