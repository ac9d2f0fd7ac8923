"""Finds the entries of a cache that are damaged or not made from the images that are there, and makes them again."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Optional

from srkd_plugin.errors import InputError
from srkd_plugin.images.decode import Fault
from srkd_plugin.images.worker_pool import WorkerKilled, map_images
from srkd_plugin.teacher_cache.cache_job import CacheJob
from srkd_plugin.teacher_cache.image_entries import RunningTeacher, entries_of
from srkd_plugin.teacher_cache.info import ZOOM_KINDS, Making, Shard, Zoom
from srkd_plugin.teacher_cache.make import refuse_another
from srkd_plugin.teacher_cache.source_pairs import PairSource
from srkd_plugin.teacher_cache.stale_entries import fault_of
from srkd_plugin.teacher_cache.store import CacheReader, CacheWriter, is_complete
from srkd_plugin.utils.owner import owned

IMAGES_A_TASK = 16


def making_of(folder: Path, flags: Mapping[str, Any], shard: Optional[Shard]) -> tuple[Making, Optional[Shard]]:
    """Read how a complete cache, or a shard of one, was made, and which one it is, as it says.

    Args:
        folder: The cache.
        flags: What the command was told of that, by name of the field.
        shard: The shard that the command was told; None: it was told none.

    Raises:
        InputError: There is no such cache, or a flag says something else.
    """
    cache = CacheReader("--out", folder)
    cache.close()
    for name, value in flags.items():
        there = getattr(cache.info.making, name)
        if value != there:
            problem = f"the cache in {folder} was made with {'none' if there is None else there}"
            raise InputError(f"--{name.replace('_', '-')}", value, problem, "Leave it out: the cache says it.")
    there = cache.info.shard
    if shard not in (None, there):
        what = "it is a whole cache" if there is None else f"it is shard {there}"
        raise InputError("--shard", str(shard), f"{what} ({folder})", "Leave it out: the cache says it.")
    return cache.info.making, there


def zooms_of(folder: Path) -> list[Zoom]:
    """The complete caches of other inputs that lie in a cache."""
    inside = [folder / kind for kind in ZOOM_KINDS if is_complete(folder / kind)]
    infos = [CacheReader("--out", each).info for each in inside]
    return [info.zoom for info in infos if info.zoom is not None]


def repair_cache(job: CacheJob) -> list[Fault]:
    """Check a complete cache whole, and make damaged entries again, each in one transaction.

    Returns:
        What was wrong, by image; it no longer is.

    Raises:
        InputError: There is no such cache, it is another one, it is damaged beyond single entries, or another process
            mends it.
    """
    if job.processes.count > 1:
        count = job.processes.count
        raise InputError("torchrun", count, "a cache is repaired by one process", "Start it without torchrun.")
    cache = CacheReader("--out", job.folder)
    cache.close()
    refuse_another(cache.info.with_images_of(job.info), job, job.folder)
    different = cache.info.differences(job.info)
    if different:
        problem = f"it was made of other images: {'; '.join(different)}"
        remedy = "Run srkd cache make with the flags that it was made with: it goes on with what is unchanged."
        raise InputError("--out", str(job.folder), problem, remedy)
    with owned("--out", job.owned):
        faults = _find_faults(cache, job.source)
        if faults:
            teacher, writer = RunningTeacher(job), CacheWriter(job.folder, job.bytes)
            try:
                for index in faults:
                    writer.put(entries_of(job, teacher, index))
            finally:
                writer.close()
    return list(faults.values())


def _find_faults(cache: CacheReader, source: PairSource) -> dict[int, Fault]:
    """Faults by index. They are looked for in another process, as damage can crash LMDB."""
    indices = range(len(source.keys))
    tasks = [(cache, source, indices[i : i + IMAGES_A_TASK]) for i in indices[::IMAGES_A_TASK]]
    try:
        found = list(map_images(_check, tasks, 1, f"checking {cache.folder.name}", isolated=True))
    except WorkerKilled as error:
        problem = "a process that reads it is killed: data.mdb is damaged beyond single images, or memory has run out"
        raise InputError("--out", str(cache.folder), problem, "Delete the cache and make it again.") from error
    return {index: fault for part in found for index, fault in part}


def _check(task: tuple[CacheReader, PairSource, Sequence[int]]) -> list[tuple[int, Fault]]:
    cache, source, indices = task
    return [(index, fault) for index in indices if (fault := fault_of(cache, source, index)) is not None]
