"""The demo's data set: photographs that come inside installed packages, so that nothing is downloaded."""

from __future__ import annotations

import os
import shutil
from importlib import resources
from pathlib import Path

import cv2
import numpy as np
from basicsr.utils.lmdb_util import make_lmdb_from_imgs
from basicsr.utils.matlab_functions import imresize
from tqdm import tqdm

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
LARGE = 800
"""From this shorter side on, the step is SUB_SIZE: the two largest photographs, a retina and the night sky, are the
smoothest too and would be three quarters of the set."""


def make_demo_data(out: Path) -> list[Path]:
    """Write the demo's data set below ``out``; what is already there is kept.

    Training photographs become overlapping sub-images in LMDBs, as in BasicSR's recipe for DIV2K; test photographs stay
    whole. LR images are BasicSR's bicubic reduction of the whole photograph, rounded to 8 bit.

    Args:
        out: Folder to write to.

    Returns:
        ``train_HR_sub.lmdb``, ``train_LR_x2_sub.lmdb``, ``test/HR`` and ``test/LR_bicubic/X2`` below ``out``.

    Raises:
        FileNotFoundError: A package with photographs is not installed; says what to install.
    """
    made = [out / "train_HR_sub.lmdb", out / "train_LR_x2_sub.lmdb", out / "test/HR", out / "test/LR_bicubic/X2"]
    if all(path.exists() for path in made):
        return made
    work = out / "unfinished"  # moved into place when complete, so that an interrupted run leaves nothing half-made
    shutil.rmtree(work, ignore_errors=True)
    for name, photo in tqdm(TRAIN_PHOTOS.items(), desc="training photographs"):
        hr, lr = _pair(_read_photo(*photo))
        step = SUB_STEP if min(hr.shape[:2]) < LARGE else SUB_SIZE
        _write_sub_images(work / "HR_sub", name, hr, SUB_SIZE, step)
        _write_sub_images(work / "LR_sub", name, lr, SUB_SIZE // SCALE, step // SCALE)
    for name, photo in tqdm(TEST_PHOTOS.items(), desc="test photographs"):
        hr, lr = _pair(_read_photo(*photo))
        _write(work / "test/HR" / f"{name}.png", hr)
        _write(work / "test/LR_bicubic/X2" / f"{name}.png", lr)
    _make_lmdb(work / "HR_sub", work / "train_HR_sub.lmdb")
    _make_lmdb(work / "LR_sub", work / "train_LR_x2_sub.lmdb")
    for path in made:
        if not path.exists():
            path.parent.mkdir(parents=True, exist_ok=True)
            os.replace(work / path.relative_to(out), path)
    shutil.rmtree(work)
    return made


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
    h, w = (side - side % SCALE for side in photo.shape[:2])
    hr = photo[:h, :w]
    lr = imresize(hr.astype(np.float32) / 255.0, 1 / SCALE)
    return hr, np.clip(np.round(lr * 255.0), 0, 255).astype(np.uint8)


def _write_sub_images(folder: Path, name: str, image: np.ndarray, size: int, step: int) -> None:
    h, w = image.shape[:2]
    corners = [(y, x) for y in _starts(h, size, step) for x in _starts(w, size, step)]
    for number, (y, x) in enumerate(corners, start=1):
        _write(folder / f"{name}_s{number:03d}.png", image[y : y + size, x : x + size])


def _starts(length: int, size: int, step: int) -> list[int]:
    """Where sub-images start along one side; the last one ends at the border."""
    starts = list(range(0, length - size + 1, step))
    return starts if starts[-1] == length - size else [*starts, length - size]


def _write(path: Path, image: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    if not cv2.imwrite(str(path), image, [cv2.IMWRITE_PNG_COMPRESSION, 1]):
        raise OSError(f"cannot write {path}")


def _make_lmdb(folder: Path, lmdb: Path) -> None:
    names = sorted(path.name for path in folder.glob("*.png"))
    # the map size is given: BasicSR guesses it from the first image, which may be a small one
    size = 2 * sum((folder / name).stat().st_size for name in names) + (1 << 24)
    make_lmdb_from_imgs(str(folder), str(lmdb), names, [Path(n).stem for n in names], map_size=size)
