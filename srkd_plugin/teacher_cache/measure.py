"""How far a finished cache is from the live teacher, measured on a few images."""

from __future__ import annotations

import math
from typing import Callable

import numpy as np

from srkd_plugin.errors import InputError
from srkd_plugin.teacher_cache.encoding import decode, encode
from srkd_plugin.teacher_cache.entry_kinds import TEACHER
from srkd_plugin.teacher_cache.store import CacheReader

IMAGES = 4
STEPS = {"fp32": 2.0**-11, "fp16": 2.0**-11, "bf16": 2.0**-8}
"""Relative step of the numbers that a teacher computes with, by ``teacher.precision``: on GPUs, fp32 may be TF32."""
MARGIN = 25.0
"""dB that rounding in many layers, and on another kind of GPU, may cost. Another image's target is about 20 dB away."""
LEAST_MSE = 1e-20
"""Equal images are given as 200 dB."""

Run = Callable[[np.ndarray], np.ndarray]
"""Function from an LR image ``(h, w, 3)`` BGR uint8 to the teacher's, ``(H, W, C)`` float32."""


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
        keys: Keys of all images.
        read_lr: Gives the LR image of an index.
        run_as_cached: The teacher over a whole image, as the cache was made.
        run_live: The teacher in one pass, as a run without a cache calls it on a crop.
        crop: Side of the training crops in HR pixels.
        scale: SR factor of the teacher.

    Returns:
        By title: the stored image against the same computed again, what 8 bits would give there, and the crops from
        the middle of the stored images against the live teacher's output for the same LR crops: in full, and without
        a border of a quarter of the crop, as the live teacher does not see what is beyond the border.

    Raises:
        InputError: A stored image is far from the same computed again: it is the target of something else.
    """
    errors: dict[str, list[np.ndarray]] = {}
    by_name = sorted(range(len(keys)), key=keys.__getitem__)  # a folder has no order of its own
    for index in dict.fromkeys(by_name[i * (len(keys) - 1) // (IMAGES - 1)] for i in range(IMAGES)):
        lr = read_lr(index)
        with cache.views() as view:
            stored = decode(view(TEACHER, keys[index]), cache.info.making.storage)
        again = run_as_cached(lr)
        _refuse_another_image(cache, keys[index], stored, again)
        _add(errors, f"stored as {cache.info.making.storage}, against computed again", stored - again)
        _add(errors, "8 bits instead", decode(encode(again, "uint8").values, "uint8") - again)
        for title, difference in _crop_errors(stored, lr, run_live, crop, scale):
            _add(errors, title, difference)
    return {title: _psnr(parts) for title, parts in errors.items()}


def _refuse_another_image(cache: CacheReader, key: str, stored: np.ndarray, again: np.ndarray) -> None:
    """Compare a stored image with what would be stored of the same computed again, which rounding alone may change."""
    storage, precision = cache.info.making.storage, cache.info.teacher.precision
    expected = decode(encode(again, storage).values, storage)
    peak = max(1.0, float(np.abs(expected).max()))
    psnr = _psnr([np.square((stored - expected) / peak, dtype=np.float64).ravel()])
    least = -20 * math.log10(STEPS[precision] / math.sqrt(12)) - MARGIN
    if psnr < least:
        problem = f"image {key} is stored with {psnr:.1f} dB PSNR against the same computed again, where at least "
        problem += f"{least:.0f} is expected: it is another image's, or the teacher's output changes from run to run"
        raise InputError("--out", str(cache.folder), problem, "Delete that folder and make the cache again.")


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
