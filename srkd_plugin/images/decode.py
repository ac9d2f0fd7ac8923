"""Reading image files, with every fault named.

OpenCV returns half an image for some truncated files, depends on its version for others, and takes any file name; so
the structure of PNG and JPEG files is checked here before they are decoded.
"""

from __future__ import annotations

import io
import re
import struct
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np
from PIL.PngImagePlugin import ChunkStream

from srkd_plugin.errors import InputError

PNG_START, PNG_END = b"\x89PNG\r\n\x1a\n", b"\0\0\0\0IEND\xaeB`\x82"
JPEG_START, JPEG_END = b"\xff\xd8", b"\xff\xd9"
JPEG_MARKER = re.compile(rb"\xff+([\x02-\xcf\xd8-\xfe])")
"""Markers but for those that stand in the coded data: 00 is a data byte, and 01 and d0 to d7 have no segment."""
PNG_HEADER = 26
"""Bytes from the start of a PNG that hold size and colour type."""
PNG_BITS = 24
"""Where the bits per sample stand in it."""
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


def decode(content: bytes) -> np.ndarray:
    """Decode an image file as it is.

    Returns:
        ``(h, w)`` gray or ``(h, w, 3)`` BGR, uint8; an alpha channel is dropped.

    Raises:
        ImageFault: The bytes are cut off, damaged or no image, or have more than 8 bits per sample.
    """
    image = _decode(content, cv2.IMREAD_ANYCOLOR | cv2.IMREAD_ANYDEPTH)
    if image.dtype != np.uint8:
        raise ImageFault(f"its samples are {image.dtype}, where 8 bits are expected")
    return image


def decode_as_basicsr(content: bytes) -> np.ndarray:
    """Decode an image file as BasicSR's ``imfrombytes`` does in training: of 16 bits per sample it takes the upper 8.

    Returns:
        ``(h, w, 3)`` BGR uint8.

    Raises:
        ImageFault: The bytes are cut off, damaged or no image.
    """
    return _decode(content, cv2.IMREAD_COLOR)


def _decode(content: bytes, flags: int) -> np.ndarray:
    check_whole(content)
    try:
        image = cv2.imdecode(np.frombuffer(content, np.uint8), flags) if content else None
    except cv2.error as error:  # more pixels than OpenCV takes
        raise ImageFault(f"it cannot be decoded ({error.err or error})") from error
    if image is None:
        raise ImageFault("it cannot be decoded")
    return image


def decode_bgr(content: bytes) -> np.ndarray:
    """Decode an image file as ``(h, w, 3)`` BGR uint8; gray becomes three equal channels.

    Raises:
        ImageFault: See :func:`decode`.
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


def has_16_bits(start: bytes) -> bool:
    """Whether the first bytes of a file are those of a PNG with 16 bits per sample."""
    return start.startswith(PNG_START) and len(start) >= PNG_HEADER and start[PNG_BITS] == 16


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
    file = io.BytesIO(content)
    file.seek(len(PNG_START))
    try:
        ChunkStream(file).verify()  # the chunks up to the head of IEND; what they hold is not interpreted
    except (OSError, struct.error) as error:
        raise ImageFault("it is cut off") from error
    except SyntaxError as error:
        cut = "incomplete" in str(error)
        raise ImageFault("it is cut off" if cut else "it is damaged: a PNG checksum is wrong") from error
    last = content[file.tell() - 8 :][: len(PNG_END)]
    if last != PNG_END:
        raise ImageFault("it is cut off" if len(last) < len(PNG_END) else "it is damaged: a PNG checksum is wrong")


def check_jpeg(content: bytes) -> None:
    """Check that a JPEG has its end marker; what stands behind it (a video, further images, padding) does not matter.

    Segments are walked by their lengths, as a thumbnail in one of them has an end marker of its own.

    Raises:
        ImageFault: It is cut off.
    """
    position = len(JPEG_START)
    while (found := JPEG_MARKER.search(content, position)) is not None:
        position, marker = found.end(), found[1]
        if marker == JPEG_END[1:]:
            return
        if marker != JPEG_START[1:]:
            position += int.from_bytes(content[position : position + 2], "big")
    raise ImageFault("it is cut off")


def check_whole(content: bytes) -> None:
    """Check that a PNG or a JPEG is whole; other bytes pass.

    Raises:
        ImageFault: It is not.
    """
    if content.startswith(PNG_START):
        check_png(content)
    elif content.startswith(JPEG_START):
        check_jpeg(content)
