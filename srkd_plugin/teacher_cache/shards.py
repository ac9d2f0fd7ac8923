"""A cache as a run reads it: whole, or the list of its shards, which are checked to be all of one cache."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Optional, Union

from srkd_plugin.errors import InputError
from srkd_plugin.images.listing import named
from srkd_plugin.options.step_sections import ZoomKind
from srkd_plugin.teacher_cache.entry_kinds import KINDS, kinds_of
from srkd_plugin.teacher_cache.info import CacheInfo
from srkd_plugin.teacher_cache.store import CacheReader, is_complete

Folders = Union[str, Sequence[str]]
"""The folder of a whole cache, or those of all its shards, in any order."""


class OpenCache:
    """A complete cache, open for reading. It may be sent to, or inherited by, other processes.

    Args:
        option: How the user named the cache, for errors, e.g. ``datasets.train.dataroot_teacher``.
        folders: The cache, or its shards.
        zoom: Of which inputs beside LR it must be; None: of LR.

    Attributes:
        info: What the cache is; of shards, what all of them are of.
        parts: The cache, or the shards as they are listed.

    Raises:
        InputError: A folder is not there, not complete, or no cache; or they are not the shards of one cache, each
            once.
    """

    def __init__(self, option: str, folders: Folders, zoom: Optional[ZoomKind] = None) -> None:
        self.option, self._is_whole = option, isinstance(folders, str)
        listed = [folders] if isinstance(folders, str) else list(folders)
        self.parts = [CacheReader(option, Path(folder)) for folder in listed]
        first = self.parts[0]
        for part in self.parts:
            _refuse_other_inputs(option, part, zoom)
        if self._is_whole:
            _refuse_shard(option, first)
        else:
            _refuse_what_is_not_one_cache(option, self.parts)
        clipped = sum(part.info.clipped for part in self.parts)
        self.info: CacheInfo = first.info.model_copy(update={"shard": None, "clipped": clipped})
        self._part_of: dict[str, int] = {}
        if not self._is_whole:
            self._part_of = {key: i for i, part in enumerate(self.parts) for key in part.keys(*KINDS)}

    def __str__(self) -> str:
        """Give the folders, for people."""
        return ", ".join(str(part.folder) for part in self.parts)

    def zoomed(self, kind: ZoomKind) -> Optional[OpenCache]:
        """The complete cache of other inputs that belongs to this one; None where there is none, or one of another."""
        folders = [part.folder / kind for part in self.parts]
        if not all(map(is_complete, folders)):
            return None
        listed = list(map(str, folders))
        found = OpenCache(self.option, listed[0] if self._is_whole else listed, kind)
        belongs_to = self.info.model_copy(
            update={"zoom": found.info.zoom, "making": self.info.making.model_copy(update={"with_images": False})}
        )
        return None if found.info.differences(belongs_to) else found

    def all_zoomed(self, kinds: Iterable[ZoomKind]) -> list[OpenCache]:
        """Those of these kinds that there are."""
        return [found for kind in kinds if (found := self.zoomed(kind)) is not None]

    def part_of(self, key: str) -> CacheReader:
        """What holds an image: the cache, or the shard; if none has it, the first, which says so when it is read."""
        return self.parts[self._part_of.get(key, 0)]

    def require_keys(self, keys: Sequence[str]) -> None:
        """Check that each image is in exactly one shard; nothing is done of a whole cache.

        Args:
            keys: Those of all images of the set.

        Raises:
            InputError: Images are in none, in several, or are not of the set; says how many and names some.
        """
        if self._is_whole:
            return
        stored = Counter(key for part in self.parts for key in part.keys(*KINDS))
        wanted = dict.fromkeys(key for key in keys if kinds_of(self.info, key))
        faults = {
            "in none of the shards": [key for key in wanted if key not in stored],
            "in several shards": sorted(key for key, count in stored.items() if count > 1),
            "not of the training set": sorted(key for key in stored if key not in wanted),
        }
        found = [f"{len(some):,} images are {where} ({named(some)})" for where, some in faults.items() if some]
        if found:
            remedy = "Make those shards again with srkd cache make --shard."
            raise InputError(self.option, str(self), "; ".join(found), remedy)


def _refuse_other_inputs(option: str, cache: CacheReader, wanted: Optional[ZoomKind]) -> None:
    found = None if cache.info.zoom is None else cache.info.zoom.kind
    if found != wanted:
        what = "the teacher's images of LR" if cache.info.zoom is None else str(cache.info.zoom)
        raise InputError(option, str(cache.folder), f"it holds {what}", "Name the folder that it lies in.")


def _refuse_shard(option: str, cache: CacheReader) -> None:
    shard = cache.info.shard
    if shard is not None:
        remedy = f"List all {shard.count} shards of it: dataroot_teacher: [SHARD, ...]."
        problem = f"it is shard {shard} of a cache, which has {cache.info.own_images:,} of its images"
        raise InputError(option, str(cache.folder), problem, remedy)


def _refuse_what_is_not_one_cache(option: str, parts: Sequence[CacheReader]) -> None:
    first = parts[0]
    for part in parts:
        if part.info.shard is None:
            remedy = f"Write it alone: dataroot_teacher: {part.folder}."
            raise InputError(option, str(part.folder), "it is a whole cache, and no shard of one", remedy)
        different = first.info.differences_but_shard(part.info, (f"in {first.folder}", f"in {part.folder}"))
        if different:
            problem = f"the shards are not of one cache: {'; '.join(different)}"
            raise InputError(option, _folders(parts), problem, "Make all shards with the same options and images.")
    faults = list(_faults_of_numbers(parts))
    if faults:
        raise InputError(option, _folders(parts), "; ".join(faults), "List each shard of one cache once.")


def _faults_of_numbers(parts: Sequence[CacheReader]) -> Iterator[str]:
    """What is wrong with which shards they are."""
    shards = [part.info.shard for part in parts if part.info.shard is not None]
    counts = sorted({shard.count for shard in shards})
    if len(counts) > 1:
        yield f"they are shards of {' and of '.join(map(str, counts))}"
        return
    times = Counter(shard.index for shard in shards)
    missing = [f"{index}/{counts[0]}" for index in range(1, counts[0] + 1) if index not in times]
    twice = [f"{index}/{counts[0]}" for index, count in sorted(times.items()) if count > 1]
    if missing:
        yield f"of {counts[0]} shards {len(missing)} are missing ({named(missing)})"
    if twice:
        yield f"{len(twice)} shards are listed more than once ({named(twice)})"


def _folders(parts: Sequence[CacheReader]) -> str:
    return ", ".join(str(part.folder) for part in parts)
