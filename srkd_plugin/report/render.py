"""Makes one HTML file of templates: styles, script and pictures are inside, and everything from outside is escaped."""

from __future__ import annotations

import base64
import hashlib
import math
from collections.abc import Mapping
from functools import partial
from importlib.resources import files
from pathlib import Path
from typing import Any, Optional

from srkd_plugin import __version__
from srkd_plugin.utils.extras import require
from srkd_plugin.utils.files import require_writable, write_atomically

EXTRA = "report"
LARGEST = 5_000_000
"""Bytes that a page stays below; the crops of images take what the rest leaves."""

REST = 50_000
"""Bytes that are kept free of pictures for what the page says about them."""


def require_page(file: Path) -> None:
    """Refuse a page that could not be written, before a command does any work.

    Args:
        file: The page.

    Raises:
        InputError: jinja2 is not installed, or no file can be written there.
    """
    require("jinja2", EXTRA, "an HTML page")
    require_writable("--html", file)


def write_page(template: str, content: Mapping[str, Any], file: Path) -> int:
    """Render a page and write it.

    Args:
        template: Name of the template, e.g. ``table.html.j2``.
        content: What it shows.
        file: The page; parent folders are made.

    Returns:
        Its size in bytes.

    Raises:
        InputError: jinja2 is not installed, or the file cannot be written.
    """
    page = render(template, content).encode(errors="replace")  # names of files that are no text
    write_atomically(file, page)
    return len(page)


def beyond_bound(size: int) -> str:
    """What is said of a page that is larger than :data:`LARGEST`: then it has no crops. Empty for others.

    Args:
        size: Its size in bytes.
    """
    if size <= LARGEST:
        return ""
    return (
        f"The tables and lists of the page take {size / 1e6:.1f} MB, more than the {LARGEST / 1e6:.0f} MB of a page "
        "with crops, so that it has none."
    )


def written_page(file: Path, size: int) -> str:
    """What a command prints of a page that it has written, of ``size`` bytes."""
    return f"page: {file} {beyond_bound(size)}".rstrip()


def render(template: str, content: Mapping[str, Any]) -> str:
    """The HTML of a page.

    Nothing but the script of the templates may run in it, and nothing may be loaded: by its Content-Security-Policy.

    Args:
        template: Name of the template.
        content: What it shows.

    Raises:
        InputError: jinja2 is not installed.
    """
    jinja2 = require("jinja2", EXTRA, "an HTML page")
    environment = jinja2.Environment(
        loader=jinja2.FunctionLoader(_template),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.policies["json.dumps_kwargs"] = {}  # the order of the sets is the table's, and not the alphabet's
    environment.filters.update(db=decibels, gain=partial(decibels, sign=True), half=half, count=count)
    script = _template("page.js")
    safe = environment.get_template(template).render(
        **content,
        version=__version__,
        style=_markup(environment.from_string(_template("page.css")).render()),
        script=_markup(script),
        script_hash=base64.b64encode(hashlib.sha256(script.encode()).digest()).decode(),
    )
    return str(safe)


def _markup(text: str) -> Any:
    return require("markupsafe", EXTRA, "an HTML page").Markup(text)


def _template(name: str) -> str:
    return (files(__package__) / "templates" / name).read_text("utf-8")


def decibels(value: Optional[float], digits: int = 3, sign: bool = False) -> str:
    """A number of dB as text, with a true minus; empty for None.

    Example:
        >>> decibels(-0.05, sign=True)
        '−0.050'
    """
    if value is None:
        return ""
    text = f"{value:+.{digits}f}" if sign else f"{value:.{digits}f}"
    return text.replace("-", "\u2212") if math.isfinite(value) else str(value)


def half(value: Optional[float], digits: int = 3) -> str:
    """Half of an interval's width as text; ``one`` where there is a single value, and hence no interval."""
    return "one" if value is None else f"±{value:.{digits}f}"


def count(value: int) -> str:
    """A whole number with commas."""
    return f"{value:,d}"
