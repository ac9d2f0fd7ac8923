"""How far a finished cache is from the live teacher, measured on a few images."""

from __future__ import annotations

import math
from typing import Callable

import numpy as np

from srkd_plugin.teacher_cache.encoding import decode, encode
from srkd_plugin.teacher_cache.store import TEACHER, CacheReader

IMAGES = 4
LEAST_MSE = 1e-20
"""Equal images are given as 200 dB."""

Run = Callable[[np.ndarray], np.ndarray]
"""From an LR image ``(h, w, 3)`` BGR uint8 to the teacher's, ``(H, W, C)`` float32."""


def measure(
    cache: CacheReader,
    keys: list[str],
    read_lr: Callable[[int], np.ndarray],
    run_as_cached: Run,
    run_live: Run,
    crop: int,
    scale: int,
) -> dict[str, float]:
    """PSNR in dB (peak 1, all channels, mean squared error over the images together).

    Args:
        cache: Complete.
        keys: Of all images.
        read_lr: From an index to the LR image.
        run_as_cached: The teacher over a whole image, as the cache was made.
        run_live: The teacher in one pass, as a run without a cache calls it on a crop.
        crop: Side of the training crops in HR pixels.
        scale: Of the teacher.

    Returns:
        By title: the stored image against the same computed again, what 8 bits would give there, and the crops from
        the middle of the stored images against the live teacher's output for the same LR crops: in full, and without
        a border of a quarter of the crop, as the live teacher does not see what is beyond the border.
    """
    errors: dict[str, list[np.ndarray]] = {}
    by_name = sorted(range(len(keys)), key=keys.__getitem__)  # a folder has no order of its own
    for index in dict.fromkeys(by_name[i * (len(keys) - 1) // (IMAGES - 1)] for i in range(IMAGES)):
        lr = read_lr(index)
        with cache.views() as view:
            stored = decode(view(TEACHER, keys[index]), cache.info.making.storage)
        again = run_as_cached(lr)
        _add(errors, f"stored as {cache.info.making.storage}, against computed again", stored - again)
        _add(errors, "8 bits instead", decode(encode(again, "uint8").values, "uint8") - again)
        for title, difference in _crop_errors(stored, lr, run_live, crop, scale):
            _add(errors, title, difference)
    return {title: _psnr(parts) for title, parts in errors.items()}


def _crop_errors(
    stored: np.ndarray, lr: np.ndarray, run_live: Run, crop: int, scale: int
) -> list[tuple[str, np.ndarray]]:
    side = min(crop // scale, *lr.shape[:2])
    top, left = ((length - side) // 2 for length in lr.shape[:2])
    live = run_live(lr[top : top + side, left : left + side])
    size, border = side * scale, side * scale // 4
    cached = stored[top * scale :, left * scale :][:size, :size]
    inner = slice(border, size - border)
    return [
        (f"crops of {size}, against live", cached - live),
        (f"their inner {size - 2 * border}, against live", (cached - live)[inner, inner]),
    ]


def _add(errors: dict[str, list[np.ndarray]], title: str, difference: np.ndarray) -> None:
    errors.setdefault(title, []).append(np.square(difference, dtype=np.float64).ravel())


def _psnr(squares: list[np.ndarray]) -> float:
    return -10 * math.log10(max(float(np.concatenate(squares).mean()), LEAST_MSE))
