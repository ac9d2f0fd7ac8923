from __future__ import annotations

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from photos import photo, write_photos

from srkd_plugin.errors import InputError
from srkd_plugin.images.decode import (
    ImageFault,
    check_png,
    crop_to_multiple,
    decode,
    decode_bgr,
    encode_png,
    list_images,
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


def test_padded_jpegs_are_whole():
    jpeg = cv2.imencode(".jpg", photo(0))[1].tobytes()
    assert decode(jpeg + b"\0" * 100).shape == (48, 64, 3)
    with pytest.raises(ImageFault, match="cut off"):
        decode(jpeg[:-2])


def test_a_folder_is_listed_by_stem(tmp_path):
    folder = write_photos(tmp_path / "photos", 2)
    (folder / ".hidden.png").write_bytes(b"")
    (folder / "notes.txt").write_text("")
    (folder / "sub.png").mkdir()
    assert list_images("--hr", folder) == {"p0": folder / "p0.png", "p1": folder / "p1.png"}
    with pytest.raises(InputError, match=r"--hr = .*no images in it"):
        list_images("--hr", folder / "sub.png")
    with pytest.raises(InputError, match="a file, not a folder"):
        list_images("--hr", folder / "p0.png")


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
