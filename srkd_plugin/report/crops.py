"""Enlarged crops of test images, chosen by the largest difference of two systems, as pictures inside a page."""

from __future__ import annotations

import base64
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Callable, Optional

import cv2
import numpy as np

from srkd_plugin.errors import InputError
from srkd_plugin.images.decode import encode_png

SIDES = (96, 72, 48)
"""Sides of a crop in HR pixels: the first with which the pictures fit."""
BEST, WORST = 2, 1
"""Crops of a set where the one system gains the most, and where it loses the most."""
AROUND = 700
"""Bytes of the page that describe a picture."""
HR = "HR (original)"
"""Key of the images that all others are measured against."""

Read = Callable[[str], np.ndarray]
"""The image of a name, BGR uint8 HWC."""


@dataclass(frozen=True)
class SetImages:
    """Images of a test set, read when they are needed: HR's, and each system's by its key."""

    name: str
    names: Sequence[str]
    hr: Read
    systems: Mapping[str, Read]


@dataclass(frozen=True)
class Picture:
    """A system's crop: a data URI, and its PSNR in dB over the crop's three channels; None for HR."""

    system: str
    uri: str
    psnr: Optional[float]


@dataclass(frozen=True)
class Crop:
    """A place of an image, and what each system has there.

    Attributes:
        left: Column of its first pixel, in HR pixels.
        top: Row of its first pixel.
        gain: How much lower the squared error of the one system is there than that of the other, as a share of it;
            minus infinity if the other is exactly HR there, and None if both are.
    """

    set: str
    image: str
    left: int
    top: int
    width: int
    height: int
    gain: Optional[float]
    pictures: Sequence[Picture]

    def compared(self, ours: str, theirs: str) -> str:
        """Say how the squared errors of two systems compare, by their labels."""
        if self.gain is None:
            return f"{ours} and {theirs} are both exactly HR"
        if math.isinf(self.gain):
            return f"{theirs} is exactly HR, {ours} is not"
        return f"squared error of {ours} {abs(100 * self.gain):.1f} % {'lower' if self.gain >= 0 else 'higher'}"


@dataclass(frozen=True)
class _Place:
    image: str
    top: int
    left: int
    difference: float
    share: Optional[float]


def make_crops(sets: Sequence[SetImages], ours: str, theirs: str, limit: int) -> list[Crop]:
    """Choose crops and make their pictures.

    Each is the place, on a grid of half crops, where the sums of squared errors of two systems differ the most: of each
    set the :data:`BEST` images in which the one gains the most, and the :data:`WORST` in which it loses the most.

    Args:
        sets: The sets; all have the two systems.
        ours: Key of the one system.
        theirs: Key of the other one.
        limit: Bytes that the pictures may take together. Smaller crops are made, and fewer, if they would take more.

    Raises:
        InputError: A system's image is not as large as HR's.
    """
    crops: list[Crop] = []
    if limit <= 0:
        return crops  # no image is read for nothing
    for side in SIDES:
        crops = [_crop(one, place, side) for one in sets for place in _places(one, ours, theirs, side)]
        if _size(crops) <= limit:
            return crops
    while crops and _size(crops) > limit:
        crops.pop()
    return crops


def _size(crops: Sequence[Crop]) -> int:
    return sum(len(picture.uri) + AROUND for crop in crops for picture in crop.pictures)


def _places(images: SetImages, ours: str, theirs: str, side: int) -> list[_Place]:
    best: list[_Place] = []
    worst: list[_Place] = []
    for name in images.names:
        hr = images.hr(name)
        errors = [_squared_error(_made(images, key, name, hr), hr) for key in (theirs, ours)]
        sums = [_sums(error, side) for error in errors]
        difference = sums[0] - sums[1]
        for found, index in ((best, difference.argmax()), (worst, difference.argmin())):
            row, column = np.unravel_index(index, difference.shape)
            value, before = float(difference[row, column]), float(sums[0][row, column])
            step = side // 2
            found.append(_Place(name, int(row) * step, int(column) * step, value, _share(value, before)))
    best.sort(key=lambda place: -place.difference)
    worst.sort(key=lambda place: place.difference)
    return list(dict.fromkeys([*best[:BEST], *worst[:WORST]]))


def _share(difference: float, before: float) -> Optional[float]:
    """See :attr:`Crop.gain`; no share of nothing is known."""
    if before:
        return difference / before
    return -math.inf if difference else None


def _made(images: SetImages, system: str, name: str, hr: np.ndarray) -> np.ndarray:
    """What a system made of an image; it can have been replaced since it was measured."""
    made = images.systems[system](name)
    if made.shape != hr.shape:
        problem = (
            f"{system} has it with {made.shape[1]} x {made.shape[0]} pixels, and HR with {hr.shape[1]} x {hr.shape[0]}"
        )
        raise InputError("image", f"{images.name}, {name}", problem, "Test that run again.")
    return made


def _squared_error(made: np.ndarray, hr: np.ndarray) -> np.ndarray:
    return np.square(made.astype(np.float64) - hr).sum(axis=2)


def _sums(error: np.ndarray, side: int) -> np.ndarray:
    """Sums over the crops of a grid of half crops; an image smaller than a crop is one crop."""
    total = cv2.integral(error)
    tops, lefts = (np.arange(0, max(length - side, 0) + 1, side // 2) for length in error.shape)
    bottoms, rights = np.minimum(tops + side, error.shape[0]), np.minimum(lefts + side, error.shape[1])
    corners = total[np.ix_(bottoms, rights)] - total[np.ix_(tops, rights)] - total[np.ix_(bottoms, lefts)]
    return corners + total[np.ix_(tops, lefts)]


def _crop(images: SetImages, place: _Place, side: int) -> Crop:
    cut = (slice(place.top, place.top + side), slice(place.left, place.left + side))
    whole = images.hr(place.image)
    hr = whole[cut]
    pictures = [Picture(HR, _uri(hr), None)]
    for system in images.systems:
        made = _made(images, system, place.image, whole)[cut]
        error = float(_squared_error(made, hr).mean()) / 3
        pictures.append(Picture(system, _uri(made), 10 * math.log10(255**2 / error) if error else math.inf))
    height, width = hr.shape[:2]
    return Crop(images.name, place.image, place.left, place.top, width, height, place.share, pictures)


def _uri(image: np.ndarray) -> str:
    return f"data:image/png;base64,{base64.b64encode(encode_png(np.ascontiguousarray(image), 9)).decode()}"
