"""The options files that come with the plugin: where they are, and copies of them beside a BasicSR checkout."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import dropwhile, takewhile
from pathlib import Path

from srkd_plugin.errors import InputError, nearest
from srkd_plugin.utils.files import write_atomically
from srkd_plugin.utils.shared_files import shared_folder

FOLDER = "options"
SCHEMA = "srkd.schema.json"
"""The JSON schema that the files name in their first line; it goes where they go."""
SENTENCE_END = re.compile(r"[.?!](?=\s+[^a-z\s]|$)")


@dataclass(frozen=True)
class Shipped:
    """A shipped options file."""

    name: str
    """Its path without ending below the folder of them all, e.g. ``distill_cl_l1`` or ``tables/cpu``."""
    file: Path

    @property
    def summary(self) -> str:
        """The sentences of its comment that begin in the first line that is for people."""
        comments = (line[1:].strip() for line in self.file.read_text("utf-8").splitlines() if line.startswith("#"))
        lines = list(dropwhile(_is_for_no_people, comments))
        paragraph = list(takewhile(bool, lines))
        text = " ".join(paragraph)
        ends = (end.end() for end in SENTENCE_END.finditer(text) if end.end() >= len(paragraph[0]))
        return text[: next(ends, None)]


def _is_for_no_people(comment: str) -> bool:
    return not comment or comment.startswith("yaml-language-server")


def shipped_options() -> dict[str, Shipped]:
    """All shipped options files by name, sorted.

    Raises:
        InputError: They are not there.
    """
    folder = shared_folder(FOLDER)
    found = sorted([*folder.glob("*.yml"), *folder.glob("tables/*.yml")])
    names = (file.relative_to(folder).with_suffix("").as_posix() for file in found)
    return {name: Shipped(name, file) for name, file in zip(names, found)}


def copy_options(names: Sequence[str], to: Path, replace: bool = False) -> list[Path]:
    """Copy shipped options files into a folder, tables into its ``tables/``; all or, on an error, none.

    Args:
        names: Their names, with or without ``.yml``.
        to: The folder, which is made.
        replace: Whether files that are there and differ are replaced.

    Returns:
        The copies, in the order of the names.

    Raises:
        InputError: There is no such options file, or a file is there and differs.
    """
    known = shipped_options()
    copies: dict[Path, bytes] = {}
    for name in names:
        stem = name[:-4] if name.endswith(".yml") else name
        if stem not in known:
            raise InputError("NAME", name, "there is no such options file", nearest(stem, known))
        copies[to / f"{stem}.yml"] = known[stem].file.read_bytes()
        for listing in _listings(known[stem].file):
            copies[(to / stem).with_name(listing.name)] = listing.read_bytes()
    schema = shared_folder(FOLDER) / SCHEMA
    if schema.is_file():
        copies[to / SCHEMA] = schema.read_bytes()
    changed = {file: content for file, content in copies.items() if not _holds(file, content)}
    for file in changed:
        if file.exists() and not replace:
            raise InputError("DIR", str(file), "it is there and differs", "Use another folder, or --force.")
    for file, content in changed.items():
        write_atomically(file, content)
    return list(copies)


def _listings(file: Path) -> list[Path]:
    """Lists of images that lie beside an options file and are named in it (``meta_info_file``)."""
    text = file.read_text("utf-8")
    return [beside for beside in sorted(file.parent.glob("*.txt")) if beside.name in text]


def _holds(file: Path, content: bytes) -> bool:
    return file.is_file() and file.read_bytes() == content
