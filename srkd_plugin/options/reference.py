"""Reference of all keys as Markdown, made of the models: every key of ours with type, default and meaning.

``scripts/options_reference.py`` writes it into docs/options.md.
"""

from __future__ import annotations

import inspect
import re
import sys
import typing
from collections.abc import Iterator, Mapping
from typing import Any

from pydantic import BaseModel

from srkd_plugin.options.sections import SECTIONS
from srkd_plugin.options.term_sections import LossArguments
from srkd_plugin.utils.markdown import Markdown, table

Row = tuple[str, str, str, str]

START = "<!-- made by scripts/options_reference.py: start -->"
END = "<!-- end -->"
COLUMNS = ["key", "type", "default", "meaning"]


def document(text: str, losses: Mapping[str, type]) -> str:
    """A document with the reference between its marks, :data:`START` and :data:`END`.

    Args:
        text: The document.
        losses: The losses whose arguments are described, by the name under which they are registered.
    """
    before, _, rest = text.partition(START)
    return f"{before}{START}\n\n{reference(losses)}\n\n{END}{rest.partition(END)[2]}"


def reference(losses: Mapping[str, type]) -> str:
    """Tables of all keys of ours, one for each section, and of the arguments of losses."""
    paths = list(dict.fromkeys(path for path, _ in SECTIONS))
    blocks = [line for path in paths for line in _section(path)]
    for name, loss in sorted(losses.items()):
        first_line = on_one_line((inspect.getdoc(loss) or "").split("\n\n")[0])
        blocks += ["", f"### Arguments of `{name}` in a term", "", first_line, "", _table(_arguments(loss))]
    return "\n".join(blocks).strip()


def _section(path: str) -> Iterator[str]:
    """One section's heading, paragraphs and table."""
    models = [model for where, model in SECTIONS if where == path]
    yield from ["", f"### `{path}`" if path else "### Top level", ""]
    yield from [" ".join(about_section(model, path) for model in models), ""]
    yield _table(row for model in models for row in _keys(path, model))


def _keys(path: str, model: type[BaseModel]) -> Iterator[Row]:
    for name, field in model.model_fields.items():
        default = "required" if field.is_required() else _value(field.default)
        key = f"{path}.{name}" if path else name
        yield f"`{key}`", _type(field.annotation), default, on_one_line(field.description or "")


def _table(rows: Iterator[Row]) -> str:
    return table(COLUMNS, ([Markdown(cell) for cell in cells] for cells in rows))


def about_section(model: type, path: str) -> str:
    """What a section is for, as Markdown on one line: its model's docstring, without the section's path before it."""
    text = (inspect.getdoc(model) or "").replace(f"``{path}``: ", "", 1)
    return on_one_line(text[:1].upper() + text[1:])


def _arguments(loss: type) -> Iterator[Row]:
    """Rows of a loss's arguments; what its docstring does not say is in its function's, or said for all losses."""
    hints = typing.get_type_hints(loss.__init__)  # type: ignore[misc]  # the class's own
    meanings = {name: field.description or "" for name, field in LossArguments.model_fields.items()}
    named = re.match(r":func:`(\w+)`", inspect.getdoc(loss) or "")
    function = getattr(sys.modules[loss.__module__], named[1], None) if named else None
    meanings.update(_documented(function))
    meanings.update(_documented(loss))
    for argument in inspect.signature(loss).parameters.values():
        default = "required" if argument.default is argument.empty else _value(argument.default)
        kind, meaning = _type(hints.get(argument.name, Any)), on_one_line(meanings.get(argument.name, ""))
        yield f"`{argument.name}`", kind, default, meaning


def _documented(thing: Any) -> dict[str, str]:
    """Meanings of arguments in the ``Args:`` part of a docstring, but for mere references to another one."""
    part = re.search(r"^Args:\n((?: +.*\n?|\n)*)", (inspect.getdoc(thing) or "") if thing else "", re.M)
    entries = re.findall(r"^    (\w+): (.*(?:\n {5,}.*)*)", part[1] if part else "", re.M)
    return {name: text for name, text in entries if not text.startswith("See :")}


def on_one_line(docstring: str) -> str:
    """A docstring, or a part of one, as Markdown on one line."""
    return re.sub(r":\w+:`~?(?:[\w.]*\.)?(\w+)`", r"`\1`", " ".join(docstring.split())).replace("``", "`")


def _value(value: Any) -> str:
    if isinstance(value, bool):
        return f"`{str(value).lower()}`"
    return "`~`" if value is None else f"`{value}`" if value != "" else "empty"


def _type(hint: Any) -> str:
    origin, parts = typing.get_origin(hint), typing.get_args(hint)
    if origin is typing.Literal:
        return ", ".join(f"`{part}`" for part in parts)
    if origin is typing.Union:
        return " or ".join("`~`" if part is type(None) else _type(part) for part in parts)
    if origin is list:
        return f"list of {_type(parts[0])}"
    names = {bool: "`true`, `false`", int: "whole number", float: "number", str: "text"}
    return names.get(hint, "section")
