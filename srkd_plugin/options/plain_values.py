"""Whether what was read from YAML is what an options file holds: a tree of a sensible size with names as keys."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from srkd_plugin.errors import OptionsError

MOST_VALUES = 100_000
"""Values of a file, each alias counted as what it stands for. The longest files that are shipped have 200."""
DEEPEST = 50
LARGEST = 2**63


def require_plain(content: Mapping[str, Any]) -> None:
    """Refuse a section within itself, aliases of aliases without end, keys that are no names, and absurd integers.

    Args:
        content: An options file or a table's file, as YAML makes it.

    Raises:
        OptionsError: There is one; its key says where.
    """
    _size("", content, {}, ())


def _size(key: str, value: Any, known: dict[int, int], above: tuple[int, ...]) -> int:
    """How many values there are in a value; those of an alias that was counted are taken from ``known``."""
    if isinstance(value, int) and abs(value) >= LARGEST:
        raise OptionsError(key, "...", "it is an integer of more than 64 bits", "Write a smaller number.")
    if not isinstance(value, (Mapping, list, tuple, set)):
        return 1
    if id(value) in above:
        raise OptionsError(key, "...", "it is an alias of what it is in", "Write the values themselves.")
    if len(above) > DEEPEST:
        raise OptionsError(key, "...", f"it is more than {DEEPEST} sections deep", "Take sections away.")
    if id(value) not in known:
        items = value.items() if isinstance(value, Mapping) else enumerate(value)
        total = 1
        for name, inner in items:
            if isinstance(value, Mapping) and not isinstance(name, str):
                problem = "its key is no text"
                raise OptionsError(f"{key}.{name}" if key else str(name), inner, problem, "Write a name, or quote it.")
            total += _size(f"{key}.{name}" if key else str(name), inner, known, (*above, id(value)))
        known[id(value)] = total
    if known[id(value)] > MOST_VALUES:
        problem = f"its aliases stand for more than {MOST_VALUES:,} values"
        raise OptionsError(key or "file", "...", problem, "Write the values themselves.")
    return known[id(value)]
