"""Reading images from folders, with every fault named.

OpenCV returns half an image for some truncated files, depends on its version for others, and takes any file name; so
the structure of PNG and JPEG files is checked here before they are decoded.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np

from srkd_plugin.errors import InputError
from srkd_plugin.utils.files import require_folder

EXTENSIONS = (".png", ".jpg", ".jpeg", ".bmp", ".tif", ".tiff", ".ppm", ".webp")
PNG_START = b"\x89PNG\r\n\x1a\n"
JPEG_START, JPEG_END = b"\xff\xd8", b"\xff\xd9"
PNG_HEADER = 26
"""Bytes from the start of a PNG that hold size and colour type."""
PNG_CHANNELS = {0: 1, 2: 3, 3: 3, 4: 2, 6: 4}
"""Channels by PNG colour type; a palette (3) holds RGB."""


class Fault(NamedTuple):
    """Something wrong with one image, or with the images of a set together."""

    name: str
    """The image's key or stem, or the set."""
    problem: str

    def __str__(self) -> str:
        """One line."""
        return f"{self.name}: {self.problem}"


class ImageFault(ValueError):
    """Bytes are not a whole image; the text says why and names no file."""


def list_images(option: str, folder: Path) -> dict[str, Path]:
    """The images of a folder by stem, sorted by stem; hidden files are left out, as BasicSR does.

    Args:
        option: How the user named the folder, for errors, e.g. ``--hr``.
        folder: The folder.

    Raises:
        InputError: There is no such folder, no image in it, or two images with the same stem.
    """
    require_folder(option, folder)
    images: dict[str, Path] = {}
    for path in sorted(folder.iterdir(), key=lambda p: (p.stem, p.suffix)):
        if path.name.startswith(".") or path.suffix.lower() not in EXTENSIONS or not path.is_file():
            continue
        if path.stem in images:
            problem = f"{images[path.stem].name} and {path.name} have the same name but for the extension"
            raise InputError(option, str(folder), problem, "Remove or rename one of them.")
        images[path.stem] = path
    if not images:
        raise InputError(option, str(folder), "there are no images in it", f"Known: {', '.join(EXTENSIONS)}.")
    return images


def decode(content: bytes) -> np.ndarray:
    """Decode an image file as it is.

    Returns:
        ``(h, w)`` gray or ``(h, w, 3)`` BGR, uint8; an alpha channel is dropped.

    Raises:
        ImageFault: The bytes are cut off, damaged or no image, or have more than 8 bits a sample.
    """
    _check_structure(content)
    flags = cv2.IMREAD_ANYCOLOR | cv2.IMREAD_ANYDEPTH
    image = cv2.imdecode(np.frombuffer(content, np.uint8), flags) if content else None
    if image is None:
        raise ImageFault("it cannot be decoded")
    if image.dtype != np.uint8:
        raise ImageFault(f"its samples are {image.dtype}, where 8 bits are expected")
    return image


def decode_bgr(content: bytes) -> np.ndarray:
    """Decode an image file as ``(h, w, 3)`` BGR uint8; gray becomes three equal channels.

    Raises:
        ImageFault: As :func:`decode`.
    """
    image = decode(content)
    return cv2.cvtColor(image, cv2.COLOR_GRAY2BGR) if image.ndim == 2 else image


def read_bgr(path: Path) -> np.ndarray:
    """Read an image file as ``(h, w, 3)`` BGR uint8; gray becomes three equal channels.

    Raises:
        InputError: The file cannot be read, or :func:`decode` finds a fault.
    """
    try:
        return decode_bgr(path.read_bytes())
    except OSError as error:
        raise InputError(
            "image", str(path), f"it cannot be read ({error.strerror})", "Check its permissions."
        ) from error
    except ImageFault as error:
        raise InputError("image", str(path), str(error), "Download or convert it again.") from error


def encode_png(image: np.ndarray, compression: int = 1) -> bytes:
    """Encode a uint8 image as PNG, with BasicSR's compression level for LMDBs by default."""
    done, encoded = cv2.imencode(".png", image, [cv2.IMWRITE_PNG_COMPRESSION, compression])
    if not done:
        raise ValueError(f"an image of shape {image.shape} and type {image.dtype} cannot be encoded as PNG")
    return encoded.tobytes()


def png_shape(content: bytes) -> tuple[int, int, int]:
    """Height, width and channels of a PNG, from its header.

    Raises:
        ImageFault: The bytes do not begin as a PNG does.
    """
    if not content.startswith(PNG_START) or len(content) < PNG_HEADER:
        raise ImageFault("it is no PNG")
    width, height, _, colour = struct.unpack(">IIBB", content[16:26])
    return height, width, PNG_CHANNELS.get(colour, 0)


def crop_to_multiple(image: np.ndarray, multiple: int) -> np.ndarray:
    """The upper left part of an image whose sides are multiples of ``multiple`` (a view)."""
    h, w = (side - side % multiple for side in image.shape[:2])
    return image[:h, :w]


def check_png(content: bytes) -> None:
    """Check that a PNG is whole and undamaged: all chunks are there and their checksums are right.

    Raises:
        ImageFault: It is not.
    """
    png_shape(content)
    last = b""
    for last, data, checksum in _png_chunks(content):
        if zlib.crc32(data, zlib.crc32(last)) != checksum:
            raise ImageFault("it is damaged: a PNG checksum is wrong")
    if last != b"IEND":
        raise ImageFault("it is cut off")


def _png_chunks(content: bytes) -> Iterator[tuple[bytes, memoryview, int]]:
    """Kind, data and checksum of each chunk up to IEND."""
    position, view = len(PNG_START), memoryview(content)
    while position + 12 <= len(content):
        (length,) = struct.unpack_from(">I", content, position)
        end = position + 8 + length
        if end + 4 > len(content):
            raise ImageFault("it is cut off")
        kind = content[position + 4 : position + 8]
        yield kind, view[position + 8 : end], struct.unpack_from(">I", content, end)[0]
        if kind == b"IEND":
            return
        position = end + 4


def _check_structure(content: bytes) -> None:
    if content.startswith(PNG_START):
        check_png(content)
    # some cameras pad JPEGs behind the end marker
    elif content.startswith(JPEG_START) and JPEG_END not in content[-1024:].rstrip(b"\x00"):
        raise ImageFault("it is cut off")
