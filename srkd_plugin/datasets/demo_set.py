"""The demo's data set: photographs that come inside installed packages, so that nothing is downloaded."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from importlib import resources
from pathlib import Path

import cv2
import numpy as np

from srkd_plugin.datasets.sub_images import starts
from srkd_plugin.images.decode import crop_to_multiple, encode_png
from srkd_plugin.images.lmdb_store import LmdbWriter
from srkd_plugin.images.matlab_resize import downscale
from srkd_plugin.utils.files import UNFINISHED, write_atomically
from srkd_plugin.utils.owner import owned
from srkd_plugin.utils.terminal import progress_bar

TRAIN_PHOTOS = {
    "astronaut": ("skimage", "data/astronaut.png"),
    "rocket": ("skimage", "data/rocket.jpg"),
    "hubble": ("skimage", "data/hubble_deep_field.jpg"),
    "retina": ("skimage", "data/retina.jpg"),
    "china": ("sklearn", "datasets/images/china.jpg"),
    "grace_hopper": ("matplotlib", "mpl-data/sample_data/grace_hopper.jpg"),
}
TEST_PHOTOS = {
    "coffee": ("skimage", "data/coffee.png"),
    "chelsea": ("skimage", "data/chelsea.png"),
    "flower": ("sklearn", "datasets/images/flower.jpg"),
}
SCALE = 2
SUB_SIZE, SUB_STEP = 160, 80
"""Side and step of the training sub-images, in HR pixels."""
COMPRESSION = 1
"""PNG compression level."""
LARGE = 800
"""Shorter side from which on the step is SUB_SIZE: the two largest photographs, a retina and the night sky, are the
smoothest too and would be three quarters of the set."""


def make_demo_data(out: Path) -> list[Path]:
    """Write the demo's data set below ``out``; what is already there is kept.

    Training photographs become overlapping sub-images in LMDBs, as in BasicSR's recipe for DIV2K; test photographs stay
    whole. LR images are MATLAB's bicubic reduction of the whole photograph.

    Args:
        out: Folder to write to.

    Returns:
        ``train_HR_sub.lmdb``, ``train_LR_x2_sub.lmdb``, ``test/HR`` and ``test/LR_bicubic/X2`` below ``out``.

    Raises:
        FileNotFoundError: A package with photographs is not installed; says what to install.
        InputError: Another process makes this set.
    """
    made = [out / "train_HR_sub.lmdb", out / "train_LR_x2_sub.lmdb", out / "test/HR", out / "test/LR_bicubic/X2"]
    if all(path.exists() for path in made):
        return made
    with owned("--out", out):
        _make(out, made)
    return made


def _make(out: Path, made: list[Path]) -> None:
    # moved into place when complete, so that an interrupted run leaves nothing half-made
    work = out / f".demo{UNFINISHED}"
    shutil.rmtree(work, ignore_errors=True)
    with LmdbWriter(work / made[0].name) as hr_lmdb, LmdbWriter(work / made[1].name) as lr_lmdb:
        for name, photo in progress_bar(TRAIN_PHOTOS.items(), desc="training photographs"):
            hr, lr = _pair(_read_photo(*photo))
            step = SUB_STEP if min(hr.shape[:2]) < LARGE else SUB_SIZE
            hr_lmdb.put(_sub_images(name, hr, SUB_SIZE, step))
            lr_lmdb.put(_sub_images(name, lr, SUB_SIZE // SCALE, step // SCALE))
        hr_lmdb.finish(COMPRESSION)
        lr_lmdb.finish(COMPRESSION)
    for name, photo in progress_bar(TEST_PHOTOS.items(), desc="test photographs"):
        for folder, image in zip(made[2:], _pair(_read_photo(*photo))):
            write_atomically(work / folder.relative_to(out) / f"{name}.png", encode_png(image, COMPRESSION))
    for path in made:
        if not path.exists():
            path.parent.mkdir(parents=True, exist_ok=True)
            os.replace(work / path.relative_to(out), path)
    shutil.rmtree(work)


def _read_photo(package: str, name: str) -> np.ndarray:
    """A photograph as BGR uint8."""
    try:
        path = resources.files(package) / name
    except ModuleNotFoundError as error:
        raise FileNotFoundError(f"{package} is not installed; run: pip install 'srkd-plugin[demo]'") from error
    image = cv2.imread(str(path), cv2.IMREAD_COLOR)
    if image is None:
        raise FileNotFoundError(f"{path} is not there or is no image; run: pip install 'srkd-plugin[demo]'")
    return image


def _pair(photo: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """HR, cropped to a multiple of the scale, and its LR."""
    hr = np.ascontiguousarray(crop_to_multiple(photo, SCALE))
    return hr, downscale(hr, SCALE)


def _sub_images(name: str, image: np.ndarray, size: int, step: int) -> Iterator[tuple[str, bytes]]:
    """Keys and PNG files of the overlapping sub-images."""
    h, w = image.shape[:2]
    corners = [(y, x) for y in starts(h, size, step) for x in starts(w, size, step)]
    for number, (y, x) in enumerate(corners, start=1):
        yield f"{name}_s{number:03d}", encode_png(image[y : y + size, x : x + size], COMPRESSION)
