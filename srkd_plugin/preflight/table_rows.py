"""The rows of a table, checked as ``srkd check`` checks an options file, before any of them is started.

What the table itself makes does not exist before: weights of the teacher or of other rows, and teacher caches. Where
they are not there yet, a row is checked without them.
"""

from __future__ import annotations

import copy
import os
from collections.abc import Collection, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Callable

from srkd_plugin.errors import MISSING, InputError, OptionsError
from srkd_plugin.options import reader
from srkd_plugin.preflight import run_checks
from srkd_plugin.preflight.output_names import check_output_names
from srkd_plugin.preflight.runs_of_others import unread_sections
from srkd_plugin.preflight.stock_runs import check_model_type, check_stock_run
from srkd_plugin.preflight.testing import check_test
from srkd_plugin.tables.plan import Run, weights_of
from srkd_plugin.tables.table_sections import TEACHER

Parse = Callable[[Mapping[str, Any]], dict[str, Any]]
"""Options as BasicSR's ``parse_options`` returns them, from those of a file; a section ``train`` makes them a
training's."""


def check_rows(runs: Sequence[Run], to_test: Sequence[Run], root: Path, parse: Parse) -> list[str]:
    """Check each row once, whatever the number of its seeds: they differ in name and seed only.

    Args:
        runs: What will be trained and tested.
        to_test: What will be tested alone.
        root: The working directory of the runs, which is that of this process.
        parse: Parses options.

    Returns:
        Warnings, each once and with the first row that has it.

    Raises:
        InputError: The first thing that is wrong; names the row and the key, or the set.
    """
    made = {weights_of(run.train)[0] for run in runs if run.train is not None}
    warnings: dict[str, str] = {}
    tested: list[dict[str, Any]] = []
    for run in _one_of_each_row([*runs, *to_test]):
        row = TEACHER if run.method == TEACHER else f"methods.{run.method}"
        try:
            lines = _training_warnings(run, made, root, parse) if run.train is not None and run in runs else []
            test = without_what_is_made(run.test, made, root)
            test["name"] = ""  # of which there are no two
            if test not in tested:
                tested.append(test)
                lines += _test_warnings({**test, "name": run.test["name"]}, parse)
        except OptionsError as error:
            raise InputError(_where(row, run, error.key), error.value, error.problem, error.remedy) from error
        for line in lines:
            warnings.setdefault(line, f"{row}: {line}")
    return list(warnings.values())


def _one_of_each_row(runs: Sequence[Run]) -> Iterator[Run]:
    seen = set()
    for run in runs:
        if run.method not in seen:
            seen.add(run.method)
            yield run


def _training_warnings(run: Run, made: Collection[str], root: Path, parse: Parse) -> list[str]:
    """Check a training as ``srkd check`` does."""
    assert run.train is not None
    options = without_what_is_made(run.train, made, root)
    opt = parse(options)
    ours = reader.is_ours(opt)
    unread = None if ours else unread_sections(opt)
    check_model_type(opt.get("model_type", MISSING))
    if ours:
        has_caches = all(os.path.exists(root / cache) for cache in run.caches)
        path = run.train.get("path")
        start = path.get("pretrain_network_g") if isinstance(path, dict) else None
        has_weights = not _is_yet_to_be_made(start, made, root)
        warnings = run_checks.check(opt, has_caches, has_weights).warnings
    else:
        warnings = check_stock_run(opt).warnings
        check_output_names(opt)
    return [*warnings, *([unread] if unread else [])]


def _test_warnings(options: Mapping[str, Any], parse: Parse) -> list[str]:
    opt = parse(options)
    check_model_type(opt.get("model_type", MISSING))
    return check_test(opt, reader.is_ours(opt))[1]


def without_what_is_made(options: Mapping[str, Any], made: Collection[str], root: Path) -> dict[str, Any]:
    """Copy options without weights that are made by the table and not there yet; such a network is a random one.

    Args:
        options: Of a training or a test.
        made: Files of weights that the table's runs leave, below the root.
        root: The working directory of the runs.
    """
    bare = copy.deepcopy(dict(options))
    path: Any = bare.get("path")
    teacher = bare.get("teacher") or {}
    for key in ("pretrain_network_g", "pretrain_network_t") if isinstance(path, dict) else ():
        if _is_yet_to_be_made(path.get(key), made, root):
            path[key] = None
            if key == "pretrain_network_t" and isinstance(teacher, dict):
                bare["teacher"] = {**teacher, "random_init": True}
    listed = bare.get("teachers")
    for one in listed.values() if isinstance(listed, dict) else ():
        if isinstance(one, dict) and _is_yet_to_be_made(one.get("pretrain_network_t"), made, root):
            one.update(pretrain_network_t=None, random_init=True)
    student: Any = bare.get("student")
    cut_from = student.get("cut_from") if isinstance(student, dict) else None
    if isinstance(cut_from, dict) and _is_yet_to_be_made(cut_from.get("pretrain_network_g"), made, root):
        cut_from.update(pretrain_network_g=None, random_init=True)
    return bare


def _is_yet_to_be_made(file: Any, made: Collection[str], root: Path) -> bool:
    return isinstance(file, str) and file in made and not os.path.exists(root / file)


def _where(row: str, run: Run, key: str) -> str:
    """Where in the table's file a key is: its ``sets`` are the data sets of its tests, all else is a row's."""
    phase, _, rest = key.partition("datasets.")[2].partition(".")
    test_set = run.test["datasets"].get(phase)
    return f"{row}: {key}" if test_set is None else f"sets.{test_set['name']}" + (f".{rest}" if rest else "")
