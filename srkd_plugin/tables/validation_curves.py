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


def mean_curves(results: Results) -> dict[str, Curve]:
    """The mean over the seeds by row, the teacher's too; at each iteration over those that were validated there.

    Args:
        results: Validations in any order; rows without are left out.
    """
    points: dict[str, dict[int, list[float]]] = {}
    for (method, _), curve in curves_by_run(results).items():
        for iteration, psnr in curve:
            points.setdefault(method, {}).setdefault(iteration, []).append(psnr)
    return {method: [(i, fmean(found[i])) for i in sorted(found)] for method, found in points.items()}


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
