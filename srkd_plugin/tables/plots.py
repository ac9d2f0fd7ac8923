"""Plots of a table's results."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from srkd_plugin.evaluate.compare_images import compare, draw_crops
from srkd_plugin.tables.paired_stats import PsnrTable
from srkd_plugin.tables.plan import Run
from srkd_plugin.tables.results import Results
from srkd_plugin.tables.table_sections import TEACHER, Table
from srkd_plugin.tables.validation_curves import curves_by_run, mean_curves
from srkd_plugin.utils.figures import plain, save_figure

MAIN = "main"
"""The group that is drawn."""
COLLAPSED = 1.0
"""A row that is this many dB below its baseline is named in the plots and not drawn: it would hide the rest."""


def draw_gains(table: Table, psnr: PsnrTable, file: Path) -> None:
    """Draw the gain over the baseline of each method of the main group, a panel per set: mean, interval, each seed."""
    methods = [m for m, row in table.methods.items() if row.group == MAIN and table.baseline_of(m) != m]
    figure, axes = _figure(1, len(table.sets), width=3.6, height=0.6 + 0.34 * len(methods))
    for name, axis in zip(table.sets, axes[0]):
        differences = ((m, psnr.difference(m, table.baseline_of(m), name)) for m in methods)
        found = {m: d for m, d in differences if d is not None}
        for row, difference in enumerate(found.values()):
            interval = difference.over_seeds
            if interval.mean < -COLLAPSED:
                axis.text(0.0, row, f"{interval.mean:.1f} dB", va="center", fontsize=7)
                continue
            axis.errorbar(interval.mean, row, xerr=interval.half_width or 0.0, fmt="o", color="C0", capsize=3)
        axis.axvline(0.0, color="0.6", linewidth=0.8)
        labels = [plain(table.label_of(m)) for m in found] if axis is axes[0][0] else []
        axis.set_yticks(range(len(found)), labels, fontsize=8)
        axis.set_ylim(max(len(found), 1) - 0.5, -0.5)
        axis.set_title(name, fontsize=9)
        axis.set_xlabel("gain, dB (95 % over seeds)", fontsize=8)
    save_figure(figure, file)


def draw_curves(table: Table, results: Results, file: Path) -> None:
    """Draw the validation PSNR of the main group's methods against iterations, the mean over the seeds."""
    figure, axes = _figure(1, 1, width=7.0, height=4.2)
    axis, lowest, curves = axes[0][0], [], mean_curves(results)
    for method, row in table.methods.items():
        curve = curves.get(method, ())
        if curve and row.group == MAIN:
            axis.plot(*zip(*curve), marker=".", label=plain(table.label_of(method)))
            lowest.append((curve[-1][1], curve[0][1]))
    if lowest:
        best = max(last for last, _ in lowest)
        alive = [first for last, first in lowest if last > best - COLLAPSED]
        axis.set_ylim(min(alive) - 0.1, best + 0.1)  # collapsed rows leave the picture
        axis.legend(fontsize=8)
    axis.set_xlabel("iteration")
    axis.set_ylabel("validation PSNR, dB (Y)")
    save_figure(figure, file)


def budget_curves(table: Table, results: Results) -> dict[str, list[list[tuple[float, float]]]]:
    """``(CPU seconds, PSNR in dB)`` of every seed of the rows that have a ``budget``, by its name.

    A run is taken to use its time evenly over its iterations; making the teacher cache comes before.
    """
    found: dict[str, list[list[tuple[float, float]]]] = {}
    curves = curves_by_run(results)
    for run in results.runs:
        name = table.methods[run.method].budget if run.method in table.methods else None
        if name is None or run.cpu_seconds == 0 or run.iterations == 0:
            continue
        curve = curves.get((run.method, run.seed), ())
        pace = run.cpu_seconds / run.iterations
        found.setdefault(f"{name}, {run.iterations:,} iterations", []).append(
            [(run.cache_cpu_seconds + pace * iteration, psnr) for iteration, psnr in curve]
        )
    return found


def draw_budget(table: Table, results: Results, file: Path) -> None:
    """Draw :func:`budget_curves`, a line per seed; nothing where there are none."""
    found = budget_curves(table, results)
    if not found:
        return
    figure, axes = _figure(1, 1, width=7.0, height=4.2)
    axis = axes[0][0]
    for color, (name, curves) in enumerate(found.items()):
        for i, curve in enumerate(curves):
            axis.plot(*zip(*curve), marker=".", color=f"C{color}", label=None if i else plain(name), linewidth=1)
    axis.legend(fontsize=8)
    axis.set_xlim(left=0)
    axis.set_xlabel("CPU seconds, making the cache included")
    axis.set_ylabel("validation PSNR, dB (Y)")
    save_figure(figure, file)


def draw_sheet(table: Table, runs: Sequence[Run], root: Path, file: Path, per_set: int = 1) -> None:
    """Draw crops of the teacher and of the main group's methods, with the first seed of each.

    Args:
        table: The table.
        runs: Finished runs; their SR images are read below ``root``.
        root: The working directory of the runs.
        file: The picture.
        per_set: Images of each set: the first ones by name.
    """
    first: dict[str, Run] = {}
    for run in runs:
        if run.method == TEACHER or table.methods[run.method].group == MAIN:
            first.setdefault(run.method, run)
    order = [m for m in [*table.methods, TEACHER] if m in first]
    parts = []
    for name, section in table.sets.items():
        folders = {table.label_of(m): root / "results" / first[m].test["name"] / "visualization" / name for m in order}
        found = compare(root / section.dataroot_gt, root / section.dataroot_lq, folders, runs[0].scale)
        parts.append(found.only(list(found.hr)[:per_set]))
    draw_crops(parts[0].joined(*parts[1:]), file)


def _figure(rows: int, columns: int, width: float, height: float) -> tuple[Any, Any]:
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width * columns, height * rows), layout="constrained")
    FigureCanvasAgg(figure)
    return figure, figure.subplots(rows, columns, squeeze=False)
