"""The page of a table of experiments: its figures are those of ``table.json``."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import fmean
from typing import Any, Optional

from srkd_plugin.report import image_gains, provenance
from srkd_plugin.report.crops import HR, Crop
from srkd_plugin.report.figures import Chart, DotPlot, Estimate, dot_plot, line_chart
from srkd_plugin.report.render import LARGEST, REST, beyond_bound, render, write_page
from srkd_plugin.report.setting import setting
from srkd_plugin.report.source import Source, count_wanted, missing_runs
from srkd_plugin.report.table_crops import table_crops
from srkd_plugin.tables.paired_stats import PsnrTable
from srkd_plugin.tables.report import LAST_QUARTER_NOTE, NOTE, TIMES_NOTE, as_json
from srkd_plugin.tables.results import BICUBIC
from srkd_plugin.tables.table_sections import TEACHER, Group, Table
from srkd_plugin.tables.validation_curves import mean_curves

TEMPLATE = "table.html.j2"
PANELS = 3
"""Test sets beside each other in a figure; more are in further figures, so that none is wider than page and paper."""

Json = Mapping[str, Any]


def write_table_page(source: Source, file: Path) -> int:
    """Write the page of a table.

    Args:
        source: The table and its results.
        file: The page.

    Returns:
        Its size in bytes.

    Raises:
        InputError: jinja2 is not installed, or the file cannot be written.
    """
    return write_page(TEMPLATE, page_content(source), file)


def page_content(source: Source) -> dict[str, Any]:
    """What the template of the page shows.

    Args:
        source: The table and its results.
    """
    table, results = source.table, source.results
    figures, psnr = as_json(table, results), PsnrTable(results.images)
    runs, why_no_runs = source.runs()
    systems = {name: table.label_of(name) for name in (BICUBIC, TEACHER, *table.methods) if name in figures["methods"]}
    pair = default_pair(table, figures)
    content: dict[str, Any] = {
        "table": table,
        "labels": systems,
        "setting": setting(runs),
        "note": NOTE,
        "times_note": TIMES_NOTE,
        "rising_note": LAST_QUARTER_NOTE,
        "rising": [(table.label_of(name), gain) for name, gain in figures["last_quarter"].items()],
        "figures": figures,
        "file": str(source.file),
        "command": provenance.command(source.file),
        "folders": [str(folder) for folder in source.folders],
        "missing": [(table.label_of(one.method), one.seed, one.state) for one in missing_runs(source)],
        "wanted": count_wanted(table),
        "groups": _groups(source, figures, psnr),
        "pairs": _pairs(table, figures),
        "times": _times(table, figures),
        "time_plot": _time_plot(table, figures),
        "images": image_gains.for_script(systems, results.images, list(table.sets)),
        "extremes": _extremes(source),
        "pair": pair,
        "pair_gains": image_gains.gains(*image_gains.paired_means(results.images, *pair)) if pair else {},
        "origins": provenance.row_origins(source, runs),
        "why_no_origins": why_no_runs,
        "run_origins": provenance.run_origins(source, runs),
        "versions": provenance.versions(),
        "hashes": provenance.hashes(source),
        "crops": [],
        "too_large": "",
        "why_no_crops": "",
        "crop_labels": {},
        "first_psnr": {},
    }
    size = len(render(TEMPLATE, content).encode(errors="replace"))
    content["too_large"], rest = beyond_bound(size), LARGEST - REST - size
    content["crops"], content["why_no_crops"] = table_crops(source, runs, pair, rest)
    content["crop_labels"] = crop_labels(systems, content["crops"])
    content["first_psnr"] = _first_seeds(source)
    return content


def crop_labels(systems: Mapping[str, str], crops: Sequence[Crop]) -> dict[str, str]:
    """Labels of HR and of the systems that have a picture in one of the crops, by key."""
    shown = {picture.system for crop in crops for picture in crop.pictures}
    return {key: label for key, label in {HR: HR, **systems}.items() if key in shown}


def _first_seeds(source: Source) -> dict[str, dict[str, dict[str, float]]]:
    """PSNR of each image with the first seed of each row, which is the one that the crops are of."""
    images = source.results.images
    first: dict[str, int] = {}
    for image in images:
        first[image.method] = min(image.seed, first.get(image.method, image.seed))
    return image_gains.means_by_image([image for image in images if image.seed == first[image.method]])


def default_pair(table: Table, figures: Json) -> Optional[tuple[str, str]]:
    """The two systems that the page begins with: the row that gains the most over its baseline, and that baseline.

    The first group with such a row counts, and the mean gain over the sets. Without one: the first row and bicubic.
    """
    methods = figures["methods"]
    gains: dict[str, dict[str, float]] = {}
    for name, row in table.methods.items():
        found = [one["difference"] for one in methods.get(name, {}).values() if one["difference"]]
        if found:
            gains.setdefault(row.group, {})[name] = fmean(one["over_seeds"]["mean"] for one in found)
    for by_name in gains.values():
        best = max(by_name, key=lambda name: by_name[name])
        return best, table.baseline_of(best)
    first = next((name for name in table.methods if name in methods), None)
    return (first, BICUBIC) if first and BICUBIC in methods else None


def _groups(source: Source, figures: Json, psnr: PsnrTable) -> list[dict[str, Any]]:
    table, found = source.table, []
    parameters = {run.method: run.parameters for run in source.results.runs}
    for key in dict.fromkeys(method.group for method in table.methods.values()):
        names = [name for name, m in table.methods.items() if m.group == key and name in figures["methods"]]
        if not names:
            continue
        group = table.groups.get(key, Group(title=key))
        sets = group.sets or list(table.sets)
        shown = [name for name in (BICUBIC, TEACHER) if name in figures["methods"]] + names
        rows = [
            {
                "name": name,
                "label": table.label_of(name),
                "over": None if (other := table.other_baseline_of(name)) is None else table.label_of(other),
                "seeds": 0 if name == BICUBIC else max(len(psnr.seeds(name, s)) for s in sets),
                "parameters": parameters.get(name),
                "cells": [_cell(figures, psnr, name, s) for s in sets],
            }
            for name in shown
        ]
        parts = [sets[first : first + PANELS] for first in range(0, len(sets), PANELS)]
        plots = [plot for plot in (_gain_plot(table, figures, names, part) for part in parts) if plot]
        curves = _chart(source, names)
        found.append({"key": key, "title": group.title, "sets": sets, "rows": rows, "plots": plots, "chart": curves})
    return found


def _cell(figures: Json, psnr: PsnrTable, name: str, test_set: str) -> Optional[dict[str, Any]]:
    one = figures["methods"][name].get(test_set)
    return one and {"mean": one["mean"], "spread": psnr.spread(name, test_set), "difference": one["difference"]}


def _estimate(difference: Optional[Json]) -> Optional[Estimate]:
    if difference is None:
        return None
    seeds, images = difference["over_seeds"], difference["over_images"]
    return Estimate(seeds["mean"], seeds["half_width"], images["half_width"])


def _gain_plot(table: Table, figures: Json, names: Sequence[str], sets: Sequence[str]) -> Optional[DotPlot]:
    rows = []
    for name in names:
        by_set = figures["methods"][name]
        estimates = [_estimate(by_set[s]["difference"]) if s in by_set else None for s in sets]
        if any(estimates):
            rows.append((table.label_of(name), estimates))
    return dot_plot(rows, sets) if rows else None


def _chart(source: Source, names: Sequence[str]) -> Optional[Chart]:
    """The curves of a group's rows and of their baselines, each the mean over its seeds."""
    table = source.table
    baselines = [table.baseline_of(name) for name in names]
    shown = dict.fromkeys([*baselines, *names])
    curves = mean_curves(source.results)
    return line_chart({table.label_of(name): dict(curves.get(name, ())) for name in shown})


def _pairs(table: Table, figures: Json) -> list[dict[str, Any]]:
    """The pairs of the table's file, each with its differences by set."""
    found: dict[tuple[str, str], dict[str, Any]] = {}
    for one in figures["pairs"]:
        if one["difference"] is not None:
            found.setdefault((one["method"], one["against"]), {})[one["set"]] = one["difference"]
    return [
        {
            "a": table.label_of(a),
            "b": table.label_of(b),
            "seeds": max(one["over_seeds"]["count"] for one in by_set.values()),
            "differences": by_set,
        }
        for (a, b), by_set in found.items()
    ]


def _times(table: Table, figures: Json) -> list[dict[str, Any]]:
    return [{"label": table.label_of(name), **time} for name, time in figures["time_to_quality"].items()]


def _time_plot(table: Table, figures: Json) -> Optional[DotPlot]:
    titles = {"share": "iterations", "cpu": "CPU seconds", "cpu_with_cache": "with the cache's"}
    shown = [key for key in titles if any(time[key] for time in figures["time_to_quality"].values())]
    rows = []
    for name, time in figures["time_to_quality"].items():
        found = [time[key] and Estimate(time[key]["mean"], time[key]["half_width"]) for key in shown]
        if any(found):
            rows.append((table.label_of(name), found))
    if not rows:
        return None
    return dot_plot(rows, [titles[key] for key in shown], 1.0, digits=2, unit="", collapse=False)


def _extremes(source: Source) -> list[dict[str, Any]]:
    """Best and worst image of each row against its baseline, set by set."""
    table, found = source.table, []
    for name in table.methods:
        against = table.baseline_of(name)
        if against == name:
            continue
        gains = image_gains.gains(*image_gains.paired_means(source.results.images, name, against))
        for one in image_gains.extremes({s: gains[s] for s in table.sets if s in gains}):
            found.append({"label": table.label_of(name), "against": table.label_of(against), "of": one})
    return found
