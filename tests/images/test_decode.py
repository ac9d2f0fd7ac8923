from __future__ import annotations

import io
import struct
import zlib

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from photos import photo
from PIL import Image

from srkd_plugin.errors import InputError
from srkd_plugin.images.decode import (
    JPEG_START,
    ImageFault,
    check_png,
    crop_to_multiple,
    decode,
    decode_bgr,
    encode_png,
    png_shape,
    read_bgr,
)

PNG = encode_png(photo(0, 20, 30))


@settings(max_examples=60, deadline=None)
@given(st.integers(0, len(PNG) - 1))
def test_no_cut_png_is_taken_for_whole(length):
    with pytest.raises(ImageFault):
        decode(PNG[:length])


@settings(max_examples=60, deadline=None)
@given(st.integers(0, len(PNG) - 1), st.integers(1, 255))
def test_no_damaged_png_is_taken_for_whole(position, flip):
    damaged = bytearray(PNG)
    damaged[position] ^= flip
    with pytest.raises(ImageFault):
        decode(bytes(damaged))


@pytest.mark.parametrize("channels", [1, 3, 4])
def test_shape_from_the_header(channels):
    image = np.dstack([photo(0, 20, 30), photo(1, 20, 30)])[:, :, :channels]
    encoded = encode_png(image)
    assert png_shape(encoded) == (20, 30, channels)
    check_png(encoded)


def test_gray_and_alpha():
    gray = photo(0, 20, 30)[:, :, 0]
    np.testing.assert_array_equal(decode(encode_png(gray)), gray)
    np.testing.assert_array_equal(decode_bgr(encode_png(gray)), np.dstack([gray] * 3))
    with_alpha = np.dstack([photo(0, 20, 30), photo(1, 20, 30)[:, :, :1]])
    np.testing.assert_array_equal(decode(encode_png(with_alpha)), photo(0, 20, 30))


@pytest.mark.parametrize("behind", [b"", b"\0" * 5000, b"a PNG of one's own"])
def test_png_without_its_end(behind):
    """Pillow's check stops at the head of the last chunk: its checksum and a missing one are ours to find."""
    for end in (PNG[-4:], PNG[-12:]):
        with pytest.raises(ImageFault):
            check_png(PNG[: -len(end)] + behind)
    check_png(PNG + behind)


def test_a_png_with_much_text_is_whole():
    """Pillow refuses to open it: it would not unpack so much text."""
    text = zlib.compress(b" " * (1 << 21))
    chunk = b"zTXtComment\0\0" + text
    chunk = struct.pack(">I", len(chunk) - 4) + chunk + struct.pack(">I", zlib.crc32(chunk))
    content = PNG[:33] + chunk + PNG[33:]
    with pytest.raises(ValueError, match="too large"):
        Image.open(io.BytesIO(content))
    np.testing.assert_array_equal(decode(content), decode(PNG))


def jpeg(progressive=0, thumbnail=False):
    """A JPEG; with a thumbnail in it that is a whole JPEG, as cameras have it."""
    parameters = [cv2.IMWRITE_JPEG_PROGRESSIVE, progressive, cv2.IMWRITE_JPEG_RST_INTERVAL, 2]
    content = cv2.imencode(".jpg", photo(0), parameters)[1].tobytes()
    inner = b"Exif\0\0" + cv2.imencode(".jpg", photo(0, 8, 8))[1].tobytes()
    segment = b"\xff\xe1" + struct.pack(">H", len(inner) + 2) + inner
    return content[:2] + segment + content[2:] if thumbnail else content


@pytest.mark.parametrize("progressive", [0, 1])
@pytest.mark.parametrize(
    "behind", [b"\0" * 100, b"\0\0\0\x18ftypmp42" + bytes(range(256)) * 20, b"MotionPhoto_Data", JPEG_START]
)
def test_jpegs_with_something_behind_their_end_are_whole(progressive, behind):
    content = jpeg(progressive, thumbnail=True)
    np.testing.assert_array_equal(decode(content + behind), decode(content))


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 1), st.booleans(), st.floats(0, 1, exclude_max=True))
def test_no_cut_jpeg_is_taken_for_whole(progressive, thumbnail, share):
    content = jpeg(progressive, thumbnail)
    with pytest.raises(ImageFault):
        decode(content[: int(share * (len(content) - 1))])


def test_more_pixels_than_opencv_takes(monkeypatch):
    def refuse(*_):
        raise cv2.error("(-215) pixels <= CV_IO_MAX_IMAGE_PIXELS")

    monkeypatch.setattr(cv2, "imdecode", refuse)
    with pytest.raises(ImageFault, match=r"it cannot be decoded .*pixels"):
        decode(PNG)


def test_unreadable_files_are_named(tmp_path):
    with pytest.raises(InputError, match=r"image = .*none\.png.*cannot be read"):
        read_bgr(tmp_path / "none.png")
    (tmp_path / "empty.png").write_bytes(b"")
    with pytest.raises(InputError, match=r"empty\.png.*cannot be decoded"):
        read_bgr(tmp_path / "empty.png")


@given(st.integers(1, 40), st.integers(1, 40), st.integers(1, 12))
def test_crop_to_multiple(h, w, multiple):
    cropped = crop_to_multiple(np.zeros((h, w, 3), np.uint8), multiple).shape
    assert cropped[0] % multiple == cropped[1] % multiple == 0
    assert 0 <= h - cropped[0] < multiple
    assert 0 <= w - cropped[1] < multiple
