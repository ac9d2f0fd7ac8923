#!/usr/bin/env python
"""Write the tables of docs/options.md from the code that reads the options: every key of ours with type and default."""

from __future__ import annotations

import inspect
import sys
import typing
from pathlib import Path
from typing import Any

from srkd_plugin import registration  # noqa: F401  (first: it registers the losses)
from srkd_plugin.options.sections import SECTIONS

DOCUMENT = Path(__file__).resolve().parent.parent / "docs/options.md"
START = "<!-- made by scripts/options_reference.py: start -->"
END = "<!-- end -->"


def tables() -> str:
    """The tables as Markdown."""
    from basicsr.utils.registry import LOSS_REGISTRY

    rows = ["| key | type | default |", "|---|---|---|"]
    for section, model in SECTIONS.items():
        for name, field in model.model_fields.items():
            key = f"{section}.{name}" if section else name
            default = "required" if field.is_required() else _yaml(field.default)
            rows.append(f"| `{key}` | {_type(field.annotation)} | {default} |")
    for name, loss in sorted(LOSS_REGISTRY):
        if not loss.__module__.startswith("srkd_plugin."):
            continue
        rows += ["", f"Arguments of `{name}` (in a term):", "", "| key | type | default |", "|---|---|---|"]
        hints = typing.get_type_hints(loss.__init__)
        for argument in inspect.signature(loss).parameters.values():
            default = "required" if argument.default is argument.empty else _yaml(argument.default)
            rows.append(f"| `{argument.name}` | {_type(hints.get(argument.name, Any))} | {default} |")
    return "\n".join(rows)


def document(text: str) -> str:
    """The document with the tables in their place."""
    before, _, rest = text.partition(START)
    return f"{before}{START}\n\n{tables()}\n\n{END}{rest.partition(END)[2]}"


def _yaml(value: Any) -> str:
    if isinstance(value, bool):
        return f"`{str(value).lower()}`"
    return "`~`" if value is None else f"`{value}`"


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


if __name__ == "__main__":
    DOCUMENT.write_text(document(DOCUMENT.read_text("utf-8")), "utf-8")
    sys.exit(0)
