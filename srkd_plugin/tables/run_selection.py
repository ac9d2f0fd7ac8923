"""A part of a table's runs: those of some rows and seeds, with all that they come after."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Optional

from srkd_plugin.errors import InputError
from srkd_plugin.tables.plan import Run
from srkd_plugin.tables.table_sections import TEACHER


def select(runs: Sequence[Run], methods: Optional[Sequence[str]], seeds: Optional[Sequence[int]]) -> list[Run]:
    """The runs of some methods and seeds, with the teacher's and all that they come after.

    Raises:
        InputError: None of the runs is of such a method or seed.
    """
    for option, wanted, known in (
        ("--methods", methods, {r.method for r in runs}),
        ("--seeds", seeds, {r.seed for r in runs}),
    ):
        for one in wanted or []:
            if one not in known:
                raise InputError(option, one, "the table has none", f"It has: {', '.join(map(str, sorted(known)))}.")
    named = {
        run.name: run
        for run in runs
        if run.method == TEACHER or ((not methods or run.method in methods) and (not seeds or run.seed in seeds))
    }
    by_name, open_names = {run.name: run for run in runs}, list(named)
    for name in open_names:  # which grows
        open_names += [other for other in by_name[name].after if other not in open_names]
    return [run for run in runs if run.name in open_names]
