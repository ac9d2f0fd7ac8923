"""Sizes from headers are those of the decoded images; what is no whole image is said."""

from __future__ import annotations

import io
import struct
import zlib

import cv2
import numpy as np
import pytest
from basicsr.utils import imfrombytes
from photos import photo
from PIL import Image

from srkd_plugin.images import sizes
from srkd_plugin.images.decode import PNG_START, ImageFault, encode_png
from srkd_plugin.images.sizes import size_of_file


def turned(path, kind, orientation, mode="RGB"):
    """Write a picture of 20 x 12 pixels that is shown as its EXIF data say."""
    tags = Image.Exif()
    tags[0x0112] = orientation
    picture = Image.fromarray(photo(0, 20, 12)[:, :, ::-1]).convert(mode)
    picture.save(path, kind, exif=tags)
    return path


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "TIFF"])
def test_the_size_is_that_of_the_image_that_basicsr_reads(tmp_path, kind, orientation):
    path = turned(tmp_path / "p", kind, orientation)
    assert size_of_file(path) == imfrombytes(path.read_bytes()).shape[:2]


@pytest.mark.parametrize("mode", ["L", "P", "CMYK", "RGBA", "1"])
def test_modes(tmp_path, mode):
    path = turned(tmp_path / "p", "JPEG" if mode == "CMYK" else "PNG", 6, mode)
    assert size_of_file(path) == imfrombytes(path.read_bytes()).shape[:2]


@pytest.mark.parametrize("extension", [".bmp", ".ppm", ".tif", ".webp", ".pfm", ".hdr"])
def test_formats(tmp_path, extension):
    path = tmp_path / f"p{extension}"
    image = photo(0, 20, 12)
    assert cv2.imwrite(str(path), image.astype(np.float32) / 255 if extension in (".pfm", ".hdr") else image)
    assert size_of_file(path) == (20, 12)


def png_of(width, height):
    """The chunks of a PNG that says it is of some size."""

    def chunk(kind, data):
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(data, zlib.crc32(kind)))

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return PNG_START + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"")) + chunk(b"IEND", b"")


def test_more_pixels_than_pillow_decodes(tmp_path, recwarn):
    before = Image.MAX_IMAGE_PIXELS
    (tmp_path / "p.png").write_bytes(png_of(30_000, 20_000))
    assert size_of_file(tmp_path / "p.png") == (20_000, 30_000)
    assert before == Image.MAX_IMAGE_PIXELS
    assert not recwarn.list


def test_no_pixel_is_decoded(tmp_path, monkeypatch):
    """Pillow's ``getexif`` decodes a PNG that has no EXIF data."""
    path = tmp_path / "p.png"
    path.write_bytes(encode_png(photo(0)))
    monkeypatch.setattr(Image.Image, "load", lambda self: pytest.fail("decoded"))
    monkeypatch.setattr(cv2, "imdecode", lambda *_: pytest.fail("decoded"))
    assert size_of_file(path) == (48, 64)


def test_a_file_is_read_once_and_again_when_it_has_changed(tmp_path, monkeypatch):
    path = tmp_path / "p.png"
    path.write_bytes(encode_png(photo(0)))
    read = []
    real = sizes._check_end
    monkeypatch.setattr(sizes, "_check_end", lambda file: read.append(file.name) or real(file))
    assert size_of_file(path) == size_of_file(str(path)) == (48, 64)
    assert read == [str(path)]
    path.write_bytes(encode_png(photo(0, 8, 9)))
    assert size_of_file(path) == (8, 9)


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"", "it is empty"),
        (b"<html>quota exceeded</html>", "it cannot be read as an image"),
        (encode_png(photo(0))[:-1], "it is cut off"),
        (encode_png(photo(0))[:900], "it is cut off"),
        (cv2.imencode(".jpg", photo(0))[1].tobytes()[:900], "it is cut off"),
    ],
)
def test_what_is_no_whole_image(tmp_path, content, says):
    (tmp_path / "p.png").write_bytes(content)
    with pytest.raises(ImageFault, match=f"^{says}$"):
        size_of_file(tmp_path / "p.png")


def test_a_format_that_opencv_does_not_read(tmp_path, monkeypatch):
    Image.fromarray(photo(0)).save(tmp_path / "p.png", "GIF")
    monkeypatch.setattr(cv2, "haveImageReader", lambda path: False)
    with pytest.raises(ImageFault, match="it is GIF, which OpenCV, by which BasicSR reads images, cannot read here"):
        size_of_file(tmp_path / "p.png")


def test_a_file_that_is_not_there(tmp_path):
    with pytest.raises(ImageFault, match=r"it cannot be read \(No such file"):
        size_of_file(tmp_path / "p.png")


def test_damaged_exif_data_are_left_out(tmp_path):
    file = io.BytesIO()
    Image.fromarray(photo(0, 20, 12)).save(file, "JPEG", exif=b"Exif\0\0MM\0*\xff\xff\xff\xff")
    (tmp_path / "p.jpg").write_bytes(file.getvalue())
    assert size_of_file(tmp_path / "p.jpg") == imfrombytes(file.getvalue()).shape[:2] == (20, 12)
