"""Folders of images, each listed once, and what is left out of them named."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Optional

from srkd_plugin.errors import InputError
from srkd_plugin.utils.files import require_folder

EXTENSIONS = (".png", ".jpg", ".jpeg", ".bmp", ".tif", ".tiff", ".ppm", ".webp")
"""What the commands that prepare and verify take for images; BasicSR takes every file that is not hidden."""
NAMES_SHOWN = 3
"""This many names of a kind are shown."""


@dataclass
class Listing:
    """What a folder holds; subfolders are not entered."""

    folder: Path
    files: list[str] = field(default_factory=list)
    """What BasicSR takes for images: names of files that are not hidden, in the file system's order."""
    hidden: list[str] = field(default_factory=list)
    subfolders: list[str] = field(default_factory=list)
    dangling: list[str] = field(default_factory=list)
    """Links to what is not there, and what is neither file nor folder."""

    @property
    def strangers(self) -> list[str]:
        """Names of files without the extension of an image, sorted."""
        return sorted(name for name in self.files if Path(name).suffix.lower() not in EXTENSIONS)

    def images(self, option: str) -> dict[str, Path]:
        """The files with an image's extension by stem, sorted by stem.

        Args:
            option: How the user named the folder, for errors, e.g. ``--gt``.

        Raises:
            InputError: There are none, or two of one stem.
        """
        paths = [self.folder / name for name in self.files if Path(name).suffix.lower() in EXTENSIONS]
        if not paths:
            problem = " ".join(["there are no images in it", self._in_brackets()]).rstrip()
            raise InputError(option, str(self.folder), problem, f"Known: {', '.join(EXTENSIONS)}.")
        images: dict[str, Path] = {}
        for path in sorted(paths, key=lambda path: (path.stem, path.suffix)):
            if path.stem in images:
                problem = f"{images[path.stem].name} and {path.name} have the same name but for the extension"
                raise InputError(option, str(self.folder), problem, "Remove or rename one of them.")
            images[path.stem] = path
        return images

    def left_out(self, strangers: bool = True) -> Optional[str]:
        """A line that counts and names what is not taken for an image; None if there is nothing.

        Args:
            strangers: Files without an image's extension are left out, too; BasicSR takes them for images.
        """
        kinds = [
            ("file(s) by their extension", self.strangers if strangers else []),
            ("hidden file(s)", self.hidden),
            ("subfolder(s)", self.subfolders),
            ("link(s) to nothing", self.dangling),
        ]
        found = [f"{len(names)} {kind} ({named(names)})" for kind, names in kinds if names]
        return f"left out of {self.folder}: {', '.join(found)}" if found else None

    def _in_brackets(self) -> str:
        text = self.left_out()
        return "" if text is None else f"({text})"


def list_folder(option: str, folder: Path) -> Listing:
    """List a folder.

    Args:
        option: How the user named it, for errors.
        folder: The folder.

    Raises:
        InputError: There is no such folder, or it cannot be read.
    """
    require_folder(option, folder)
    listing = Listing(folder)
    try:
        with os.scandir(folder) as entries:
            for entry in entries:
                if entry.name.startswith("."):
                    listing.hidden.append(entry.name)
                elif entry.is_file():
                    listing.files.append(entry.name)
                else:
                    (listing.subfolders if entry.is_dir() else listing.dangling).append(entry.name)
    except OSError as error:
        problem = f"it cannot be read ({error.strerror})"
        raise InputError(option, str(folder), problem, "Check its permissions.") from error
    return listing


def say_left_out(listings: Iterable[Listing]) -> None:
    """Print what is no image, a line per folder, for people."""
    say(line for listing in listings if (line := listing.left_out()) is not None)


def say(lines: Iterable[str]) -> None:
    """Print lines for people, beside a command's output."""
    for line in lines:
        print(line, file=sys.stderr, flush=True)


def named(names: Iterable[str], shown: int = NAMES_SHOWN) -> str:
    """The first of some names, sorted, and how many more there are."""
    names = sorted(names)
    more = f" and {len(names) - shown} more" if len(names) > shown else ""
    return ", ".join(names[:shown]) + more
