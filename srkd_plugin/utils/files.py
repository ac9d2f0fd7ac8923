"""Files that are written whole or not at all, and the error for files that are not what a command needs."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, BinaryIO

from srkd_plugin.errors import InputError

try:
    import fcntl
except ImportError:  # not on Windows, where nobody is told of others then
    fcntl = None  # type: ignore[assignment]  # which is what to look for

UNFINISHED = ".unfinished"
"""What the name of a file or folder that is being written ends with."""


@contextmanager
def open_atomically(path: Path) -> Iterator[BinaryIO]:
    """A file to write to that takes its name when the block ends, flushed to the disk; or leaves no trace on an error.

    Raises:
        OSError: It cannot be written; an earlier file of that name is untouched.
    """
    _refuse_what_is_no_file(path)
    unfinished = path.with_name(f".{path.name}.{os.getpid()}{UNFINISHED}")
    try:
        with _open_locked(unfinished) as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
            os.replace(unfinished, path)  # while it is locked: remove_unfinished of another process leaves it alone
    finally:
        unfinished.unlink(missing_ok=True)


def _refuse_what_is_no_file(path: Path) -> None:
    """Refuse to put a file in the place of a folder, a device or a pipe: ``os.replace`` would do it to /dev/null."""
    if not path.name or path.is_dir():
        raise InputError("output", str(path), "it is a folder", "Give the path of a file.")
    if path.exists() and not path.is_file():
        raise InputError("output", str(path), "it is a device or a pipe, and not a file", "Give the path of a file.")


def remove_unfinished(folder: Path) -> None:
    """Remove files that killed processes left in :func:`open_atomically`, and none that is being written."""
    for file in folder.glob(f".*{UNFINISHED}"):
        with suppress(OSError), open(file, "r+b") as left:
            _lock(left, wait=False)
            file.unlink()


def _open_locked(path: Path) -> BinaryIO:
    """A new file that is locked as long as it is open, or until its process is killed."""
    while True:
        file = open(path, "wb")  # noqa: SIM115 (the caller closes it)
        with suppress(OSError):  # file systems without locks: remove_unfinished removes nothing there
            _lock(file, wait=True)
        if path.exists():
            return file
        file.close()  # it was taken for one that is left, in the moment before it was locked


def _lock(file: BinaryIO, wait: bool) -> None:
    if fcntl is None:
        raise OSError("there are no locks here")
    fcntl.flock(file, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))


def write_atomically(path: Path, content: bytes) -> None:
    """Write a file so that it is there whole or not at all, whatever happens meanwhile; parent folders are made.

    Raises:
        InputError: It cannot be written, e.g. because the disk is full.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with open_atomically(path) as file:
            file.write(content)
    except OSError as error:
        problem = f"it cannot be written ({error.strerror})"
        raise InputError("output", str(path), problem, "Free or allow it.") from error


def require_writable(option: str, path: Path) -> None:
    """Refuse a path that no file can be written to, before the work whose result it is for; nothing is written.

    Raises:
        InputError: It is a folder or a device; or the folder that it would be in, or be made in, does not take it.
    """
    if not path.name or path.is_dir():
        raise InputError(option, str(path), "it is a folder", "Give the path of a file.")
    _refuse_what_is_no_file(path)
    above = next(folder for folder in path.absolute().parents if folder.exists())
    if not above.is_dir():
        raise InputError(option, str(path), f"it cannot be written ({above} is a file)", "Give another path.")
    if not os.access(above, os.W_OK | os.X_OK):
        raise InputError(option, str(path), f"it cannot be written (Permission denied: {above})", "Allow it.")


def write_json(path: Path, content: Any) -> None:
    """Write readable JSON atomically."""
    write_atomically(path, (json.dumps(content, indent=2) + "\n").encode())


def read_json(path: Path) -> Any:
    """Read JSON.

    Raises:
        InputError: The file is not there or not JSON.
    """
    try:
        return json.loads(path.read_text("utf-8"))
    except (OSError, ValueError) as error:
        raise InputError("file", str(path), f"it cannot be read as JSON ({error})", "Remove it and rerun.") from error


def sha256_of_file(path: Path) -> str:
    """The file's sha256 in hexadecimal."""
    digest = hashlib.sha256()
    with open(path, "rb") as file:
        while chunk := file.read(1 << 20):
            digest.update(chunk)
    return digest.hexdigest()


def sha256_of_lines(lines: Iterable[str]) -> str:
    """The sha256, in hexadecimal, of the lines, each with a line feed: what ``sha256sum`` says of a file of them."""
    return hashlib.sha256("".join(f"{line}\n" for line in lines).encode()).hexdigest()


def require_folder(option: str, path: Path) -> None:
    """Refuse a path that is not a folder.

    Raises:
        InputError: There is no such folder.
    """
    if not os.path.isdir(path):  # not Path's, which raise where a name is too long
        problem = "it is a file, not a folder" if os.path.exists(path) else "there is no such folder"
        raise InputError(option, str(path), problem, f"Relative paths start at the working directory, {os.getcwd()}.")


def require_file(key: str, file: Any) -> None:
    """Refuse a path that is not a file.

    Raises:
        InputError: There is no such file.
    """
    if not isinstance(file, (str, Path)):
        raise InputError(key, file, "the path of a file is expected", "Write a path, or ~ for none.")
    if not os.path.isfile(file):
        problem = "there is a folder of this name, but no file" if os.path.isdir(file) else "there is no such file"
        raise InputError(key, str(file), problem, f"Relative paths start at the working directory, {os.getcwd()}.")
