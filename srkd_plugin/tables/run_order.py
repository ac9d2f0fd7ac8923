"""Which runs of a table come after which: those that start from, or learn from, what others leave."""

from __future__ import annotations

import graphlib
from collections.abc import Collection, Iterator, Mapping
from typing import Any

from srkd_plugin.errors import InputError


def reads_of(options: Any, names: Collection[str]) -> Iterator[str]:
    """The runs whose files a run's options name.

    Args:
        options: Options, or a value in them.
        names: Names of runs.
    """
    if isinstance(options, str):
        folder, _, rest = options.partition("/")
        name, _, file = rest.partition("/")
        if folder == "experiments" and file and name in names:
            yield name
    elif isinstance(options, (Mapping, list)):
        for value in options.values() if isinstance(options, Mapping) else options:
            yield from reads_of(value, names)


def stages(after: Mapping[str, Collection[str]]) -> dict[str, int]:
    """How many runs must have ended one after another before each: 0 for those that wait for none.

    Args:
        after: Names of the runs that each run comes after.

    Raises:
        InputError: Some wait for each other.
    """
    try:
        order = list(graphlib.TopologicalSorter(after).static_order())
    except graphlib.CycleError as error:
        waiting = " -> ".join(reversed(error.args[1]))
        raise InputError("methods", waiting, "these runs wait for each other's weights", "Break the circle.") from error
    found: dict[str, int] = {}
    for name in order:
        found[name] = max((found[other] + 1 for other in after.get(name, ())), default=0)
    return found
