"""Building what a section of the options describes, with a failure as an error of that section."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any, Callable, TypeVar

from srkd_plugin.errors import OptionsError

Built = TypeVar("Built")


def build_section(build: Callable[[dict[str, Any]], Built], key: str, section: Mapping[str, Any]) -> Built:
    """Call BasicSR's builder, e.g. ``build_network``, on a copy of a section.

    Args:
        build: The builder, which may change what it is given.
        key: Path of the section, for the error.
        section: ``type``, a registered name, and the arguments; stays as it is.

    Raises:
        OptionsError: It cannot be built from these arguments.
    """
    try:
        return build(copy.deepcopy(dict(section)))
    except OptionsError:
        raise
    except Exception as error:  # whatever the class makes of its arguments
        problem = f"it cannot be built ({first_line(error)})"
        raise OptionsError(key, dict(section), problem, "Correct its arguments.") from error


def first_line(error: BaseException) -> str:
    """The first line of an exception's text, or its class where it has none.

    Example:
        >>> first_line(ValueError("a\\nb")), first_line(ValueError())
        ('a', 'ValueError')
    """
    return (str(error).splitlines() or [type(error).__name__])[0]
