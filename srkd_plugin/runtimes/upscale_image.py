"""One image file through a model: gray, alpha and 16 bits, band by band."""

from __future__ import annotations

from typing import Callable

import cv2
import numpy as np

from srkd_plugin.errors import InputError
from srkd_plugin.images.decode import ImageFault
from srkd_plugin.images.image_file import ImageFile, check_fits
from srkd_plugin.networks.tiling import OUT_OF_MEMORY
from srkd_plugin.runtimes.tiles import Read, Tiles


def upscale_image(tiles: Tiles, image: ImageFile, kind: str, done: Callable[[], object] = lambda: None) -> ImageFile:
    """Upscale an image and what belongs to it.

    Colours go through the model as BasicSR's tests have it: in 0..1, clipped and rounded to the nearest. Gray goes
    through a model for RGB as three equal channels, and the mean of its outputs is gray again. Alpha is upscaled
    bicubically. EXIF and colour profile stay.

    Args:
        tiles: The model.
        image: The image.
        kind: The format that it will be written as, which decides on 8 or 16 bits (PNG only).
        done: Called after each tile.

    Raises:
        ImageFault: The model takes gray only, or gives NaN, or cannot run on it; or the format cannot hold the result.
        InputError: The memory is too small.
    """
    (h, w), scale = image.colour.shape[:2], tiles.scale
    is_gray = image.colour.ndim == 2
    if tiles.channels == 1 and not is_gray:
        raise ImageFault("it is in colour, and the model takes gray images")
    check_fits(kind, (h * scale, w * scale), image.alpha is not None)
    dtype = image.colour.dtype if kind == "PNG" else np.dtype(np.uint8)
    colour = np.empty((h * scale, w * scale, *image.colour.shape[2:]), dtype)
    try:
        for band in tiles.bands(h, w, _reading(image.colour, tiles.channels), done):
            sr = band.pixels[0].mean(axis=0) if is_gray else band.pixels[0].transpose(1, 2, 0)
            if not np.isfinite(sr).all():
                raise ImageFault("the model gives NaN or infinity for it")
            colour[band.rows] = _rounded(sr, dtype)
    except (OUT_OF_MEMORY, MemoryError) as error:
        seen = tiles.tile or max(h, w)
        problem = f"the memory is too small for {seen}x{seen} pixels at once"
        raise InputError("--tile", tiles.tile, problem, f"Write e.g. --tile {max(1, seen // 2)}.") from error
    except (ImageFault, InputError):
        raise
    except Exception as error:  # whatever a runtime makes of an image that the network cannot take
        raise ImageFault(f"the model cannot run on it ({' '.join(str(error).split())[:200]})") from error
    alpha = None
    if image.alpha is not None:
        alpha = cv2.resize(_rounded(_unit(image.alpha), dtype), (w * scale, h * scale), interpolation=cv2.INTER_CUBIC)
    return ImageFile(colour, alpha, image.exif, image.icc)


def _reading(colour: np.ndarray, channels: int) -> Read:
    """Gives parts of an image as a model of this many channels takes them."""

    def read(rows: slice, columns: slice) -> np.ndarray:
        part = _unit(colour[rows, columns])
        return (np.repeat(part[None], channels, axis=0) if part.ndim == 2 else part.transpose(2, 0, 1))[None]

    return read


def _unit(pixels: np.ndarray) -> np.ndarray:
    """Pixels of 8 or 16 bits as float32 in 0..1."""
    return pixels.astype(np.float32) / np.float32(np.iinfo(pixels.dtype).max)


def _rounded(values: np.ndarray, dtype: np.dtype) -> np.ndarray:
    """Values around 0..1 as pixels of 8 or 16 bits; what is exactly between two becomes the even one."""
    return np.rint(values.clip(0, 1) * np.float32(np.iinfo(dtype).max)).astype(dtype)
