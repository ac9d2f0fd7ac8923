"""Docstrings as mkdocstrings reads them: references in Sphinx's roles become links, where there is a page for them."""

from __future__ import annotations

import re
from typing import Any

import griffe

ROLE = re.compile(r":(?:func|class|meth|attr|data|mod):`(~?)([\w.]+)`")
LITERAL_BLOCK = re.compile(r"::(?=\n\n +)")
MATH = re.compile(r"^( *)\.\. math::\n\n?((?:\1 +.*(?:\n|\Z)|\n(?=\1 +))+)", re.MULTILINE)
CODE = re.compile(r"((?s:```.*?```)|``.*?``|`.*?`)")
TIMES = re.compile(r"(?<=\w)\*(?=\w)")
"""A product such as C*H*W, in which Markdown would see emphasis."""


def as_markdown(text: str, module: str, owner: str) -> str:
    """A docstring of ours as Markdown.

    Args:
        text: The docstring, with roles such as ``:func:`~package.module.name```.
        module: Dotted path of the module that it is in: names without a dot are looked for there.
        owner: Dotted path of the class that it is in, or of the module.
    """

    def link(role: re.Match[str]) -> str:
        short, name = role[1], role[2]
        inside = owner if role[0].startswith((":meth:", ":attr:")) else module
        path = name if "." in name else f"{inside}.{name}"
        shown = name.rpartition(".")[2] if short else name
        return f'<autoref optional identifier="{path}"><code>{shown}</code></autoref>'

    parts = CODE.split(MATH.sub(r"\1```latex\n\2\1```\n", text))
    parts[::2] = [TIMES.sub(r"\\*", part) for part in parts[::2]]
    return LITERAL_BLOCK.sub(":", ROLE.sub(link, "".join(parts)))


class Docstrings(griffe.Extension):
    """Changes every docstring before it is split into sections."""

    def on_instance(self, *, obj: Any, **_: Any) -> None:
        """Change that of an object (called by griffe)."""
        if obj.docstring is not None and not obj.is_alias:
            parent = obj if obj.is_class or obj.is_module else obj.parent
            obj.docstring.value = as_markdown(obj.docstring.value, obj.module.path, parent.path)
