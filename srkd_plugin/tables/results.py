"""Results of finished runs: PSNR image by image, and during training; and the files that keep them."""

from __future__ import annotations

import csv
import dataclasses
import io
import math
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any, Callable, Union, get_type_hints

from srkd_plugin.errors import InputError
from srkd_plugin.tables.plan import Run
from srkd_plugin.tables.table_sections import BICUBIC, TEACHER, Table
from srkd_plugin.tables.train_log import CPU, WALL, of_this_training, read_curve, seconds
from srkd_plugin.utils.files import read_json, write_atomically

DIGITS = 4
"""Decimals of PSNR in the stored files; BasicSR's log has as many."""
AGREE = 1e-3
"""dB by which results of the same weights may differ from machine to machine: a few pixels are rounded otherwise."""


@dataclass(frozen=True)
class ImageResult:
    """PSNR of one image: Y channel, ``scale`` pixels cropped, in dB."""

    method: str
    seed: int
    set: str
    image: str
    psnr: float


@dataclass(frozen=True)
class CurvePoint:
    """PSNR of a validation during training, in dB."""

    method: str
    seed: int
    iteration: int
    psnr: float


@dataclass(frozen=True)
class RunResult:
    """One run: what it trained and for how long."""

    method: str
    seed: int
    parameters: int
    iterations: int
    seconds: float
    """Wall time in seconds of all its training commands together, from the one on that began at iteration 0; 0 where
    the teacher's weights were given."""
    cpu_seconds: float = 0.0
    """CPU time in seconds of all threads and workers of the same commands; 0 where it was not measured."""
    cache_cpu_seconds: float = 0.0
    """CPU time in seconds of making the teacher cache that it reads, and may share; 0 where there is none."""


@dataclass(frozen=True)
class Results:
    """Everything that a report is made of."""

    images: Sequence[ImageResult]
    curves: Sequence[CurvePoint]
    runs: Sequence[RunResult]


RowType = Union[type[ImageResult], type[CurvePoint], type[RunResult]]
FILES: dict[str, RowType] = {"images": ImageResult, "curves": CurvePoint, "runs": RunResult}
KEYS = {
    "images": ("method", "seed", "set", "image"),
    "curves": ("method", "seed", "iteration"),
    "runs": ("method", "seed"),
}
"""What names a row of a file."""
MEASURED = {"images": "psnr", "curves": "psnr", "runs": "iterations"}
"""What is the same wherever such a row was made."""


def measure(run: Run, root: Path, train_log: Path, test_log: Path, cache_logs: Sequence[Path] = ()) -> dict[str, Any]:
    """Measure the SR images that a run's test wrote.

    Args:
        run: The run.
        root: The working directory of its commands.
        train_log: What its training printed; need not exist where the weights were given.
        test_log: What its test printed.
        cache_logs: What making its teacher caches printed, each of those that the table made.

    Returns:
        ``psnr[set][image]`` of the run and of bicubic interpolation, ``curve``, and the keys of :class:`RunResult`
        from ``parameters`` on; JSON.

    Raises:
        InputError: The images are not those that BasicSR's own figure in the log is of.
    """
    from srkd_plugin.evaluate.compare_images import compare

    trained = of_this_training(train_log.read_text("utf-8", errors="replace")) if run.train is not None else ""
    tested = test_log.read_text("utf-8", errors="replace")
    psnr: dict[str, dict[str, dict[str, float]]] = {"run": {}, BICUBIC: {}}
    for section in run.test["datasets"].values():
        name = section["name"]
        images = root / "results" / run.test["name"] / "visualization" / name
        hr, lq = root / section["dataroot_gt"], root / section["dataroot_lq"]
        found = compare(hr, lq, {"run": images}, run.scale).psnr
        for system in psnr:
            psnr[system][name] = {image: round(value, DIGITS) for image, value in found[system].items()}
        _check_against_log(run, name, psnr["run"][name], tested)
    return {
        "psnr": psnr,
        "curve": read_curve(trained, run.train),
        "parameters": int(re.findall(r"with parameters: ([\d,]+)", tested)[-1].replace(",", "")),
        "iterations": run.train["train"]["total_iter"] if run.train else 0,
        "seconds": seconds(trained, WALL),
        "cpu_seconds": seconds(trained, CPU),
        "cache_cpu_seconds": sum(seconds(_text(log), CPU) for log in cache_logs),
    }


def _text(log: Path) -> str:
    return log.read_text("utf-8", errors="replace") if log.exists() else ""


def _check_against_log(run: Run, name: str, psnr: Mapping[str, float], log: str) -> None:
    """Check that our mean is that of BasicSR's log, which has measured the same images."""
    said = re.findall(rf"Validation {re.escape(name)}\s+# psnr: ([\d.]+)", log)
    mean = sum(psnr.values()) / len(psnr)
    if not said or abs(float(said[-1]) - mean) > 2e-4:
        problem = f"BasicSR logged {said[-1] if said else 'no'} dB of {name}, and its images have {mean:.4f} dB"
        raise InputError("run", run.name, problem, f"Remove results/{run.test['name']} and run the table again.")


def collect(runs: Iterable[Run], records: Mapping[str, Mapping[str, Any]]) -> Results:
    """The results of those runs that have a record (by run name)."""
    images: list[ImageResult] = []
    curves, summary = [], []
    for run in runs:
        record = records.get(run.name)
        if record is None:
            continue
        if not images:
            images += _image_results(BICUBIC, 0, record["psnr"][BICUBIC])
        images += _image_results(run.method, run.seed, record["psnr"]["run"])
        curves += [CurvePoint(run.method, run.seed, iteration, psnr) for iteration, psnr in record["curve"]]
        keys = _columns(RunResult)[2:]
        about = {key: record[key] for key in keys if key in record}  # records of earlier versions have fewer
        summary.append(RunResult(run.method, run.seed, **about))
    return Results(images, curves, summary)


def of_finished(runs: Iterable[Run], record_file: Callable[[Run], Path]) -> tuple[list[Run], Results]:
    """Those of the runs that have a record, and what they have measured.

    Args:
        runs: The runs of a table.
        record_file: Where the record of a run is.

    Raises:
        InputError: A record cannot be read.
    """
    finished = [run for run in runs if record_file(run).exists()]
    records = {run.name: read_json(record_file(run)) for run in finished}
    for run in finished:
        _require_record(run, records[run.name], record_file(run))
    return finished, collect(finished, records)


def _require_record(run: Run, record: Any, file: Path) -> None:
    """Refuse what is JSON, and not what a run has measured."""
    try:
        found = collect([run], {run.name: record or {}})
        values = [*(one.psnr for one in found.images), *(point.psnr for point in found.curves)]
        if not all(isinstance(value, (int, float)) and math.isfinite(value) for value in values):
            raise ValueError("a PSNR in it is no measured value")
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        problem = f"it cannot be read as the record of a run ({type(error).__name__}: {error})"
        raise InputError("record", str(file), problem, "Remove it and run the table again.") from error


def _image_results(method: str, seed: int, psnr: Mapping[str, Mapping[str, float]]) -> list[ImageResult]:
    return [ImageResult(method, seed, name, i, value) for name, found in psnr.items() for i, value in found.items()]


def _columns(row: RowType) -> list[str]:
    return [column.name for column in fields(row)]


def save(results: Results, folder: Path) -> None:
    """Write ``images.csv``, ``curves.csv`` and ``runs.csv``."""
    for name, row in FILES.items():
        columns = _columns(row)
        text = io.StringIO()
        lines = csv.writer(text, lineterminator="\n")
        lines.writerow(columns)
        lines.writerows([getattr(one, column) for column in columns] for one in getattr(results, name))
        write_atomically(folder / f"{name}.csv", text.getvalue().encode())


def load(folder: Path) -> Results:
    """Read what :func:`save` wrote.

    Raises:
        InputError: A file is not there, or not such a file, or there is no result in it.
    """
    found = {name: _rows(folder / f"{name}.csv", name, row) for name, row in FILES.items()}
    if not found["images"]:
        file = str(folder / "images.csv")
        raise InputError("results", file, "it holds no results", "Give the folder that srkd table wrote.")
    return Results(**found)


def _rows(file: Path, name: str, row: RowType) -> list[Any]:
    types = get_type_hints(row)
    required = {column.name for column in fields(row) if column.default is dataclasses.MISSING}
    try:
        with open(file, newline="", encoding="utf-8") as lines:
            content = csv.DictReader(lines, strict=True)
            missing = required - set(content.fieldnames or ())
            if missing:
                raise ValueError(f"there is no column {', '.join(sorted(missing))}")
            return [row(**{key: _value(types[key], text) for key, text in one.items()}) for one in content]
    except (OSError, TypeError, ValueError, KeyError, csv.Error) as error:
        problem = f"it cannot be read as the table's {name} ({error})"
        raise InputError("results", str(file), problem, "Give the folder that srkd table wrote.") from error


def _value(kind: Any, text: Any) -> Any:
    """One cell as its column's type; None stands for a cell that a short row does not have."""
    if not isinstance(text, str):
        raise ValueError("a row has fewer or more cells than the others")
    value = kind(text)
    if isinstance(value, float) and not math.isfinite(value):
        raise ValueError(f"{text} is no measured value")
    return value


def merged(parts: Mapping[str, Results], table: Table) -> Results:
    """The results of runs of one table that were made in several places, in the order of the table.

    The teacher has the seed of the table, also if a part has it under another one.

    Args:
        parts: Results by what they are called in an error. Times of a run that several have: those of the first.
        table: The table.

    Raises:
        InputError: They have no result of the table's methods; or a run that two of them have, the teacher above all,
            is not the same in both.
    """
    if not {image.method for results in parts.values() for image in results.images} & set(table.methods):
        problem = f"none of the methods of table {table.name} has results there"
        raise InputError("--results", ", ".join(parts), problem, "Give the folder of this table's results.")
    return Results(**{name: _merged_rows(parts, name, table) for name in FILES})


def _merged_rows(parts: Mapping[str, Results], name: str, table: Table) -> list[Any]:
    found: dict[tuple, tuple[str, Any]] = {}
    measured = MEASURED[name]
    for part, results in parts.items():
        for row in getattr(results, name):
            if row.method == TEACHER:  # there is one, which a part can have trained and another have taken as weights
                row = replace(row, seed=table.teacher.seed)
            key = tuple(getattr(row, column) for column in KEYS[name])
            where, first = found.setdefault(key, (part, row))
            values = getattr(first, measured), getattr(row, measured)
            if row.method == TEACHER and name == "runs" and 0 in values:
                found[key] = max((where, first), (part, row), key=lambda one: one[1].iterations)
            elif abs(values[0] - values[1]) > AGREE:
                problem = f"{measured} of {' '.join(map(str, key))} is {values[0]} in {where} and {values[1]} in {part}"
                raise InputError("--results", part, problem, "Merge runs of the same teacher and options only.")
    order = {method: i for i, method in enumerate((BICUBIC, TEACHER, *table.methods))}

    def place(row: Any) -> tuple[bool, int, int]:
        return row.method not in (BICUBIC, TEACHER), row.seed, order.get(row.method, len(order))

    return sorted((row for _, row in found.values()), key=place)
