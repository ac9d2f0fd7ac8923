"""Checks of the settings that losses are given; the functions make them, and the modules as soon as they are built."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, get_args

from srkd_plugin.errors import nearest


def require_choice(name: str, value: object, choices: Any) -> None:
    """Refuse a value that is not among the known ones.

    Args:
        name: Name of the setting.
        value: What was given.
        choices: The known values, as a ``Literal``.

    Raises:
        ValueError: It is another one; the text lists the known ones, and names the nearest if one is near.
    """
    known = get_args(choices)
    if not isinstance(value, type(known[0])) or value not in known:
        words = [str(word) for word in known]
        hint = nearest(value, words, or_all=False)
        raise ValueError(f"{name} must be one of {', '.join(words)}; got {value!r}{hint and f'. {hint}'}")


def require_positive(name: str, value: Any) -> None:
    """Refuse what is not a finite number above 0.

    Raises:
        ValueError: It is none.
    """
    _require_number(name, value)
    if not value > 0:
        raise ValueError(f"{name} must be > 0; got {value}")


def require_count(name: str, value: object) -> None:
    """Refuse what is not a whole number from 1 on.

    Raises:
        ValueError: It is none.
    """
    if not isinstance(value, int) or isinstance(value, bool):
        raise ValueError(f"{name} must be a whole number; got {value!r}")
    if value < 1:
        raise ValueError(f"{name} must be >= 1; got {value}")


def require_weights(name: str, values: Sequence[float]) -> None:
    """Refuse an empty list, and weights that are not finite numbers from 0 on.

    Raises:
        ValueError: There are none, or one of them is of that kind.
    """
    if len(values) == 0:
        raise ValueError(f"{name} is empty; one weight per feature map is needed")
    for value in values:
        _require_number(name, value)
        if value < 0:
            raise ValueError(f"{name} must be >= 0; got {value}")


def _require_number(name: str, value: object) -> None:
    if not isinstance(value, (int, float)) or isinstance(value, bool) or not math.isfinite(value):
        raise ValueError(f"{name} must be a finite number; got {value!r}")
