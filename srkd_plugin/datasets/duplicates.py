"""Finds images of a test set that are in a training set too, also resized, recompressed, mirrored or turned."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import NamedTuple, Optional

import cv2
import numpy as np

from srkd_plugin.images.decode import ImageFault, decode
from srkd_plugin.images.image_sets import ImageSet, open_images
from srkd_plugin.images.worker_pool import map_images

SIDE = 32
"""Side of the thumbnails that are compared."""
LEAST_CORRELATION = 0.92
"""Correlation from which pairs of thumbnails are reported. The most similar pair of different photographs
among BSDS500's train and test, Set5, Set14 and Kodak24 has 0.88; Set14's ``face`` and Set5's ``head``, which are one
photograph, have 0.998."""


class NearDuplicate(NamedTuple):
    """A test image and the training image that it looks like."""

    test: str
    train: str
    correlation: float

    def __str__(self) -> str:
        """One line."""
        return f"{self.test} looks like {self.train} (correlation {self.correlation:.3f})"


def find_near_duplicates(
    train: Sequence[Path], test: Path, workers: int = 1, least: float = LEAST_CORRELATION
) -> list[NearDuplicate]:
    """Compare each test image with all training images by the correlation of small gray pictures.

    Whole images are compared: a part of a test image, as in LMDBs of sub-images, is not found. Images of one colour,
    and images that cannot be decoded, are left out.

    Args:
        train: Folders or LMDBs of training images.
        test: Folder or LMDB of test images.
        workers: Processes.
        least: Correlation, up to 1, from which a pair is reported.

    Returns:
        For each test image its most similar training image, if similar enough; most similar first.

    Raises:
        InputError: A folder is not there or has no images.
    """
    train_names, train_views = _thumbnails("--against", train, workers)
    test_names, test_views = _thumbnails("--gt", [test], workers)
    if not train_names or not test_names:
        return []
    views = np.stack([_flatten(view) for view in _orientations(test_views)])  # (8, tests, SIDE * SIDE)
    found = []
    for index, name in enumerate(test_names):
        correlation = (views[:, index] @ _flatten(train_views).T).max(axis=0)
        best = int(correlation.argmax())
        if correlation[best] >= least:
            found.append(NearDuplicate(name, train_names[best], float(correlation[best])))
    return sorted(found, key=lambda pair: -pair.correlation)


def _thumbnails(option: str, folders: Sequence[Path], workers: int) -> tuple[list[str], np.ndarray]:
    """Names and ``(n, SIDE, SIDE)`` thumbnails of mean 0 and norm 1."""
    names, views = [], []
    for folder in folders:
        images = open_images(option, folder)
        keys = images.keys()
        for key, view in zip(keys, map_images(partial(_thumbnail, images), keys, workers, f"looking at {folder.name}")):
            if view is not None:
                names.append(str(folder / key))
                views.append(view)
    return names, np.stack(views) if views else np.empty((0, SIDE, SIDE), np.float32)


def _thumbnail(images: ImageSet, key: str) -> Optional[np.ndarray]:
    try:
        image = decode(images.read(key))
    except ImageFault:
        return None
    gray = image if image.ndim == 2 else cv2.cvtColor(image, cv2.COLOR_BGR2GRAY)
    small = cv2.resize(gray.astype(np.float32), (SIDE, SIDE), interpolation=cv2.INTER_AREA)
    small -= small.mean()
    norm = float(np.linalg.norm(small))
    return small / norm if norm > SIDE else None  # of one colour: a standard deviation below one grey level


def _orientations(views: np.ndarray) -> list[np.ndarray]:
    """The eight ways to mirror and turn."""
    turned = [np.rot90(views, quarter, axes=(1, 2)) for quarter in range(4)]
    return turned + [view[:, :, ::-1] for view in turned]


def _flatten(views: np.ndarray) -> np.ndarray:
    return views.reshape(len(views), -1)
