"""Checks before a distributed run of ours: an error of one rank is one of all, and all have the same options and data.

Otherwise rank 0 would archive an earlier experiment while another rank finds the error, and ranks that differ would
train something that nobody asked for, or wait for each other.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Mapping
from typing import Any, Optional

from basicsr.data import build_dataset

from srkd_plugin.errors import OptionsError
from srkd_plugin.parallel import ranks
from srkd_plugin.parallel.rank_facts import raise_first_error, refuse_differences, told_by_all
from srkd_plugin.preflight.checked_run import CheckedRun
from srkd_plugin.preflight.image_pairs import FoundPairs
from srkd_plugin.preflight.networks import root_logger_untouched

SAME_START = "Start all of them with one options file and the same flags, on the same data."
MAY_DIFFER = ("rank", "manual_seed", "num_gpu")
"""Top-level keys: stock draws a seed for each rank where the options name none, and nodes may have unlike GPUs."""


def check_on_all_ranks(check: Callable[[Mapping[str, Any]], CheckedRun], opt: Mapping[str, Any]) -> CheckedRun:
    """Check the options on every rank and compare them; in a run of one process, check them.

    Args:
        check: Reads the options too, since what one rank cannot read all ranks must be told; it raises
            :class:`OptionsError`, and runs without the other ranks.
        opt: The options as BasicSR's ``parse_options`` returns them.

    Returns:
        What ``check`` returns on this rank.

    Raises:
        OptionsError: A rank has found one, or the ranks differ in options or data; on every rank.
        TimeoutError: A rank did not come here.
    """
    checked: Optional[CheckedRun] = None
    error: Optional[OptionsError] = None
    data: dict[str, str] = {}
    try:
        with ranks.alone():
            checked = check(opt)
        if ranks.count() > 1:
            data = _describe_data(opt, checked.data)
    except OptionsError as found:
        error = found
    if ranks.count() > 1:
        by_rank = told_by_all({"options": _flat(opt), "data": data}, error, "options")
        refuse_differences("options", by_rank, SAME_START)
        raise_first_error(by_rank, error)
        refuse_differences("data", by_rank, SAME_START)
    elif error:
        raise error
    assert checked is not None  # there was no error
    return checked


def _flat(section: Mapping[str, Any], where: str = "") -> dict[str, Any]:
    """Every value by its full key."""
    values: dict[str, Any] = {}
    for key, value in section.items():
        if where or key not in MAY_DIFFER:
            is_section = isinstance(value, Mapping) and value
            values.update(_flat(value, f"{where}{key}.") if is_section else {f"{where}{key}": value})
    return values


def _describe_data(opt: Mapping[str, Any], found: Mapping[str, Optional[FoundPairs]]) -> dict[str, str]:
    """How many images each data set has, and a hash of their names in order: index i must mean one image everywhere."""
    described = {}
    for phase, section in opt["datasets"].items():
        pairs = found.get(phase)
        key = f"datasets.{phase}"
        count, paths = _build_and_list(key, section) if pairs is None else (len(pairs.images), pairs.images.pairs)
        names = json.dumps(paths, default=str).replace(os.path.expanduser("~"), "~")
        digest = hashlib.sha256(names.encode()).hexdigest()[:8]
        described[key] = f"{count} images (names in order: {digest})"
    return described


def _build_and_list(key: str, section: Mapping[str, Any]) -> tuple[int, Any]:
    """What a data set lists that is not BasicSR's PairedImageDataset: only its class knows."""
    try:
        with root_logger_untouched():
            dataset = build_dataset(dict(section))
            return len(dataset), getattr(dataset, "paths", None)
    except Exception as error:
        kind = section.get("type")
        raise OptionsError(key, kind, f"the data set fails ({error!r})", "Correct its keys or its data.") from error
