"""MATLAB's ``imresize(image, factor, 'bicubic')`` for uint8 images and integer factors, bit for bit.

The field's LR images, and the bicubic rows of its tables, were made with MATLAB. What it does to a uint8 image
(``imresize.m``; https://www.mathworks.com/help/images/ref/imresize.html):

- Keys' cubic kernel with a = -0.5, four samples wide; for reduction stretched by the factor (antialiasing);
- output sample ``x`` (from 1) lies at ``u = x / scale + (1 - 1 / scale) / 2`` of the input;
- the border is mirrored, with the border sample repeated;
- rows are resized first, then columns, and **each of the two passes is rounded (half up) and clipped to uint8**.

BasicSR's ``imresize`` rounds once, at the end, and so differs from MATLAB by 1 in many samples.

Sums run in the order of the taps in float64. Where float32 is exact (x2 and x4: all weights are multiples of 2**-12)
it gives the same sums, and is used. At x3 sums that lie exactly between two integers depend on the order of summation;
MATLAB's own is not published, so that bit-exactness at x3 is with this order.
"""

from __future__ import annotations

import functools
import math
from typing import Any, NamedTuple

import cv2
import numpy as np

KERNEL_WIDTH = 4
BLOCK_BYTES = 1 << 18
"""Rows are worked on in blocks of about this size, which stay in the processor's cache."""
FLOAT32_STEP = 2.0**-12
"""Sums of 8-bit samples times weights that are multiples of this, and sum to 1, are exact in float32."""


class ResizeTaps(NamedTuple):
    """Which input samples make an output sample."""

    indices: np.ndarray
    """``(length_out, taps)``, int64: input samples."""
    weights: np.ndarray
    """``(length_out, taps)``, float64: each row sums to 1."""


def downscale(image: np.ndarray, scale: int) -> np.ndarray:
    """Reduce an image as MATLAB's ``imresize(image, 1/scale, 'bicubic')``.

    Args:
        image: ``(h, w)`` or ``(h, w, c)``, uint8.
        scale: Integer factor, at least 1.

    Returns:
        ``(ceil(h / scale), ceil(w / scale)[, c])``, uint8, C-contiguous.

    Raises:
        ValueError: The image is not uint8, empty, or of other dimensions; or scale is not a positive integer.
    """
    _check(image, scale)
    h, w = (math.ceil(side / scale) for side in image.shape[:2])
    return _resize(image, h, w, 1 / scale)


def upscale(image: np.ndarray, scale: int) -> np.ndarray:
    """Enlarge an image as MATLAB's ``imresize(image, scale, 'bicubic')``: the bicubic baseline of SR tables.

    Args:
        image: ``(h, w)`` or ``(h, w, c)``, uint8.
        scale: Integer factor, at least 1.

    Returns:
        ``(h * scale, w * scale[, c])``, uint8, C-contiguous.

    Raises:
        ValueError: See :func:`downscale`.
    """
    _check(image, scale)
    h, w = image.shape[:2]
    return _resize(image, h * scale, w * scale, float(scale))


def _check(image: np.ndarray, scale: int) -> None:
    if image.dtype != np.uint8 or image.ndim not in (2, 3) or image.size == 0:
        raise ValueError(f"a uint8 image (h, w) or (h, w, c) is expected, not {image.dtype} of shape {image.shape}")
    if not isinstance(scale, (int, np.integer)) or scale < 1:
        raise ValueError(f"scale = {scale!r}: a positive integer is expected")


def _resize(image: np.ndarray, h: int, w: int, scale: float) -> np.ndarray:
    rows = _resize_rows(image.reshape(image.shape[0], -1), compute_taps(image.shape[0], h, scale))
    columns = _swap(rows.reshape(h, image.shape[1], -1))
    resized = _resize_rows(columns.reshape(image.shape[1], -1), compute_taps(image.shape[1], w, scale))
    return _swap(resized.reshape(w, h, -1)).reshape(h, w, *image.shape[2:])


def _swap(image: np.ndarray) -> np.ndarray:
    """Exchange rows and columns, in memory too: a pass over rows is fast."""
    if image.shape[2] in (1, 3, 4):
        return cv2.transpose(image)
    return np.ascontiguousarray(image.swapaxes(0, 1))


@functools.lru_cache(maxsize=64)
def compute_taps(length_in: int, length_out: int, scale: float) -> ResizeTaps:
    """Indices and weights along one side, as MATLAB's ``contributions``.

    Args:
        length_in: Input samples.
        length_out: Output samples.
        scale: Output samples per input sample.
    """
    stretch = max(1 / scale, 1.0)  # antialiasing: the kernel is widened for reduction only
    width = KERNEL_WIDTH * stretch
    u = np.arange(1, length_out + 1) / scale + 0.5 * (1 - 1 / scale)
    left = np.floor(u - width / 2)
    positions = left[:, None] + np.arange(math.ceil(width) + 2)
    weights = _cubic((u[:, None] - positions) / stretch) / stretch
    weights /= weights.sum(axis=1, keepdims=True)
    mirrored = np.r_[np.arange(length_in), np.arange(length_in)[::-1]]
    indices = mirrored[(positions.astype(np.int64) - 1) % (2 * length_in)]
    used = weights.any(axis=0)
    return ResizeTaps(indices[:, used], weights[:, used])


def _cubic(x: np.ndarray) -> np.ndarray:
    """Keys' kernel with a = -0.5."""
    x = np.abs(x)
    near = 1.5 * x**3 - 2.5 * x**2 + 1
    far = -0.5 * x**3 + 2.5 * x**2 - 4 * x + 2
    return np.where(x <= 1, near, np.where(x <= 2, far, 0.0))


def _resize_rows(rows: np.ndarray, taps: ResizeTaps) -> np.ndarray:
    """Resize ``(n, m)`` uint8 to ``(length_out, m)`` uint8."""
    exact = bool(np.all(taps.weights % FLOAT32_STEP == 0))
    dtype: Any = np.float32 if exact else np.float64
    weights = taps.weights.astype(dtype)
    out = np.empty((len(weights), rows.shape[1]), np.uint8)
    step = max(1, BLOCK_BYTES // (rows.shape[1] * weights.itemsize))
    for start in range(0, len(out), step):
        block = slice(start, start + step)
        total = np.zeros(out[block].shape, dtype)
        for tap in range(weights.shape[1]):
            total += rows[taps.indices[block, tap]] * weights[block, tap, None]
        np.clip(np.floor(total + 0.5, out=total), 0, 255, out=total)
        out[block] = total
    return out
