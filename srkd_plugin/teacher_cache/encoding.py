"""How a teacher cache keeps the values of an image: exactly known mappings between float32 and what is on disk.

uint16   x = q / 32768 - 0.5: -0.5 up to 1.5, in steps of 3.1e-5; 0 and 1 are exact. The default.
float16  IEEE half precision: any range; steps of 4.9e-4 just below 1
uint8    x = q / 255: what an 8-bit PNG of the image would keep; overshoot is lost
"""

from __future__ import annotations

from typing import Literal, NamedTuple

import numpy as np

StorageName = Literal["uint16", "float16", "uint8"]
DTYPES: dict[str, np.dtype] = {"uint16": np.dtype("<u2"), "float16": np.dtype("<f2"), "uint8": np.dtype("u1")}
LOW, HIGH, STEPS = -0.5, 1.5, 32768.0
"""Ends of what uint16 holds (the last step excluded), and its steps a unit."""
MOST_OUTSIDE = 1e-3
"""Fraction of an image outside of LOW..HIGH beyond which its values are not an image in 0..1."""


class Encoded(NamedTuple):
    """An image as it is stored."""

    values: np.ndarray
    clipped: int
    """How many values were outside of what the storage holds, and are kept as its nearest end."""


def encode(image: np.ndarray, storage: str) -> Encoded:
    """Convert float32 in about 0..1 to what is stored.

    Args:
        image: float32 of any shape.
        storage: ``uint16``, ``float16`` or ``uint8``.

    Raises:
        ValueError: A value is NaN or infinite; or, with integers, more than one in a thousand is outside -0.5..1.5.
    """
    if not np.isfinite(image).all():
        raise ValueError("it has values that are NaN or infinite")
    if storage == "float16":
        values = image.astype(DTYPES[storage])
        if not np.isfinite(values).all():
            raise ValueError("it has values beyond 65504, which float16 cannot hold")
        return Encoded(values, 0)
    outside = np.count_nonzero((image < LOW) | (image > HIGH))
    if outside > MOST_OUTSIDE * image.size:
        raise ValueError(
            f"{outside / image.size:.2%} of its values are outside {LOW}..{HIGH} (they are {image.min():.3g} to "
            f"{image.max():.3g}): the teacher's output is not in 0..1, or float16 is needed"
        )
    scaled = (image - np.float32(LOW)) * np.float32(STEPS) if storage == "uint16" else image * np.float32(255)
    rounded, top = np.rint(scaled), np.iinfo(DTYPES[storage]).max
    clipped = np.count_nonzero((rounded < 0) | (rounded > top))
    return Encoded(np.clip(rounded, 0, top).astype(DTYPES[storage]), int(clipped))


def decode(values: np.ndarray, storage: str) -> np.ndarray:
    """Convert what is stored to float32; with ``uint16`` and ``float16`` without any rounding."""
    image = values.astype(np.float32)
    if storage == "uint16":
        image /= np.float32(STEPS)
        image += np.float32(LOW)
    elif storage == "uint8":
        image /= np.float32(255)
    return image
