"""The report of a table: Markdown, JSON and plots, from stored results."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from statistics import fmean
from typing import Any, Optional

from srkd_plugin.tables.paired_stats import Difference, Interval, PsnrTable
from srkd_plugin.tables.results import BICUBIC, Results
from srkd_plugin.tables.table_sections import TEACHER, Group, Table
from srkd_plugin.tables.time_to_quality import times_to_quality
from srkd_plugin.tables.validation_curves import last_quarters
from srkd_plugin.utils import markdown as md
from srkd_plugin.utils.figures import EXTRA, can_draw
from srkd_plugin.utils.files import write_atomically, write_json

NOTE = (
    "PSNR in dB, Y channel, mean over images and seeds (in brackets the standard deviation over the seeds); below it "
    "the paired difference to the row's baseline, of the seeds that both have, with its 95 % intervals over seeds | "
    "over images (Student's t). Bold: both leave zero out. A row without a difference is a baseline itself."
)
TIMES_NOTE = (
    "How soon a method has the PSNR that its baseline of the same seed ends with, by the validations during training "
    "(linear between them), as a share of what the baseline took: 0.50 is half of its iterations, or of its CPU "
    "seconds. Means over the seeds that get there, with 95 % intervals; a run is taken to use its time evenly."
)
LAST_QUARTER_NOTE = (
    "PSNR on the validation set at the end of the training minus that at three quarters of it (linear between "
    "validations), mean over the seeds with the 95 % interval. A row that still rises has not converged. A row that "
    "does not rise can owe that to its learning rate, which has come to its end: whether more iterations help, only a "
    "longer run says."
)


def write_report(table: Table, results: Results, folder: Path) -> None:
    """Write ``table.md``, ``table.json``, ``gain.png`` and ``curves.png``; ``budget.png`` where rows have a ``budget``.

    Without matplotlib there are no pictures, which is said.

    Args:
        table: What the rows are called and compared with.
        results: What was measured; rows without results are left out.
        folder: Where to write.
    """
    from srkd_plugin.tables.plots import draw_budget, draw_curves, draw_gains

    write_atomically(folder / "table.md", (markdown(table, results) + "\n").encode())
    write_json(folder / "table.json", as_json(table, results))
    if not can_draw():
        print(f"There are no pictures: they need matplotlib (pip install 'srkd-plugin[{EXTRA}]').", file=sys.stderr)
        return
    draw_gains(table, PsnrTable(results.images), folder / "gain.png")
    draw_curves(table, results, folder / "curves.png")
    draw_budget(table, results, folder / "budget.png")


def markdown(table: Table, results: Results) -> str:
    """The tables of all groups, and of the pairs."""
    psnr = PsnrTable(results.images)
    parts = [NOTE]
    for key in dict.fromkeys(method.group for method in table.methods.values()):
        rows = [name for name, method in table.methods.items() if method.group == key and _measured(psnr, table, name)]
        if rows:
            group = table.groups.get(key, Group(title=key))
            parts.append(
                f"### {md.escaped(group.title)}\n\n{_group(table, results, psnr, rows, group.sets or list(table.sets))}"
            )
    pairs = [pair for pair in table.pairs if all(_measured(psnr, table, name) for name in pair)]
    if pairs:
        parts.append(f"### Pairs\n\n{_pairs(table, psnr, pairs)}")
    times = _times(table, results)
    if times:
        parts.append(f"### Time to the baseline's PSNR\n\n{TIMES_NOTE}\n\n{times}")
    rising = _last_quarters(table, results)
    if rising:
        parts.append(f"### Gain of the last quarter of the training\n\n{LAST_QUARTER_NOTE}\n\n{rising}")
    costs = _costs(table, results)
    if costs:
        parts.append(f"### CPU time\n\n{costs}")
    return "\n\n".join(parts)


def as_json(table: Table, results: Results) -> dict[str, Any]:
    """The same figures for programs: ``methods[name][set]`` and ``pairs``."""
    psnr = PsnrTable(results.images)
    methods: dict[str, Any] = {}
    for name in [BICUBIC, TEACHER, *table.methods]:
        for test_set in table.sets:
            if psnr.seeds(name, test_set):
                methods.setdefault(name, {})[test_set] = {
                    "mean": psnr.mean(name, test_set),
                    "seeds": dict(zip(psnr.seeds(name, test_set), psnr.means(name, test_set))),
                    "difference": _json_of(_difference(table, psnr, name, test_set)),
                }
    pairs = [
        {"method": a, "against": b, "set": s, "difference": _json_of(psnr.difference(a, b, s))}
        for a, b in table.pairs
        for s in table.sets
    ]
    times = {time.method: asdict(time) for time in times_to_quality(table, results)}
    rising = {name: asdict(gain) for name, gain in last_quarters(table, results).items()}
    return {"table": table.name, "methods": methods, "pairs": pairs, "time_to_quality": times, "last_quarter": rising}


def _measured(psnr: PsnrTable, table: Table, name: str) -> bool:
    return any(psnr.seeds(name, test_set) for test_set in table.sets)


def _group(table: Table, results: Results, psnr: PsnrTable, rows: Sequence[str], sets: Sequence[str]) -> str:
    parameters = {run.method: run.parameters for run in results.runs}
    lines = []
    for name in [row for row in (BICUBIC, TEACHER) if _measured(psnr, table, row)] + list(rows):
        seeds = len(psnr.seeds(name, sets[0]))
        count = f"{parameters[name]:,d}" if name in parameters else ""
        cells = [_cell(psnr, name, s, _difference(table, psnr, name, s)) for s in sets]
        lines.append([_label(table, name), seeds if count else "", count, *cells])
    return md.table(["", "seeds", "parameters", *sets], lines)


def _label(table: Table, name: str) -> str:
    """What a row is called, and what it is compared with, where that is not the table's baseline."""
    label, other = md.escaped(table.label_of(name)), table.other_baseline_of(name)
    return md.Markdown(label if other is None else f"{label}<br>over: {md.escaped(table.label_of(other))}")


def _difference(table: Table, psnr: PsnrTable, name: str, test_set: str) -> Optional[Difference]:
    if name not in table.methods or table.baseline_of(name) == name:
        return None
    return psnr.difference(name, table.baseline_of(name), test_set)


def _cell(psnr: PsnrTable, name: str, test_set: str, difference: Optional[Difference]) -> str:
    if not psnr.seeds(name, test_set):
        return ""
    spread = psnr.spread(name, test_set)
    text = f"{psnr.mean(name, test_set):.3f}" + (f" ({spread:.3f})" if spread is not None else "")
    return text if difference is None else md.Markdown(f"{text}<br>{_describe(difference)}")


def _describe(difference: Difference) -> str:
    seeds, images = difference.over_seeds, difference.over_images
    text = f"{seeds.mean:+.3f} ({_half(seeds)} | {_half(images)})"
    return md.Markdown(f"**{text}**" if seeds.is_clear_of_zero and images.is_clear_of_zero else text)


def _half(interval: Interval, digits: int = 3) -> str:
    return "one" if interval.half_width is None else f"±{interval.half_width:.{digits}f}"


def _pairs(table: Table, psnr: PsnrTable, pairs: Sequence[Sequence[str]]) -> str:
    sets = list(table.sets)
    lines = []
    for a, b in pairs:
        found = [psnr.difference(a, b, s) for s in sets]
        cells = ["" if d is None else _describe(d) for d in found]
        seeds = found[0].over_seeds.count if found[0] else ""
        lines.append([f"{table.label_of(a)} − {table.label_of(b)}", seeds, *cells])  # noqa: RUF001
    return md.table(["", "seeds", *sets], lines)


def _times(table: Table, results: Results) -> str:
    lines = []
    for time in times_to_quality(table, results):
        share = "" if time.share is None else f"{'at most ' if time.at_most else ''}{_ratio(time.share)}"
        costs = ["" if cost is None else _ratio(cost) for cost in (time.cpu, time.cpu_with_cache)]
        lines.append([table.label_of(time.method), f"{time.reached} of {time.seeds}", share, *costs])
    names = ["", "seeds that get there", "iterations", "CPU seconds", "with the cache's"]
    return md.table(names, lines) if lines else ""


def _ratio(found: Interval) -> str:
    return f"{found.mean:.2f} ({_half(found, 2)})"


def _last_quarters(table: Table, results: Results) -> str:
    lines = [
        [table.label_of(name), gain.count, f"{gain.mean:+.3f} ({_half(gain)})"]
        for name, gain in last_quarters(table, results).items()
    ]
    return md.table(["", "seeds", "dB"], lines) if lines else ""


def _costs(table: Table, results: Results) -> str:
    """CPU seconds of the rows that have a ``budget``, mean over the runs in which it was measured."""
    lines = []
    for name, method in table.methods.items():
        runs = [run for run in results.runs if run.method == name and run.cpu_seconds > 0]
        if method.budget is not None and runs:
            training, cache = (fmean(getattr(run, key) for run in runs) for key in ("cpu_seconds", "cache_cpu_seconds"))
            cells = [table.label_of(name), len(runs), f"{runs[0].iterations:,}", f"{training:.0f}", f"{cache:.0f}"]
            lines.append([*cells, f"{training + cache:.0f}"])
    names = ["", "seeds", "iterations", "training, CPU seconds", "making the cache", "together"]
    return md.table(names, lines) if lines else ""


def _json_of(difference: Optional[Difference]) -> Optional[dict[str, Any]]:
    return None if difference is None else asdict(difference)
