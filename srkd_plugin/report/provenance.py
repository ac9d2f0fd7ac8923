"""How the figures of a table's page came about: options, versions, hashes, seeds, and commands to repeat them."""

from __future__ import annotations

import platform
import re
import shlex
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, Optional

import yaml

from srkd_plugin import __version__
from srkd_plugin.report.source import Source
from srkd_plugin.tables.options_files import OptionsFiles
from srkd_plugin.tables.plan import Run
from srkd_plugin.tables.results import FILES
from srkd_plugin.tables.table_sections import TEACHER
from srkd_plugin.utils.files import sha256_of_file

PACKAGES = ("torch", "torchvision", "basicsr", "numpy", "opencv-python", "pillow")
ABSENT = "(not there)"
NAMES = ("name", "manual_seed")
"""Keys of a run that are another for each run."""


@dataclass(frozen=True)
class Change:
    """A key that a row has otherwise than its baseline."""

    key: str
    base: str
    value: str


@dataclass(frozen=True)
class RowOrigin:
    """Where a row comes from.

    Attributes:
        file: The options file that it starts from; empty for weights that were given.
        against: Label of the row that ``changes`` are against; empty for a row without one.
        options: All of its training options as YAML, with the first seed.
        command: What runs this row alone.
    """

    method: str
    label: str
    file: str
    seeds: str
    against: str
    changes: list[Change]
    options: str
    command: str


def row_origins(source: Source, runs: list[Run]) -> list[RowOrigin]:
    """The teacher and all rows, in the order of the table."""
    table = source.table
    first: dict[str, Run] = {}
    for run in runs:
        first.setdefault(run.method, run)
    found = []
    for method, run in sorted(first.items(), key=lambda one: [TEACHER, *table.methods].index(one[0])):
        base = None if method == TEACHER else first[table.baseline_of(method)]
        is_base = base is None or base is run
        seeds = [table.teacher.seed] if method == TEACHER else table.seeds_of(method)
        only = "" if method == TEACHER else f" --methods {shlex.quote(method)}"
        found.append(
            RowOrigin(
                method,
                table.label_of(method),
                (table.teacher.file or "") if method == TEACHER else table.methods[method].file,
                ", ".join(map(str, seeds)),
                "" if is_base else table.label_of(table.baseline_of(method)),
                [] if is_base else changes(base.train or {}, run.train or {}),  # type: ignore[union-attr]  # is_base
                yaml.safe_dump(run.train or run.test, sort_keys=False),
                f"{command(source.file)}{only}",
            )
        )
    return found


def command(file: Path) -> str:
    """What carries out a table, for a shell."""
    return f"srkd table run {shlex.quote(str(file))}"


def changes(base: Mapping[str, Any], options: Mapping[str, Any]) -> list[Change]:
    """The keys in which options differ from others; names and seeds of runs are left out.

    Args:
        base: Options of a training.
        options: Those that are compared with them.

    Example:
        >>> changes({"scale": 2, "val": {"x": 1}}, {"scale": 2, "val": {"x": 3, "y": None}})
        [Change(key='val.x', base='1', value='3'), Change(key='val.y', base='(not there)', value='null')]
    """
    ours, theirs = _flat(options), _flat(base)
    keys = [key for key in dict.fromkeys([*theirs, *ours]) if key not in NAMES and ours.get(key) != theirs.get(key)]
    return [Change(key, theirs.get(key, ABSENT), ours.get(key, ABSENT)) for key in keys]


def _flat(options: Mapping[str, Any], before: str = "") -> dict[str, str]:
    found: dict[str, str] = {}
    for name, value in options.items():
        if isinstance(value, Mapping) and value:
            found.update(_flat(value, f"{before}{name}."))
        else:
            text = yaml.safe_dump(value, default_flow_style=True, width=10_000).removesuffix("\n...\n")
            found[f"{before}{name}"] = " ".join(text.split())
    return found


def versions() -> dict[str, str]:
    """Versions of what makes the page, by package."""
    found = {"srkd-plugin": __version__, "Python": platform.python_version()}
    for package in PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:  # BasicSR can be a checkout, OpenCV a headless package
            continue
    return found


def run_versions(log: str) -> Optional[str]:
    """The versions that BasicSR's log of a training names, those of its last start; None if it names none."""
    found = re.findall(r"^\s*(BasicSR|PyTorch|TorchVision): (\S+)$", log, re.MULTILINE)
    return ", ".join(f"{name} {value}" for name, value in dict(found).items()) or None


def hashes(source: Source) -> dict[str, str]:
    """sha256 of the table's file, of the options files that it names, and of stored results, by path."""
    table = source.table
    options = OptionsFiles(source.file)
    named = dict.fromkeys(file for file in [table.teacher.file, *(m.file for m in table.methods.values())] if file)
    files = {str(source.file): source.file, **{name: file for name in named if (file := options.find(name))}}
    files.update({str(f / f"{name}.csv"): f / f"{name}.csv" for f in source.folders for name in FILES})
    return {name: sha256_of_file(file) for name, file in files.items() if file.is_file()}


@dataclass(frozen=True)
class RunOrigin:
    """A finished run: what it took, and in the working directory what it was made with and the hash of its weights."""

    label: str
    seed: int
    parameters: int
    iterations: int
    seconds: float
    cpu_seconds: float
    versions: str
    weights: str


def run_origins(source: Source, runs: list[Run]) -> list[RunOrigin]:
    """All runs that have results."""
    by_key = {(run.method, run.seed): run for run in runs}
    found = []
    for one in source.results.runs:
        run, machine = by_key.get((one.method, one.seed)), source.machine
        made_with, weights = "", ""
        if run is not None and machine is not None:
            log = machine.log_file(run, "train")
            made_with = (run_versions(log.read_text("utf-8", errors="replace")) or "") if log.is_file() else ""
            file = machine.root / Path(run.test["path"]["pretrain_network_g"])
            weights = sha256_of_file(file) if file.is_file() else ""
        label = source.table.label_of(one.method)
        found.append(
            RunOrigin(label, one.seed, one.parameters, one.iterations, one.seconds, one.cpu_seconds, made_with, weights)
        )
    return found
