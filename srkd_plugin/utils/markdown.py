"""Tables in Markdown."""

from __future__ import annotations

import html
import re
from collections.abc import Iterable, Sequence


class Markdown(str):
    """Text that is Markdown already: a table takes it as it is, but for the bars that would end its cell."""


def table(names: Sequence[object], rows: Iterable[Sequence[object]]) -> str:
    """A table.

    Args:
        names: Names of the columns.
        rows: Cells of each row; text is shown as it is written, see :func:`escaped`.

    Example:
        >>> print(table(["", "PSNR"], [["a|b", 30.5], [Markdown("*<br>*"), "<br>"]]))
        | | PSNR |
        |---|---|
        | a\\|b | 30.5 |
        | *<br>* | &lt;br&gt; |
    """
    return "\n".join([heading(names), *(row(cells) for cells in rows)])


def heading(names: Sequence[object]) -> str:
    """The two lines that a table begins with, for one whose rows are printed as they come."""
    cells = "".join(f"| {name} " if name else "| " for name in map(_cell, names))
    return f"{cells}|\n|{'---|' * len(names)}"


def row(cells: Sequence[object]) -> str:
    """One row of a table."""
    return f"| {' | '.join(map(_cell, cells))} |"


def escaped(text: str) -> Markdown:
    """Text on one line, of which HTML stays text; characters that are not printable (control codes) become U+FFFD."""
    shown = "".join(c if c.isprintable() else "\ufffd" for c in " ".join(text.split()))
    return Markdown(html.escape(shown, quote=False))


def _cell(value: object) -> str:
    text = value if isinstance(value, Markdown) else escaped(str(value))
    return re.sub(r"(\\*)\|", _escape_bar, text)


def _escape_bar(found: re.Match[str]) -> str:
    """Escape a bar that has no backslash before it, or one that is text itself."""
    return found[0] if len(found[1]) % 2 else f"{found[1]}\\|"
