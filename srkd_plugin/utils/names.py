"""Names of files and folders that options give: each is one plain name, so that nothing is written elsewhere."""

from __future__ import annotations

import re
from typing import Any

from srkd_plugin.errors import OptionsError

PLAIN = re.compile(r"[\w.+=@,()\[\] -]*")
LONGEST = 200
"""Bytes of a name. File systems take 255, and BasicSR adds to it, e.g. ``_archived_20260101_000000``."""


def require_plain_name(key: str, name: Any, of: str, whole: bool = True) -> None:
    """Refuse a name that is not one plain file or folder name.

    Args:
        key: Where it was given.
        name: The name: letters (of any language), digits, space and ``_.+=@,()[]-``, the first a letter, digit or
            ``_``; 1 to 200 bytes.
        of: What has this name, e.g. ``the run's folder``.
        whole: Whether the file or folder has this name; otherwise it is a part behind others, where any of these
            characters may come first.

    Raises:
        OptionsError: It is another thing.
    """
    if not isinstance(name, str):
        raise OptionsError(key, name, f"it names {of}: text is expected", "Write a name, in quotes.")
    first = re.match(r"\w", name) or not whole
    if not (name and first and PLAIN.fullmatch(name)):
        problem = f"it names {of}: one name without / or \\ and no dot first is expected"
        raise OptionsError(key, name, problem, "Use letters, digits, space and _.+=@,()[]- in it.")
    if len(name.encode()) > LONGEST:
        problem = f"it names {of}, and has {len(name.encode())} bytes"
        raise OptionsError(key, name, problem, f"Write at most {LONGEST}.")
