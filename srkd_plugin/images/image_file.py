"""Image files with all that a photograph brings along: 16 bits, alpha, gray, orientation, EXIF, colour profile."""

from __future__ import annotations

import io
import struct
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Optional

import cv2
import numpy as np
from PIL import Image

from srkd_plugin.images.decode import PNG_START, ImageFault, check_whole
from srkd_plugin.images.sizes import ORIENTATION, any_number_of_pixels, orientation_of
from srkd_plugin.utils.files import open_atomically

FORMATS = {".png": "PNG", ".jpg": "JPEG", ".jpeg": "JPEG", ".webp": "WEBP"}
"""What images are written as, by suffix."""
LARGEST_SIDE = {"JPEG": 65500, "WEBP": 16383}
"""Pixels that a format's encoder takes."""
ENCODING: dict[str, dict[str, Any]] = {
    "PNG": {},
    "JPEG": {"quality": 95, "subsampling": 0},  # colours at full resolution
    "WEBP": {"quality": 95},
}
"""What Pillow's encoders are told."""
COLOURS = ("1", "L", "LA", "P", "PA", "RGB", "RGBA", "I", "I;16", "I;16B", "I;16L", "I;16N")
"""Modes, as Pillow calls them, that are gray or RGB, with alpha or not."""
EXIF_START = b"Exif\0\0"
"""What EXIF begins with in JPEG, and in no other format."""


@dataclass(frozen=True)
class ImageFile:
    """An image and what its file says beside the pixels."""

    colour: np.ndarray
    """``(h, w)`` gray or ``(h, w, 3)`` RGB, uint8 or uint16, upright."""
    alpha: Optional[np.ndarray] = None
    """``(h, w)`` of the same dtype."""
    exif: Optional[bytes] = None
    """Tags as TIFF stores them; they do not ask for the image to be turned."""
    icc: Optional[bytes] = None
    """Colour profile."""


def decode_image(content: bytes) -> ImageFile:
    """Decode an image file of any depth; palettes become RGB, and the image is turned as its EXIF says.

    Raises:
        ImageFault: The bytes are cut off, damaged or no image; or the image is animated, of another colour space than
            gray and RGB, has samples of other types than 8 and 16 bits, or is a TIFF that is not upright.
    """
    if not content:
        raise ImageFault("it is empty")
    check_whole(content)
    try:
        with any_number_of_pixels(), Image.open(io.BytesIO(content)) as header:
            _check_kind(header)
            turns, info, has_gray = orientation_of(header), dict(header.info), header.mode in ("1", "L", "LA")
            is_tiff = header.format == "TIFF"
    except (OSError, SyntaxError, ValueError) as error:
        if isinstance(error, ImageFault):
            raise
        raise ImageFault("it cannot be read as an image") from error
    if is_tiff and turns != 1:
        raise ImageFault("it is a TIFF that its tags turn: save it upright")  # OpenCV's versions differ in these
    colour, alpha = _parts(_pixels(content), has_gray)
    exif = info.get("exif") or None
    if exif is not None:
        exif = exif[len(EXIF_START) :] if exif.startswith(EXIF_START) else exif
        exif = _upright(exif) if turns != 1 else exif
    alpha = None if alpha is None else _turned(alpha, turns)
    return ImageFile(_turned(colour, turns), alpha, exif, info.get("icc_profile") or None)


def write_image(path: Path, image: ImageFile) -> None:
    """Write an image as its suffix in :data:`FORMATS` says, whole or not at all.

    Raises:
        ImageFault: The format cannot hold it; nothing is written.
        OSError: It cannot be written.
    """
    kind = FORMATS[path.suffix.lower()]
    check_fits(kind, image.colour.shape, image.alpha is not None)
    if image.colour.dtype == np.uint16 and kind != "PNG":
        raise ImageFault(f"{kind} holds 8 bits per sample only")
    with open_atomically(path) as file:
        if image.colour.dtype == np.uint16:
            file.write(_png_of_16_bits(image))
            return
        pixels = image.colour if image.alpha is None else np.dstack([image.colour, image.alpha])
        options = dict(ENCODING[kind])
        if image.exif is not None:
            options["exif"] = EXIF_START + image.exif if kind == "JPEG" else image.exif
        if image.icc is not None:
            options["icc_profile"] = image.icc
        try:
            Image.fromarray(pixels).save(file, kind, **options)
        except ValueError as error:
            raise ImageFault(f"{kind} cannot hold it ({error})") from error


def check_fits(kind: str, shape: tuple[int, ...], has_alpha: bool) -> None:
    """Refuse an image that a format cannot hold.

    Args:
        kind: A value of :data:`FORMATS`.
        shape: Begins with height and width.
        has_alpha: Whether it has alpha.

    Raises:
        ImageFault: It is too large, or has alpha, and the format has none.
    """
    if max(shape[:2]) > LARGEST_SIDE.get(kind, max(shape[:2])):
        h, w = shape[:2]
        raise ImageFault(f"{kind} holds no sides beyond {LARGEST_SIDE[kind]}, and it would be {h}x{w}: write PNG")
    if has_alpha and kind == "JPEG":
        raise ImageFault("it has alpha, which JPEG cannot hold: write PNG or WebP")


def _check_kind(header: Image.Image) -> None:
    frames = getattr(header, "n_frames", 1)
    if frames > 1 and header.format != "MPO":  # a photograph of a phone: the frames behind the first are previews
        raise ImageFault(f"it is animated or has pages: {frames} images in one file")
    if header.mode not in COLOURS:
        raise ImageFault(f"its colours are {header.mode}: convert it to RGB first")


def _pixels(content: bytes) -> np.ndarray:
    """The stored pixels, ``(h, w)``, or ``(h, w, C)`` in OpenCV's order, not turned."""
    try:
        pixels = cv2.imdecode(np.frombuffer(content, np.uint8), cv2.IMREAD_UNCHANGED)
    except cv2.error as error:  # more pixels than OpenCV takes
        raise ImageFault(f"it cannot be decoded ({error.err or error})") from error
    if pixels is None:
        raise ImageFault("it cannot be decoded")
    if pixels.dtype not in (np.uint8, np.uint16):
        raise ImageFault(f"its samples are {pixels.dtype}: convert them to 8 or 16 bits first")
    return pixels


def _parts(pixels: np.ndarray, has_gray: bool) -> tuple[np.ndarray, Optional[np.ndarray]]:
    """Colour (gray, or RGB) and alpha of OpenCV's pixels, in which gray with alpha has three equal channels."""
    if pixels.ndim == 2:
        return pixels, None
    alpha = pixels[..., -1] if pixels.shape[2] in (2, 4) else None
    if has_gray or pixels.shape[2] < 3:
        return pixels[..., 0], alpha
    return cv2.cvtColor(pixels, cv2.COLOR_BGR2RGB if alpha is None else cv2.COLOR_BGRA2RGB), alpha


def _turned(pixels: np.ndarray, orientation: int) -> np.ndarray:
    """Pixels as EXIF's orientation, 1 to 8, wants them shown."""
    if orientation in (5, 6, 7, 8):
        pixels = pixels.swapaxes(0, 1)
    if orientation in (3, 4, 7, 8):
        pixels = pixels[::-1]
    if orientation in (2, 3, 6, 7):
        pixels = pixels[:, ::-1]
    return np.ascontiguousarray(pixels)


def _upright(exif: bytes) -> Optional[bytes]:
    """EXIF whose orientation is that of an image that needs not be turned; None if it cannot be written again."""
    tags = Image.Exif()
    try:
        tags.load(EXIF_START + exif)
        tags[ORIENTATION] = 1
        return tags.tobytes().removeprefix(EXIF_START)
    except Exception:  # whatever Pillow makes of damaged tags behind the orientation
        return None


def _png_of_16_bits(image: ImageFile) -> bytes:
    """A PNG by OpenCV, as Pillow writes no colours of 16 bits, with profile and EXIF put in behind its header."""
    pixels = image.colour
    if image.alpha is not None:
        gray = pixels if pixels.ndim == 3 else cv2.cvtColor(pixels, cv2.COLOR_GRAY2RGB)
        pixels = np.dstack([gray[..., ::-1], image.alpha])
    elif pixels.ndim == 3:
        pixels = cv2.cvtColor(pixels, cv2.COLOR_RGB2BGR)
    _, encoded = cv2.imencode(".png", pixels)
    content = encoded.tobytes()
    header = len(PNG_START) + 4 + 4 + 13 + 4  # length, type, content and checksum of IHDR
    profile = b"" if image.icc is None else _chunk(b"iCCP", b"ICC Profile\0\0" + zlib.compress(image.icc))
    exif = b"" if image.exif is None else _chunk(b"eXIf", image.exif)
    return content[:header] + profile + exif + content[header:]


def _chunk(kind: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))
