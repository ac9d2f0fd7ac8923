"""The store of a teacher cache: raw arrays in an LMDB, written so that a kill costs the image in work, read by views.

A cache is a folder with an LMDB in it. While it is being made the folder's name ends with ``.unfinished``; it takes its
own name when it is complete, in one step. In the LMDB stand, under ``<kind>/<image's key>`` with the kinds of
:mod:`srkd_plugin.teacher_cache.entry_kinds`,

    height, width, channels, clipped   4 x uint32, little endian; clipped: values beyond what the storage holds
    crc32     uint32, of all that stands before and behind it
    source    12 bytes: of the sha256 of the pixels that it is made from, those of the LR or the HR image
    values    height x width x channels, row by row, BGR as OpenCV has it, little endian

and under a key of its own what the cache is of (:mod:`srkd_plugin.teacher_cache.info`). A value lies in the file as one
piece, so that a crop is read from the memory map without touching the rest.
"""

from __future__ import annotations

import hashlib
import os
import struct
import weakref
import zlib
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Callable, NamedTuple, Optional, cast

import lmdb
import numpy as np
from pydantic import ValidationError

from srkd_plugin.errors import InputError
from srkd_plugin.images.decode import ImageFault
from srkd_plugin.images.lmdb_store import LONGEST_KEY, open_readonly, put_all
from srkd_plugin.teacher_cache.entry_kinds import KINDS, OF_TEACHER, dtype_of, kinds_of
from srkd_plugin.teacher_cache.info import CacheInfo
from srkd_plugin.utils.files import UNFINISHED

INFO_KEY = b"\x00info"
SIZES, CHECKSUM = struct.Struct("<IIII"), struct.Struct("<I")
SOURCE_BYTES = 12
HEADER = SIZES.size + CHECKSUM.size + SOURCE_BYTES
MAP_RESERVE = 1 << 26
REMAKE = "Make the cache again with srkd cache make."

View = Callable[[str, str], np.ndarray]
"""Gives the stored array of a kind and key."""


class Entry(NamedTuple):
    """An array to be stored."""

    kind: str
    key: str
    values: np.ndarray
    """``(h, w, c)``, of the storage's type."""
    source: bytes
    """:func:`fingerprint` of the image that it was made from."""
    clipped: int = 0


def fingerprint(pixels: np.ndarray) -> bytes:
    """What tells an image's pixels from others', whatever file they were read from."""
    return hashlib.sha256(np.ascontiguousarray(pixels).data).digest()[:SOURCE_BYTES]


def unfinished(folder: Path) -> Path:
    """Where a cache is while it is being made.

    Raises:
        InputError: It would have no name, as ``.`` has none.
    """
    if not folder.name:
        raise InputError(
            "--out", str(folder), "it names no cache", "Give a path that ends in a name, e.g. teacher.lmdb."
        )
    return folder.with_name(folder.name + UNFINISHED)


class CacheWriter:
    """Writes a cache, or continues one; several processes of a machine may do so at once.

    What :meth:`put` has returned from is on disk.

    Args:
        folder: Where the LMDB is; made if it is not there.
        size: Bytes that it will take, about.
    """

    def __init__(self, folder: Path, size: int) -> None:
        self.folder = folder
        folder.mkdir(parents=True, exist_ok=True)
        try:
            self._env = lmdb.open(str(folder), map_size=size + size // 50 + MAP_RESERVE)
        except lmdb.Error as error:
            raise InputError("cache", str(folder), f"LMDB cannot open it ({error})", "Delete it and rerun.") from error

    def close(self) -> None:
        """Close it; it can be continued."""
        self._env.close()

    def info(self) -> Optional[CacheInfo]:
        """What the cache says of itself, if it has been said."""
        return _read_info(self._env, "cache", self.folder)

    def state(self, info: CacheInfo) -> None:
        """Store what the cache is."""
        put_all(self._env, self.folder, [(INFO_KEY, info.to_json().encode())])

    def keys(self, *kinds: str) -> set[str]:
        """The keys of the images of which one of these kinds is stored."""
        with self._env.begin() as transaction:
            return _keys(transaction, kinds)

    def remove(self, keys: Iterable[str]) -> None:
        """Remove all that is stored of images, in one transaction.

        Raises:
            InputError: The disk is full; nothing is removed.
        """
        put_all(self._env, self.folder, [(_name(kind, key), None) for key in keys for kind in KINDS])

    def put(self, entries: Sequence[Entry]) -> None:
        """Write arrays in one transaction; a key that is there gets the new one.

        Raises:
            InputError: The disk is full; nothing of these entries is written.
        """
        put_all(self._env, self.folder, [(_name(entry.kind, entry.key), _pack(entry)) for entry in entries])


class CacheReader:
    """Reads a complete cache. It may be sent to, or inherited by, other processes.

    Args:
        option: How the user named the cache, for errors, e.g. ``datasets.train.dataroot_teacher``.
        folder: The cache.

    Attributes:
        info: What the cache is.

    Raises:
        InputError: It is not there, not complete, or no cache.
    """

    def __init__(self, option: str, folder: Path) -> None:
        self.option, self.folder = option, folder
        _require_complete(option, folder)
        self._env: Optional[lmdb.Environment] = None
        info = _read_info(self._opened(), option, folder)
        if info is None:
            raise InputError(option, str(folder), "it is an LMDB, but no teacher cache", REMAKE)
        self.info = info
        self._dtypes = {kind: dtype_of(kind, info.making) for kind in KINDS}

    def __getstate__(self) -> dict[str, Any]:
        """Leave the open LMDB out: it is opened again where this arrives."""
        return {**self.__dict__, "_env": None}

    def _opened(self) -> lmdb.Environment:
        if self._env is None:
            self._env = _shared(self.option, self.folder)
        return self._env

    def close(self) -> None:
        """Let go of the LMDB; reading opens it again."""
        self._env = None

    def keys(self, *kinds: str) -> set[str]:
        """The keys of the images of which one of these kinds is stored."""
        with self._opened().begin() as transaction:
            return _keys(transaction, kinds)

    @contextmanager
    def views(self) -> Iterator[View]:
        """Read in the block.

        Yields:
            A function from kind and key to the array, ``(h, w, c)``: a view of the memory map, read only, which must
            not be used when the block has ended. It raises :class:`ImageFault` if there is none or its size is wrong;
            values are not checked.
        """
        with self._opened().begin(buffers=True) as transaction:

            def view(kind: str, key: str) -> np.ndarray:
                shape, _, values = _unpack(self._stored(transaction, kind, key), self._dtypes[kind])
                return values.reshape(shape)

            yield view

    def check(self, kind: str, key: str) -> bytes:
        """Check one array against its checksum, whole.

        Returns:
            The fingerprint of the image that it was made from.

        Raises:
            ImageFault: It is not there, cut off or damaged.
        """
        try:
            with self._opened().begin(buffers=True) as transaction:
                stored = self._stored(transaction, kind, key)
                _, source, _ = _unpack(stored, self._dtypes[kind])
                if _checksum(stored) != CHECKSUM.unpack_from(stored, SIZES.size)[0]:
                    raise ImageFault("it is damaged: its checksum is wrong")
                return source
        except lmdb.Error as error:
            raise ImageFault(f"the LMDB is damaged there ({error})") from error

    def clipped(self, keys: Iterable[str]) -> int:
        """How many values of the teacher's images were clipped, in all."""
        with self._opened().begin(buffers=True) as transaction:
            stored = ((kind, key) for key in keys for kind in kinds_of(self.info, key) if kind in OF_TEACHER)
            return sum(SIZES.unpack_from(self._stored(transaction, *entry))[3] for entry in stored)

    @staticmethod
    def _stored(transaction: lmdb.Transaction, kind: str, key: str) -> memoryview:
        stored = transaction.get(_name(kind, key))
        if stored is None:
            raise ImageFault("it is not in the cache")
        return cast("memoryview", stored)  # as buffers=True asks for


_environments: weakref.WeakValueDictionary[str, lmdb.Environment] = weakref.WeakValueDictionary()
"""LMDB allows one opening a process. Read-only and without a lock table, an inherited one works after a fork."""


def _shared(option: str, folder: Path) -> lmdb.Environment:
    path = os.path.realpath(folder)
    env = _environments.get(path)
    if env is None:
        env = _environments[path] = open_readonly(option, folder)
    return env


def is_complete(folder: Path) -> bool:
    """Whether a cache is there, as far as its files tell."""
    return os.path.isfile(folder / "data.mdb")  # not Path's, which raises where a name is too long


def _require_complete(option: str, folder: Path) -> None:
    if is_complete(folder):
        return
    if os.path.isdir(unfinished(folder)):
        problem = f"the cache is not complete: there is {unfinished(folder).name}"
        raise InputError(option, str(folder), problem, "Rerun srkd cache make; it continues.")
    problem = "there is no data.mdb in it" if os.path.isdir(folder) else "there is no such folder"
    remedy = "Make the cache with srkd cache make. Relative paths start at the working directory, "
    raise InputError(option, str(folder), problem, f"{remedy}{os.getcwd()}.")


def _read_info(env: lmdb.Environment, option: str, folder: Path) -> Optional[CacheInfo]:
    try:
        with env.begin() as transaction:
            stored = transaction.get(INFO_KEY)
        return None if stored is None else CacheInfo.model_validate_json(stored)
    except ValidationError as error:
        problem = f"it is of another version of srkd_plugin ({error.errors()[0]['msg']})"
        raise InputError(option, str(folder), problem, REMAKE) from error
    except lmdb.Error as error:
        raise InputError(option, str(folder), f"data.mdb is damaged ({error})", REMAKE) from error


def _keys(transaction: lmdb.Transaction, kinds: Sequence[str]) -> set[str]:
    found, cursor = set(), transaction.cursor()
    for prefix in (f"{kind}/".encode() for kind in kinds):
        if cursor.set_range(prefix):
            for key in cursor.iternext(keys=True, values=False):
                if not bytes(key).startswith(prefix):
                    break
                found.add(bytes(key)[len(prefix) :].decode())
    return found


def _name(kind: str, key: str) -> bytes:
    name = f"{kind}/{key}".encode()
    if len(name) > LONGEST_KEY:
        raise InputError("image", key, f"LMDB's keys have at most {LONGEST_KEY} bytes", "Rename the image.")
    return name


def _pack(entry: Entry) -> bytes:
    sizes = SIZES.pack(*entry.values.shape, entry.clipped)
    rest = entry.source + entry.values.tobytes()
    return sizes + CHECKSUM.pack(zlib.crc32(rest, zlib.crc32(sizes))) + rest


def _checksum(stored: memoryview) -> int:
    return zlib.crc32(stored[SIZES.size + CHECKSUM.size :], zlib.crc32(stored[: SIZES.size]))


def _unpack(stored: memoryview, dtype: np.dtype) -> tuple[tuple[int, int, int], bytes, np.ndarray]:
    if len(stored) < HEADER:
        raise ImageFault("it is cut off")
    h, w, c, _ = SIZES.unpack_from(stored)
    if len(stored) != HEADER + h * w * c * dtype.itemsize:
        raise ImageFault(f"it has {len(stored):,} bytes, which is not a {h}x{w}x{c} image of {dtype}: it is damaged")
    source = bytes(stored[SIZES.size + CHECKSUM.size : HEADER])
    return (h, w, c), source, np.frombuffer(stored, dtype, offset=HEADER)
