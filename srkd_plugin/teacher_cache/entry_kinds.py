"""What a cache stores of an image: which kinds of arrays, of what size and type, and from which pixels each is made."""

from __future__ import annotations

import zlib

import numpy as np

from srkd_plugin.images.sizes import Size
from srkd_plugin.teacher_cache.encoding import DTYPES
from srkd_plugin.teacher_cache.info import CacheInfo, Making, Zoom

TEACHER, HR, LR = "teacher", "hr", "lr"
ZOOM_IN_TEACHER = "zoom_in_teacher"
"""The teacher's image of HR."""
ZOOM_OUT_LQ, ZOOM_OUT_TEACHER = "zoom_out_lq", "zoom_out_teacher"
"""LR shrunk by the scale, and the teacher's image of it."""
KINDS = (TEACHER, HR, LR, ZOOM_IN_TEACHER, ZOOM_OUT_LQ, ZOOM_OUT_TEACHER)
OF_TEACHER = (TEACHER, ZOOM_IN_TEACHER, ZOOM_OUT_TEACHER)
"""Those that are in the cache's storage; the others are uint8 as they were decoded."""


def kinds_of(info: CacheInfo, key: str) -> tuple[str, ...]:
    """What is stored of an image; nothing of those that a cache of HR leaves out.

    Args:
        info: What the cache is.
        key: The image's.
    """
    if info.zoom is None:
        return (TEACHER, HR, LR) if info.making.with_images else (TEACHER,)
    if info.zoom.kind == "zoom_out":
        return ZOOM_OUT_LQ, ZOOM_OUT_TEACHER
    return (ZOOM_IN_TEACHER,) if is_taken(info.zoom, key) else ()


def is_taken(zoom: Zoom, key: str) -> bool:
    """Whether an image is one of those that are stored: by its key alone, so that others and shards may come and go."""
    return zlib.crc32(key.encode()) % zoom.every == 0


def made_from(kind: str) -> str:
    """``hr`` or ``lr``: the image whose pixels an array is made from."""
    return HR if kind in (HR, ZOOM_IN_TEACHER) else LR


def dtype_of(kind: str, making: Making) -> np.dtype:
    """The type in which arrays of a kind are stored."""
    return DTYPES[making.storage] if kind in OF_TEACHER else np.dtype("u1")


def size_of(kind: str, hr: Size, scale: int) -> Size:
    """Height and width of an array.

    Args:
        kind: Which.
        hr: Height and width of HR, ``scale`` times those of LR.
        scale: SR factor.
    """
    h, w = hr
    area = scale * scale
    sizes = {
        LR: (h // scale, w // scale),
        ZOOM_IN_TEACHER: (h * scale, w * scale),
        ZOOM_OUT_LQ: (h // area, w // area),
        ZOOM_OUT_TEACHER: (h // area * scale, w // area * scale),
    }
    return sizes.get(kind, hr)
