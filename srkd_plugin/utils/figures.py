"""Figures of matplotlib: text that is drawn as it is, and pictures that are written whole or not at all."""

from __future__ import annotations

import io
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from srkd_plugin.errors import InputError
from srkd_plugin.utils.extras import require
from srkd_plugin.utils.files import require_writable, write_atomically

EXTRA = "demo"
DPI = 110


def can_draw() -> bool:
    """Whether matplotlib is installed."""
    return find_spec("matplotlib") is not None


def require_picture(option: str, file: Path) -> None:
    """Refuse a picture that could not be drawn, before the work whose result it is.

    Args:
        option: Where its path was given.
        file: The picture.

    Raises:
        InputError: matplotlib is not installed or does not know the ending, or no file can be written there.
    """
    require("matplotlib", EXTRA, "a picture")
    from matplotlib.backend_bases import FigureCanvasBase

    known = FigureCanvasBase.get_supported_filetypes()
    if _ending(file) not in known:
        problem = f"pictures end in {', '.join(f'.{ending}' for ending in sorted(known))}"
        raise InputError(option, str(file), problem, "Give it one of these endings, e.g. .png.")
    require_writable(option, file)


def plain(text: str) -> str:
    """Text that matplotlib draws as it is: no formula between dollars, and no label that legends leave out.

    Example:
        >>> plain("$x$"), plain("_row")
        ('\\\\$x\\\\$', ' _row')
    """
    shown = text.encode(errors="replace").decode()  # names of files that are no text
    return (f" {shown}" if shown.startswith("_") else shown).replace("$", r"\$")


def save_figure(figure: Any, file: Path) -> None:
    """Write a figure; an earlier picture stays whole if it cannot be written.

    Args:
        figure: The figure.
        file: The picture; its ending says of which kind. Parent folders are made.

    Raises:
        InputError: It cannot be written.
    """
    content = io.BytesIO()
    figure.savefig(content, dpi=DPI, format=_ending(file))
    write_atomically(file, content.getvalue())


def _ending(file: Path) -> str:
    return file.suffix.lower().removeprefix(".") or "png"
