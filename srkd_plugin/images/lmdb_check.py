"""Checks that an LMDB is whole: the keys that it states, and an undamaged PNG of the stated size under each."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from srkd_plugin.errors import InputError
from srkd_plugin.images.decode import Fault, ImageFault, check_png, png_shape
from srkd_plugin.images.lmdb_store import META_INFO, LmdbImages
from srkd_plugin.images.worker_pool import WorkerKilled, map_images

KEYS_A_TASK = 64
KEYS_TO_NAME = 3
"""How many keys of a difference are named."""


def find_lmdb_faults(option: str, folder: Path, workers: int) -> list[Fault]:
    """Read a whole LMDB and say what is wrong with it. It is read in other processes, as damage can crash LMDB.

    Args:
        option: How the user named the LMDB, for errors.
        folder: The LMDB.
        workers: Processes that read.

    Raises:
        InputError: It cannot be opened, or it is damaged so that reading it crashes.
    """
    images = LmdbImages(option, folder)
    stated = list(images.shapes)
    tasks = [(images, stated[start : start + KEYS_A_TASK]) for start in range(0, len(stated), KEYS_A_TASK)]
    try:
        (stored,) = map_images(_stored_keys, [images], 1, f"keys of {folder.name}", isolated=True)
        faults = compare_keys(META_INFO, stated, "data.mdb", stored)
        for found in map_images(_check_entries, tasks, workers, f"checking {folder.name}", isolated=True):
            faults += found
    except WorkerKilled as error:
        problem = "reading it crashes LMDB: data.mdb is damaged"
        raise InputError(option, str(folder), problem, "Make or copy the LMDB again.") from error
    return faults


def compare_keys(title: str, keys: Sequence[str], other_title: str, other_keys: Sequence[str]) -> list[Fault]:
    """What two lists of keys do not have in common, each side in one fault."""
    faults = []
    for here, there, missing in (
        (title, other_title, sorted(set(other_keys) - set(keys))),
        (other_title, title, sorted(set(keys) - set(other_keys))),
    ):
        if missing:
            more = f" and {len(missing) - KEYS_TO_NAME} more" if len(missing) > KEYS_TO_NAME else ""
            faults.append(Fault(here, f"lacks {', '.join(missing[:KEYS_TO_NAME])}{more}, which {there} has"))
    return faults


def _stored_keys(images: LmdbImages) -> list[str]:
    return images.keys()


def _check_entries(task: tuple[LmdbImages, list[str]]) -> list[Fault]:
    images, keys = task
    faults = []
    for key in keys:
        try:
            png = images.read(key)
            check_png(png)
            if png_shape(png) != images.shapes[key]:
                raise ImageFault(f"it is {png_shape(png)}, where {META_INFO} says {images.shapes[key]}")
        except ImageFault as fault:
            faults.append(Fault(key, str(fault)))
    return faults
