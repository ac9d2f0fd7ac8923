"""Finds images of a test set that are in a training set too, also resized, recompressed, mirrored or turned."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import NamedTuple, Union

import cv2
import numpy as np

from srkd_plugin.images.decode import Fault, ImageFault, decode
from srkd_plugin.images.image_sets import ImageSet
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


class Compared(NamedTuple):
    """What a comparison of test images with training images found."""

    twins: list[NearDuplicate]
    """Test images, each with the training image that it looks like most; the most similar pair first."""
    unread: list[Fault]
    """Training images that cannot be decoded, and so were not compared."""
    plain: list[str]
    """Images of one colour, which look like any other of that kind and were left out."""


class _Seen(NamedTuple):
    """The images of one side."""

    names: list[str]
    views: np.ndarray
    """``(n, SIDE, SIDE)`` thumbnails of mean 0 and norm 1."""
    unread: list[Fault]
    plain: list[str]


def find_near_duplicates(
    train: Sequence[ImageSet], test: ImageSet, workers: int = 1, least: float = LEAST_CORRELATION
) -> Compared:
    """Compare each test image with all training images by the correlation of small gray pictures.

    Whole images are compared: a part of a test image, as in LMDBs of sub-images, is not found.

    Args:
        train: Training images.
        test: Test images; those that cannot be decoded are left out.
        workers: Processes.
        least: Correlation, up to 1, from which a pair is reported.
    """
    training, tested = _look_at(train, workers), _look_at([test], workers)
    plain = training.plain + tested.plain
    if not training.names or not tested.names:
        return Compared([], training.unread, plain)
    views = np.stack([_flatten(view) for view in _orientations(tested.views)])  # (8, tests, SIDE * SIDE)
    twins = []
    for index, name in enumerate(tested.names):
        correlation = (views[:, index] @ _flatten(training.views).T).max(axis=0)
        best = int(correlation.argmax())
        if correlation[best] >= least:
            twins.append(NearDuplicate(name, training.names[best], float(correlation[best])))
    return Compared(sorted(twins, key=lambda pair: -pair.correlation), training.unread, plain)


def _look_at(sets: Sequence[ImageSet], workers: int) -> _Seen:
    names: list[str] = []
    views: list[np.ndarray] = []
    unread: list[Fault] = []
    plain: list[str] = []
    for images in sets:
        keys = images.keys()
        title = f"looking at {images.folder.name}"
        for key, view in zip(keys, map_images(partial(_thumbnail, images), keys, workers, title)):
            name = str(images.folder / key)
            if isinstance(view, str):
                unread.append(Fault(name, view))
            elif float(np.linalg.norm(view)) <= SIDE:  # a standard deviation below one grey level
                plain.append(name)
            else:
                names.append(name)
                views.append(view / np.linalg.norm(view))
    return _Seen(names, np.stack(views) if views else np.empty((0, SIDE, SIDE), np.float32), unread, plain)


def _thumbnail(images: ImageSet, key: str) -> Union[np.ndarray, str]:
    """``(SIDE, SIDE)`` of mean 0, or why there is none."""
    try:
        image = decode(images.read(key))
    except ImageFault as fault:
        return str(fault)
    gray = image if image.ndim == 2 else cv2.cvtColor(image, cv2.COLOR_BGR2GRAY)
    small = cv2.resize(gray.astype(np.float32), (SIDE, SIDE), interpolation=cv2.INTER_AREA)
    return small - small.mean()


def _orientations(views: np.ndarray) -> list[np.ndarray]:
    """The eight ways to mirror and turn."""
    turned = [np.rot90(views, quarter, axes=(1, 2)) for quarter in range(4)]
    return turned + [view[:, :, ::-1] for view in turned]


def _flatten(views: np.ndarray) -> np.ndarray:
    return views.reshape(len(views), -1)
