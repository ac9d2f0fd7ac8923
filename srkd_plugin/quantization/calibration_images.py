"""LQ crops that an int8 network is calibrated on: of training images, and of no benchmark's."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from basicsr.data.paired_image_dataset import bgr2ycbcr
from torch import Tensor

from srkd_plugin.datasets.duplicates import find_near_duplicates
from srkd_plugin.datasets.published_figures import guess_set
from srkd_plugin.errors import InputError
from srkd_plugin.images.decode import ImageFault, decode
from srkd_plugin.images.image_sets import FolderImages, ImageSet, open_images

SIDE = 64
"""Side of the crops in pixels; smaller where an image is."""
SMALLEST = 16
"""Side from which an image is of use."""
FEWEST = 4
"""Crops without which nothing can be held back."""
REMEDY = "Give LR images that the student was trained on, e.g. dataroot_lq of its options."


def read_crops(
    option: str, folder: Path, channels: int, count: int, tested: Sequence[Path] = (), seed: int = 0
) -> Tensor:
    """Cut one square out of each of some images.

    Args:
        option: What names the folder, for errors.
        folder: A folder or an LMDB of LQ images.
        channels: Those of the network: 3, RGB; or 1, the Y that BasicSR trains on with ``color: y``.
        count: How many images; all if there are fewer.
        tested: Folders whose images must not be among them, whole or in another size.
        seed: Of the choice of images and places.

    Returns:
        ``(count, channels, side, side)`` float32 in 0..1.

    Raises:
        InputError: It is a benchmark's, or has images of ``tested``; has too few images, or unreadable or small ones;
            or its images have other channels.
    """
    known = guess_set(folder)
    if known is not None:
        raise InputError(option, str(folder), f"it is named after {known}, on which students are compared", REMEDY)
    if channels not in (1, 3):
        problem = f"the network takes {channels} channels, and the images have 3"
        raise InputError(option, str(folder), problem, "INT8 is for networks of RGB or Y.")
    images = open_images(option, folder)
    rng, keys = np.random.default_rng(seed), images.keys()
    chosen = sorted(rng.choice(len(keys), min(count, len(keys)), replace=False))
    if len(chosen) < FEWEST:
        raise InputError(
            option,
            str(folder),
            f"{len(chosen)} images are too few: at least {FEWEST} are needed, and some are held back",
            REMEDY,
        )
    names = [keys[index] for index in chosen]
    _refuse_tested(option, _Some(images, names), tested)
    read = [_read(option, images, key, channels) for key in names]
    if channels == 3 and all(image.ndim == 2 for image in read):
        raise InputError(option, str(folder), "its images are gray, and the network takes RGB", REMEDY)
    side = min(SIDE, *(min(image.shape[:2]) for image in read))
    crops = [_crop(image, side, rng) for image in read]
    if all(crop.min() == crop.max() for crop in crops):
        raise InputError(
            option, str(folder), "its crops are of one value each: ranges cannot be read from them", REMEDY
        )
    return torch.from_numpy(np.stack(crops)).permute(0, 3, 1, 2).contiguous().float() / 255


class _Some:
    """Some images of a set."""

    def __init__(self, images: ImageSet, keys: list[str]) -> None:
        self.folder, self.read, self._keys = images.folder, images.read, keys

    def keys(self) -> list[str]:
        return self._keys


def _refuse_tested(option: str, images: ImageSet, tested: Sequence[Path]) -> None:
    for folder in tested:
        found = find_near_duplicates([images], FolderImages("--test", folder)).twins
        if found:
            problem = f"it has images that the student is tested on: {found[0]}"
            raise InputError(option, str(images.folder), problem, REMEDY)


def _read(option: str, images: ImageSet, key: str, channels: int) -> np.ndarray:
    """``(h, w)`` gray or ``(h, w, 3)`` RGB, uint8; or ``(h, w, 1)`` Y in 0..255, float32."""
    try:
        image = decode(images.read(key))
    except ImageFault as error:
        raise InputError(option, f"{images.folder}/{key}", str(error), "Remove it, or make it again.") from error
    if min(image.shape[:2]) < SMALLEST:
        problem = f"it is {image.shape[0]}x{image.shape[1]}, and calibration needs {SMALLEST}x{SMALLEST}"
        raise InputError(option, f"{images.folder}/{key}", problem, "Leave it out.")
    if channels == 3:
        return image if image.ndim == 2 else image[..., ::-1]
    colour = np.repeat(image[..., None], 3, axis=2) if image.ndim == 2 else image
    return bgr2ycbcr(colour.astype(np.float32) / 255, y_only=True)[..., None] * 255


def _crop(image: np.ndarray, side: int, rng: np.random.Generator) -> np.ndarray:
    top, left = (int(rng.integers(length - side + 1)) for length in image.shape[:2])
    crop = image[top : top + side, left : left + side]
    return np.repeat(crop[..., None], 3, axis=2) if crop.ndim == 2 else crop
