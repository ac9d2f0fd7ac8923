"""LMDBs of PNG images in BasicSR's format, written so that an interruption costs nothing, and opened with care.

What BasicSR's own writer and reader trip over, and what happens here:

- it cuts keys at the first dot, and encodes them as ASCII: such keys are refused before anything is written;
- it guesses the map size from the first image: here the map grows when it is full;
- a folder that is there ends its process: here unfinished work goes to another folder and is continued;
- a data.mdb that was cut off crashes its reader: here its length is compared with its own header first;
- an environment does not survive a fork, and must not be open twice in a process: :class:`LmdbImages` holds none.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Optional

import lmdb

from srkd_plugin.errors import InputError
from srkd_plugin.images.decode import PNG_HEADER, ImageFault, png_shape
from srkd_plugin.utils.files import write_atomically

FIRST_MAP_SIZE = 1 << 26
LONGEST_KEY = 511
"""Bytes; LMDB's own limit."""
META_INFO = "meta_info.txt"
META_LINE = re.compile(r"(?P<key>[^.]+)\.png \((?P<h>\d+),(?P<w>\d+),(?P<c>\d+)\) (?P<level>\d)")


def check_key(key: str) -> None:
    """Refuse a key that BasicSR would not find again.

    Raises:
        InputError: The key has a dot, a character beyond ASCII or a line break, or is empty or too long.
    """
    if "." in key:
        problem = "BasicSR cuts LMDB keys at the first dot"
        raise InputError("LMDB key", key, problem, f"Rename the image, e.g. to {key.replace('.', '_')}.")
    if not key.isascii() or not key.isprintable():
        problem = "BasicSR's LMDB keys are printable ASCII"
        raise InputError("LMDB key", key, problem, "Rename the image with plain letters, digits, _ and -.")
    if not 0 < len(key) <= LONGEST_KEY:
        problem = f"LMDB's keys have 1 to {LONGEST_KEY} bytes, this one {len(key)}"
        raise InputError("LMDB key", key, problem, "Rename the image.")


def put_all(env: lmdb.Environment, folder: Path, entries: Sequence[tuple[bytes, Optional[bytes]]]) -> None:
    """Write entries in one transaction, in a map that grows when it is full or when another process has grown it.

    Args:
        env: The open LMDB.
        folder: Where it is, for errors.
        entries: Keys and values; a key whose value is None is removed.

    Raises:
        InputError: The disk is full; nothing of these entries is written.
    """
    while True:
        try:
            with env.begin(write=True) as transaction:
                for key, value in entries:
                    if value is None:
                        transaction.delete(key)
                    else:
                        transaction.put(key, value)
            return
        except lmdb.MapFullError:
            env.set_mapsize(2 * env.info()["map_size"])
        except lmdb.MapResizedError:
            env.set_mapsize(0)
        except lmdb.Error as error:
            problem = f"it cannot be written ({error})"
            raise InputError("LMDB", str(folder), problem, "Make room on the disk and rerun.") from error


def open_readonly(option: str, folder: Path) -> lmdb.Environment:
    """Open a folder's ``data.mdb`` for reading, without a lock file.

    Args:
        option: How the user named the LMDB, for errors.
        folder: The LMDB.

    Raises:
        InputError: LMDB cannot open it, it is open in this process, or it is cut off.
    """
    try:
        env = lmdb.open(str(folder), readonly=True, lock=False, readahead=False)
    except lmdb.Error as error:
        problem = f"LMDB cannot open it ({error})"
        if "already open" in str(error):  # LMDB allows one opening a process
            raise InputError(option, str(folder), problem, "Close it there first.") from error
        raise _damaged(option, folder, problem) from error
    needed = (env.info()["last_pgno"] + 1) * env.stat()["psize"]
    if (folder / "data.mdb").stat().st_size < needed:  # reading beyond the end would kill this process
        env.close()
        raise _damaged(option, folder, f"data.mdb is cut off: it should have {needed:,} bytes")
    return env


def _damaged(option: str, folder: Path, problem: str) -> InputError:
    return InputError(option, str(folder), problem, "Make or copy the LMDB again.")


class LmdbWriter:
    """Writes an LMDB, or continues one; use as a context manager.

    What :meth:`put` has returned from is on disk. Until :meth:`finish` there is no ``meta_info.txt``, by which BasicSR
    and :class:`LmdbImages` know a complete LMDB.

    Args:
        folder: The LMDB; made if it is not there.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        folder.mkdir(parents=True, exist_ok=True)
        self._env = lmdb.open(str(folder), map_size=FIRST_MAP_SIZE)  # a larger one that is there stays as it is

    def __enter__(self) -> LmdbWriter:
        """Return the writer."""
        return self

    def __exit__(
        self, kind: Optional[type[BaseException]], error: Optional[BaseException], trace: Optional[TracebackType]
    ) -> None:
        """Close the LMDB; it can be continued."""
        self._env.close()

    def put(self, entries: Iterable[tuple[str, bytes]]) -> None:
        """Write images in one transaction; a key that is there gets the new image.

        Args:
            entries: Keys and PNG files.

        Raises:
            InputError: A key is not allowed, or the disk is full; nothing of these entries is written.
        """
        entries = list(entries)
        for key, _ in entries:
            check_key(key)
        put_all(self._env, self.folder, [(key.encode(), png) for key, png in entries])

    def keys(self) -> list[str]:
        """The keys of what is stored, sorted."""
        with self._env.begin() as transaction:
            return [bytes(key).decode() for key in transaction.cursor().iternext(keys=True, values=False)]

    def remove(self, keys: Iterable[str]) -> None:
        """Remove images in one transaction.

        Raises:
            InputError: The disk is full; nothing is removed.
        """
        put_all(self._env, self.folder, [(key.encode(), None) for key in keys])

    def finish(self, compression: int) -> dict[str, tuple[int, int, int]]:
        """Write ``meta_info.txt``.

        Args:
            compression: PNG compression level to state in it.

        Returns:
            Height, width and channels by key, in the order of the keys.
        """
        with self._env.begin(buffers=True) as transaction:
            shapes = {bytes(key).decode(): png_shape(bytes(png[:PNG_HEADER])) for key, png in transaction.cursor()}
        lines = (f"{key}.png ({h},{w},{c}) {compression}\n" for key, (h, w, c) in shapes.items())
        write_atomically(self.folder / META_INFO, "".join(lines).encode())
        return shapes


class LmdbImages:
    """The images of a complete LMDB, read only. It may be sent to, or inherited by, other processes.

    Args:
        option: How the user named the LMDB, for errors, e.g. ``--gt``.
        folder: The LMDB.

    Raises:
        InputError: It is not there, not complete, or damaged.
    """

    def __init__(self, option: str, folder: Path) -> None:
        self.option, self.folder = option, folder
        self.shapes = read_meta_info(option, folder)
        """Height, width and channels by key, as ``meta_info.txt`` states them."""
        with self._opened() as env:
            self.stored: int = env.stat()["entries"]
            """How many images ``data.mdb`` has."""

    def keys(self) -> list[str]:
        """The keys that are stored, sorted.

        Raises:
            InputError: The LMDB is damaged where its keys are.
        """
        try:
            with self._opened() as env, env.begin() as transaction:
                stored = transaction.cursor().iternext(keys=True, values=False)
                return [bytes(key).decode("ascii", "backslashreplace") for key in stored]
        except lmdb.Error as error:
            raise _damaged(self.option, self.folder, f"data.mdb is damaged ({error})") from error

    def read(self, key: str) -> bytes:
        """The PNG file stored under a key.

        Raises:
            ImageFault: There is none, or the LMDB is damaged there.
        """
        try:
            with self._opened() as env, env.begin() as transaction:
                png = transaction.get(key.encode())
        except lmdb.Error as error:
            raise ImageFault(f"the LMDB is damaged there ({error})") from error
        if png is None:
            raise ImageFault("it is not in the LMDB")
        return png

    @contextmanager
    def _opened(self) -> Iterator[lmdb.Environment]:
        """Open the LMDB for one operation: that costs little, and leaves none to be forked or opened twice."""
        env = open_readonly(self.option, self.folder)
        try:
            yield env
        finally:
            env.close()


def is_lmdb(path: Path) -> bool:
    """Whether a path is meant as an LMDB: named ``*.lmdb``, as BasicSR demands, or with a ``data.mdb``."""
    return path.suffix == ".lmdb" or (path / "data.mdb").exists()


def read_meta_info(option: str, folder: Path) -> dict[str, tuple[int, int, int]]:
    """Height, width and channels by key from an LMDB's ``meta_info.txt``.

    Raises:
        InputError: The LMDB is not there or not complete, or the file is not in BasicSR's format.
    """
    for path, problem in (
        (folder, "there is no such folder"),
        (folder / "data.mdb", "there is no data.mdb in it"),
        (folder / META_INFO, f"there is no {META_INFO} in it: the LMDB was not finished"),
    ):
        if not path.exists():
            raise InputError(option, str(folder), problem, "Make the LMDB with srkd prepare train.")
    shapes: dict[str, tuple[int, int, int]] = {}
    for key, shape in _parse_meta_info(option, folder):
        if key in shapes:
            raise InputError(option, str(folder), f"{META_INFO} has {key} twice", "Make the LMDB again.")
        shapes[key] = shape
    return shapes


def _parse_meta_info(option: str, folder: Path) -> Iterator[tuple[str, tuple[int, int, int]]]:
    for number, line in enumerate((folder / META_INFO).read_text("utf-8").splitlines(), start=1):
        match = META_LINE.fullmatch(line)
        if match is None:
            problem = f"line {number} of {META_INFO}, {line!r}, is not of the form 'name.png (h,w,c) level'"
            raise InputError(option, str(folder), problem, "Names have no further dots. Make the LMDB again.")
        yield match["key"], (int(match["h"]), int(match["w"]), int(match["c"]))
