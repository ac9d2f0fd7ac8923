"""Names of the keys of an options file by section, ours and BasicSR's, and what an unknown name may be meant for.

The names are those of the models' fields, and of the models' sections; they stand nowhere else.
"""

from __future__ import annotations

import difflib
from collections.abc import Collection, Iterator, Mapping
from typing import Any

from srkd_plugin.errors import OptionsError, nearest
from srkd_plugin.options.sections import SECTIONS
from srkd_plugin.options.stock_sections import STOCK_SECTIONS

NEAR_OURS = 0.6
"""Likeness from which an unknown key is a misspelt one of ours."""
NEARLY_THE_SAME = 0.8
"""Likeness from which an unknown key may be a misspelt one where others' keys are to be expected, too."""


def stock_keys(section: str) -> tuple[str, ...]:
    """Names of BasicSR's keys in a section, as far as they are known here.

    Args:
        section: Path of the section as in :data:`~srkd_plugin.options.stock_sections.STOCK_SECTIONS`; empty for the
            top level.
    """
    return tuple(name for path, model in STOCK_SECTIONS if path == section for name in model.model_fields)


def own_keys(section: str) -> tuple[str, ...]:
    """Names of our keys in a section: fields of its models, and subsections that BasicSR does not have.

    Args:
        section: Path of the section as in :data:`~srkd_plugin.options.sections.SECTIONS`; empty for the top level.
    """
    names: dict[str, None] = {}
    below = f"{section}." if section else ""
    for path, model in SECTIONS:
        if path == section:
            names.update(dict.fromkeys(model.model_fields))
        elif path.startswith(below):
            names[path[len(below) :].split(".")[0]] = None
    theirs = stock_keys(section)
    return tuple(name for name in names if name not in theirs)


def refuse_near_ours(section: str, values: Mapping[str, Any], ours: Collection[str]) -> None:
    """Refuse a key that is nobody's and looks like one of ours; others are BasicSR's or a fork's business.

    Args:
        section: Path of the section.
        values: Its content.
        ours: Our keys that may be in it.

    Raises:
        OptionsError: There is one.
    """
    for name, value in _unknown(section, values):
        near_theirs = _likeness(name, stock_keys(section))
        near_ours = _likeness(name, ours)
        if near_ours >= NEAR_OURS and not NEARLY_THE_SAME <= near_theirs > near_ours:
            where = f"{section}.{name}" if section else str(name)
            raise OptionsError(where, value, "unknown key", nearest(name, ours, least=NEAR_OURS))


def near_misses(section: str, key: str, values: Mapping[str, Any]) -> list[str]:
    """Warnings of keys that nobody has and that look very much like a known one: a typo, or a key of a fork's.

    Args:
        section: Path of the section as in the models.
        key: Path of the section in the file.
        values: Its content.
    """
    known = (*own_keys(section), *stock_keys(section))
    return [near_miss(key, name, value, known) for name, value in _unknown(section, values) if is_near(name, known)]


def is_near(name: Any, known: Collection[str]) -> bool:
    """Whether a name is nearly that of a known key."""
    return _likeness(name, known) >= NEARLY_THE_SAME


def near_miss(key: str, name: Any, value: Any, known: Collection[str]) -> str:
    """One line about a key that is left to BasicSR, with the known key that it looks like."""
    where = f"{key}.{name}" if key else str(name)
    return str(OptionsError(where, value, "unknown key, which is left to BasicSR", nearest(name, known)))


def _unknown(section: str, values: Mapping[str, Any]) -> Iterator[tuple[Any, Any]]:
    known = {*own_keys(section), *stock_keys(section)}
    return ((name, value) for name, value in values.items() if name not in known)


def _likeness(name: Any, known: Collection[str]) -> float:
    return max((difflib.SequenceMatcher(None, str(name).lower(), word.lower()).ratio() for word in known), default=0.0)
