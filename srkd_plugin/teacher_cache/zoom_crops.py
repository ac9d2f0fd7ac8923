"""Crops of a cache's teacher images for the inputs that ``train.samples`` adds to a batch."""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from srkd_plugin.images.decode import ImageFault
from srkd_plugin.images.sizes import Size
from srkd_plugin.teacher_cache.entry_kinds import is_taken
from srkd_plugin.teacher_cache.info import Zoom


class CropPlace(NamedTuple):
    """Where a square training crop lies in an LR image, in LR pixels."""

    top: int
    left: int
    side: int

    def inside(self, lr: Size) -> CropPlace:
        """The same crop, moved as little as it takes to lie in another LR image of this size."""
        h, w = lr
        return self._replace(top=min(self.top, h - self.side), left=min(self.left, w - self.side))

    def shrunk(self, scale: int) -> CropPlace:
        """The crop in the LR image shrunk by the scale, in whole pixels: it begins up to ``scale - 1`` earlier."""
        return CropPlace(self.top // scale, self.left // scale, self.side // scale)

    def enlarged(self, scale: int) -> CropPlace:
        """The crop in the image ``scale`` times as large."""
        return CropPlace(*(scale * value for value in self))

    def cut(self, image: np.ndarray) -> np.ndarray:
        """A view of the crop in an image ``(h, w, c)``.

        Raises:
            ImageFault: It is not inside.
        """
        crop = image[self.top : self.top + self.side, self.left : self.left + self.side]
        if min(self.top, self.left) < 0 or crop.shape[:2] != (self.side, self.side):
            raise ImageFault(f"it is {image.shape[:2]}, too small for a crop of {self.side} at {self[:2]}")
        return crop


class ZoomInImages:
    """Which image's HR an item takes its zoomed-in inputs from: its own, or one for it where not every one is stored.

    Args:
        zoom: What the cache of HR is.
        keys: Those of all images, in the data set's order.
    """

    def __init__(self, zoom: Zoom, keys: Sequence[str]) -> None:
        self._keys = keys
        taken = (index for index, key in enumerate(keys) if is_taken(zoom, key))
        self._by_name = sorted(taken, key=keys.__getitem__)
        self._taken = set(self._by_name)

    @property
    def are_all(self) -> bool:
        """Whether each item takes its own."""
        return len(self._taken) == len(self._keys)

    def of(self, index: int) -> int:
        """The image for an item: always the same, whatever the order of the data set."""
        if index in self._taken:
            return index
        return self._by_name[zlib.crc32(self._keys[index].encode()) % len(self._by_name)]
