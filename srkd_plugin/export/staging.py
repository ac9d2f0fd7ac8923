"""A folder's new files, made in a hidden folder beside them and moved into place when all of them are right."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from srkd_plugin.errors import InputError
from srkd_plugin.utils.files import UNFINISHED, require_folder
from srkd_plugin.utils.owner import owned

PREFIX = ".export."


@contextmanager
def staged(out: Path) -> Iterator[Path]:
    """A folder on the file system of ``out`` for files that will be moved there; it is gone when the block ends.

    Folders that are made for it and stay empty are removed. What a killed process left is removed, too.

    Args:
        out: The folder of the finished files; it is made.

    Raises:
        InputError: It is a file or cannot be written to, or another process exports to it.
    """
    if out.exists():
        require_folder("--out", out)
    made = [folder for folder in (out, *out.absolute().parents) if not folder.exists()]
    try:
        _make(out)
        with owned("--out", out / "export"):
            for left in out.glob(f"{PREFIX}*{UNFINISHED}"):
                shutil.rmtree(left, ignore_errors=True)
            folder = out / f"{PREFIX}{os.getpid()}{UNFINISHED}"
            try:
                _make(folder)
                yield folder
            finally:
                shutil.rmtree(folder, ignore_errors=True)
    finally:
        for folder in made:
            with suppress(OSError):  # it has files now
                folder.rmdir()


def _make(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        problem = f"it cannot be written ({error.strerror})"
        raise InputError("--out", str(folder.parent), problem, "Choose another folder, or allow it.") from error


def move_into(out: Path, files: Iterable[Path]) -> list[bool]:
    """Move files into a folder one by one, each at once; those that are there and the same stay.

    Args:
        out: The folder.
        files: Files on its file system.

    Returns:
        For each whether it was moved.

    Raises:
        OSError: One cannot be moved.
    """
    moved = []
    for file in files:
        target = out / file.name
        same = target.is_file() and target.read_bytes() == file.read_bytes()
        if not same:
            os.replace(file, target)
        moved.append(not same)
    return moved
