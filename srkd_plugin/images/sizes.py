"""Sizes of image files as BasicSR's ``imfrombytes`` decodes them, turned as EXIF says, from their headers alone."""

from __future__ import annotations

import io
import os
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache, lru_cache
from pathlib import Path
from threading import Lock
from typing import BinaryIO, Optional, Union

import cv2
import numpy as np
from PIL import Image
from PIL.TiffImagePlugin import TiffImageFile

from srkd_plugin.images.decode import JPEG_END, JPEG_START, PNG_END, PNG_START, ImageFault, check_whole

Size = tuple[int, int]
"""Height and width in pixels."""
ORIENTATION = 0x0112
"""EXIF tag; from 5 the sides of the image are exchanged when it is shown."""
COMMON = {"PNG", "JPEG", "MPO", "BMP", "TIFF", "WEBP", "PPM"}
"""Formats, as Pillow calls them, that OpenCV reads in every build."""
NO_IMAGE = "it cannot be read as an image"
_limit = Lock()


def size_of_file(path: Union[str, Path]) -> Size:
    """Height and width of an image file as BasicSR decodes it.

    Of PNG and JPEG files the end is looked at, too; pixels are not decoded. A file that has not changed is read once
    per process.

    Raises:
        ImageFault: It cannot be read, is empty, cut off or no image, or of a format that OpenCV does not read.
    """
    try:
        found = os.stat(path)
        if found.st_size == 0:
            raise ImageFault("it is empty")
        return _size(str(path), found.st_mtime_ns, found.st_size)
    except OSError as error:
        raise ImageFault(f"it cannot be read ({error.strerror})") from error


@lru_cache(maxsize=1 << 17)
def _size(path: str, modified: int, length: int) -> Size:
    """Size of the file; time and length tell it from another one of its name."""
    with open(path, "rb") as file:
        _check_end(file)
        size = _size_by_pillow(path, file)
        return size if size is not None else _size_by_opencv(path, file)


def _check_end(file: BinaryIO) -> None:
    """Refuse a PNG or JPEG that is cut off; it is read whole only if it does not end as such files do."""
    start = file.read(len(PNG_START))
    end = PNG_END if start == PNG_START else JPEG_END if start.startswith(JPEG_START) else None
    if end is not None:
        file.seek(max(file.seek(0, os.SEEK_END) - len(end), 0))
        if file.read() != end:
            file.seek(0)
            check_whole(file.read())


def _size_by_pillow(path: str, file: BinaryIO) -> Optional[Size]:
    """Size from the header; None if Pillow does not know the format."""
    file.seek(0)
    try:
        with any_number_of_pixels(), Image.open(file) as image:
            kind, size, turned = image.format or "", (image.height, image.width), orientation_of(image) >= 5
    except (OSError, SyntaxError, ValueError):
        return None
    if kind not in COMMON and not cv2.haveImageReader(path):
        raise ImageFault(f"it is {kind}, which OpenCV, by which BasicSR reads images, cannot read here")
    return size[::-1] if turned and _is_turned_on_reading(kind) else size


def _size_by_opencv(path: str, file: BinaryIO) -> Size:
    """Size of the decoded image: formats that only OpenCV knows are rare."""
    file.seek(0)
    known = cv2.haveImageReader(path)
    image = cv2.imdecode(np.frombuffer(file.read(), np.uint8), cv2.IMREAD_COLOR) if known else None
    if image is None:
        raise ImageFault(NO_IMAGE)
    return image.shape[0], image.shape[1]


@contextmanager
def any_number_of_pixels() -> Iterator[None]:
    """Lift Pillow's limit in the block: it is meant for pixels that are decoded."""
    with _limit:
        before, Image.MAX_IMAGE_PIXELS = Image.MAX_IMAGE_PIXELS, None
        try:
            yield
        finally:
            Image.MAX_IMAGE_PIXELS = before


def orientation_of(image: Image.Image) -> int:
    """EXIF's orientation, without Pillow's ``getexif``: it decodes PNGs, and reads XMP, which OpenCV does not."""
    if isinstance(image, TiffImageFile):
        return int(image.tag_v2.get(ORIENTATION, 1))
    exif = image.info.get("exif")
    if not exif:
        return 1
    tags = Image.Exif()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            tags.load(exif)
        return int(tags.get(ORIENTATION, 1))
    except Exception:  # whatever Pillow makes of damaged EXIF data, OpenCV leaves them out
        return 1


@cache
def _is_turned_on_reading(kind: str) -> bool:
    """Whether OpenCV turns images of a format, and Pillow's size does not show it: both depend on the version."""
    tags, file = Image.Exif(), io.BytesIO()
    tags[ORIENTATION] = 6
    try:
        Image.new("RGB", (16, 8)).save(file, "JPEG" if kind == "MPO" else kind, exif=tags)
    except (OSError, KeyError, ValueError):
        return False
    decoded = cv2.imdecode(np.frombuffer(file.getvalue(), np.uint8), cv2.IMREAD_COLOR)
    with Image.open(file) as image:
        return decoded is not None and decoded.shape[:2] != (image.height, image.width)
