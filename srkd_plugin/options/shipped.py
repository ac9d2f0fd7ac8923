"""The options files that come with the plugin: where they are, and copies of them beside a BasicSR checkout."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, files
from pathlib import Path

from srkd_plugin.errors import InputError, nearest
from srkd_plugin.utils.files import write_atomically

PACKAGE = Path(__file__).resolve().parent.parent
SHARE = "share/srkd_plugin/options"
"""Where a wheel puts them, below the environment."""
SCHEMA = "srkd.schema.json"
"""The JSON schema that the files name in their first line; it goes where they go."""


@dataclass(frozen=True)
class Shipped:
    """A shipped options file."""

    name: str
    """Its path without ending below the folder of them all, e.g. ``distill_cl_l1`` or ``tables/cpu``."""
    file: Path

    @property
    def summary(self) -> str:
        """The first line of its comment that is for people."""
        comments = (line[1:].strip() for line in self.file.read_text("utf-8").splitlines() if line.startswith("#"))
        return next((line for line in comments if line and not line.startswith("yaml-language-server")), "")


def shipped_options() -> dict[str, Shipped]:
    """All shipped options files by name, sorted.

    Raises:
        InputError: They are not there.
    """
    folder = _folder()
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
    schema = _folder() / SCHEMA
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


def _folder() -> Path:
    """The folder of the shipped files: beside the package in a checkout, else where the wheel has put them."""
    beside = PACKAGE.parent / "options"
    if beside.is_dir() and (PACKAGE.parent / "pyproject.toml").is_file():
        return beside
    try:
        installed = files("srkd-plugin") or []
    except PackageNotFoundError:
        installed = []
    stated = [Path(file.locate()) for file in installed if file.parent.as_posix().endswith(SHARE)]
    for folder in [*(file.resolve().parent for file in stated), PACKAGE.parent / SHARE]:  # the latter: pip --target
        if folder.is_dir():
            return folder
    problem = "the options files are neither beside the package nor installed with it"
    raise InputError("srkd-plugin", str(PACKAGE), problem, "Install it again, with pip.")
