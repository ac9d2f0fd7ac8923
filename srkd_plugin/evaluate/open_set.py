"""A test set whose images are read one by one, by the names that BasicSR gives results."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np

from srkd_plugin.errors import InputError
from srkd_plugin.images.decode import ImageFault, decode_bgr
from srkd_plugin.images.find_pairs import find_pairs
from srkd_plugin.images.listing import say
from srkd_plugin.images.matlab_resize import upscale
from srkd_plugin.images.pairs import GT, LQ, ImagePairs

OPTIONS = {GT: "--gt", LQ: "--lq"}


class OpenSet:
    """HR and LR images of a test set.

    Args:
        hr_folder: HR images, a folder or an LMDB.
        lq_folder: LR images of the same names.
        scale: SR factor.

    Raises:
        InputError: The images are not pairs, or two have one name.
    """

    def __init__(self, hr_folder: Path, lq_folder: Path, scale: int) -> None:
        self._pairs = find_pairs(OPTIONS, {GT: hr_folder, LQ: lq_folder})
        self._scale = scale
        say(self._pairs.left_out)
        self._indices = _indices_by_name(self._pairs)

    @property
    def names(self) -> list[str]:
        """The images, those of LQ without extensions, sorted."""
        return list(self._indices)

    def lq(self, name: str) -> np.ndarray:
        """An LR image, BGR uint8 HWC."""
        return _read(self._pairs, LQ, self._indices[name])

    def hr(self, name: str, lq: np.ndarray) -> np.ndarray:
        """The HR image of an LR image, without what is over a multiple of the scale; BGR uint8 HWC."""
        hr = _read(self._pairs, GT, self._indices[name])
        return hr[: lq.shape[0] * self._scale, : lq.shape[1] * self._scale]

    def bicubic(self, lq: np.ndarray) -> np.ndarray:
        """An LR image enlarged by bicubic interpolation, BGR uint8 HWC."""
        return upscale(lq, self._scale)


def _indices_by_name(pairs: ImagePairs) -> dict[str, int]:
    """Indices by the name that BasicSR gives results: that of LQ without its extension; sorted."""
    indices: dict[str, int] = {}
    for index, pair in enumerate(pairs.pairs):
        name = os.path.splitext(os.path.basename(pair.lq))[0]
        if name in indices:
            problem = f"{pairs.name(indices[name])} and {pairs.name(index)} would have results of one name"
            raise InputError(OPTIONS[GT], str(pairs.folders[GT]), problem, "Rename or remove one of them.")
        indices[name] = index
    return dict(sorted(indices.items()))


def _read(pairs: ImagePairs, side: str, index: int) -> np.ndarray:
    try:
        return decode_bgr(pairs.read(side, index))
    except ImageFault as fault:
        remedy = "Download or convert it again."
        raise InputError(OPTIONS[side], pairs.path(side, index), str(fault), remedy) from fault
