"""Entries of a cache that are not of the images that are there any more, or damaged."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Optional

from srkd_plugin.images import changes
from srkd_plugin.images.changes import Changes
from srkd_plugin.images.decode import Fault, ImageFault
from srkd_plugin.images.worker_pool import map_images
from srkd_plugin.teacher_cache.entry_kinds import KINDS, kinds_of, made_from
from srkd_plugin.teacher_cache.source_pairs import PairSource
from srkd_plugin.teacher_cache.store import CacheReader, fingerprint


def fault_of(cache: CacheReader, source: PairSource, index: int) -> Optional[Fault]:
    """What is wrong with an image's entries: a checksum, or that they are of other pixels; None if nothing is.

    Raises:
        InputError: The image is damaged or not there.
    """
    key = source.keys[index]
    kinds = kinds_of(cache.info, key)
    pixels = {side: fingerprint(source.read(side, index)) for side in {made_from(kind) for kind in kinds}}
    for kind in kinds:
        try:
            if cache.check(kind, key) != pixels[made_from(kind)]:
                return Fault(key, f"{kind} was made from another image of its name and size")
        except ImageFault as fault:
            return Fault(key, f"{kind}: {fault}")
    return None


def compare_entries(folder: Path, source: PairSource, finished: bool) -> Changes:
    """Compare all entries of a cache with the images that are there.

    Args:
        folder: The cache; not open in this process.
        source: The images.
        finished: Whether the cache was complete: only then what it lacks is new.

    Raises:
        InputError: An image that it has is damaged now.
    """
    cache = CacheReader("--out", folder)
    stored = cache.keys(*KINDS)
    wanted = [key for key in source.keys if kinds_of(cache.info, key)]
    indices = [index for index, key in enumerate(source.keys) if key in stored]
    faults = map_images(partial(fault_of, cache, source), indices, 1, "comparing images")
    changed = [fault.name for fault in faults if fault is not None]
    cache.close()
    return changes.compare(sorted(stored), wanted, changed, finished)
