"""Image files of every kind that photographs come in: decoded upright with what they bring along, and written again."""

import io

import cv2
import numpy as np
import photos
import pytest
from PIL import Image

from srkd_plugin.images.decode import ImageFault
from srkd_plugin.images.image_file import ImageFile, decode_image, write_image
from srkd_plugin.images.sizes import ORIENTATION

RGB = photos.photo(0, 12, 20)[..., ::-1].copy()
GRAY = RGB[..., 1].copy()
DEEP = RGB.astype(np.uint16) * 257 - 100 * (RGB > 99).astype(np.uint16)
MAKER = 0x010F


def saved(pixels, kind="PNG", **options):
    """The bytes of an image by Pillow."""
    file = io.BytesIO()
    (pixels if isinstance(pixels, Image.Image) else Image.fromarray(pixels)).save(file, kind, **options)
    return file.getvalue()


def by_opencv(pixels, suffix=".png"):
    return cv2.imencode(suffix, pixels)[1].tobytes()


def exif(orientation=None):
    tags = Image.Exif()
    tags[MAKER] = "a maker"
    if orientation:
        tags[ORIENTATION] = orientation
    return tags


@pytest.mark.parametrize("kind", ["PNG", "TIFF", "BMP", "PPM"])
@pytest.mark.parametrize("pixels", [RGB, GRAY], ids=["rgb", "gray"])
def test_pixels_are_those_of_the_file(kind, pixels):
    found = decode_image(saved(pixels, kind))
    assert np.array_equal(found.colour, pixels) and found.alpha is None


@pytest.mark.parametrize("suffix", [".png", ".tiff"])
@pytest.mark.parametrize("channels", [1, 3, 4])
def test_16_bits_are_kept(suffix, channels, tmp_path):
    stored = {1: DEEP[..., 0], 3: DEEP, 4: np.dstack([DEEP, DEEP[..., :1] // 2])}[channels]
    order = [2, 1, 0, 3][:channels]
    found = decode_image(by_opencv(stored if channels == 1 else stored[..., order], suffix))
    again = ImageFile(found.colour, found.alpha, b"MM\0*\0\0\0\x08\0\0\0\0\0\0", b"a profile")
    write_image(tmp_path / "a.png", again)
    for one in (found, decode_image((tmp_path / "a.png").read_bytes())):
        assert one.colour.dtype == np.uint16
        assert np.array_equal(one.colour, stored[..., :3] if channels > 1 else stored)
        assert (one.alpha is None) if channels < 4 else np.array_equal(one.alpha, stored[..., 3])
    read = decode_image((tmp_path / "a.png").read_bytes())
    assert (read.exif, read.icc) == (again.exif, again.icc)
    with Image.open(tmp_path / "a.png") as by_pillow:
        by_pillow.verify()


@pytest.mark.parametrize("pixels", [RGB, GRAY], ids=["rgb", "gray"])
@pytest.mark.parametrize("suffix", [".png", ".webp"])
def test_alpha_is_kept(pixels, suffix, tmp_path):
    alpha = GRAY[::-1].copy()
    found = decode_image(saved(np.dstack([pixels, alpha])))
    assert np.array_equal(found.colour, pixels) and np.array_equal(found.alpha, alpha)
    write_image(tmp_path / f"a{suffix}", found)
    again = decode_image((tmp_path / f"a{suffix}").read_bytes())
    assert np.array_equal(again.alpha, alpha)
    if suffix == ".png":
        assert np.array_equal(again.colour, pixels)


def test_palettes_and_black_and_white():
    palette = Image.fromarray(RGB).quantize(16)
    assert np.array_equal(decode_image(saved(palette)).colour, np.asarray(palette.convert("RGB")))
    found = decode_image(saved(Image.fromarray(GRAY).convert("1")))
    assert found.colour.ndim == 2 and set(np.unique(found.colour)) <= {0, 255}


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP"])
def test_images_are_turned_once_as_their_exif_says(kind, orientation, tmp_path):
    options = {"lossless": True} if kind == "WEBP" else {}
    content = saved(RGB, kind, exif=exif(orientation), **options)
    found = decode_image(content)
    if kind == "JPEG":  # what BasicSR reads
        assert np.array_equal(found.colour, cv2.imdecode(np.frombuffer(content, np.uint8), 1)[..., ::-1])
    else:
        unturned = decode_image(saved(RGB, kind, **options)).colour
        turns = [None, None, 0, 3, 1, 5, 4, 6, 2]  # Pillow's names for them, by orientation
        turn = turns[orientation]
        expected = Image.fromarray(unturned) if turn is None else Image.fromarray(unturned).transpose(turn)
        assert np.array_equal(found.colour, np.asarray(expected))
    for name in ("a.png", "a.jpg", "a.webp"):
        write_image(tmp_path / name, found)
        with Image.open(tmp_path / name) as again:
            tags = again.getexif()
            assert (tags[MAKER], tags.get(ORIENTATION, 1), again.size[::-1]) == ("a maker", 1, found.colour.shape[:2])
        assert decode_image((tmp_path / name).read_bytes()).colour.shape == found.colour.shape


@pytest.mark.parametrize("name", ["a.png", "a.jpg", "a.webp"])
def test_exif_and_profile_are_kept_byte_for_byte(name, tmp_path):
    content = saved(RGB, "JPEG", exif=exif(), icc_profile=b"a profile")
    found = decode_image(content)
    assert found.exif == exif().tobytes().removeprefix(b"Exif\0\0") and found.icc == b"a profile"
    write_image(tmp_path / name, found)
    again = decode_image((tmp_path / name).read_bytes())
    assert (again.exif, again.icc) == (found.exif, found.icc)


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        (b"", "it is empty"),
        (b"text", "it cannot be read as an image"),
        (saved(RGB)[:-20], "it is cut off"),
        (saved(Image.fromarray(RGB).convert("CMYK"), "JPEG"), "its colours are CMYK: convert it to RGB first"),
        (saved(Image.fromarray(RGB).convert("LAB"), "TIFF"), "its colours are LAB"),
        (saved(GRAY.astype(np.float32), "TIFF"), "its colours are F: convert"),
        (saved(GRAY.astype(np.int32), "TIFF"), "its samples are int32|it cannot be decoded"),
        (
            saved(Image.fromarray(RGB), "TIFF", save_all=True, append_images=[Image.fromarray(RGB)]),
            "it is animated or has pages: 2 images in one file",
        ),
        (
            saved(Image.fromarray(RGB), "WEBP", save_all=True, append_images=[Image.fromarray(255 - RGB)]),
            "it is animated or has pages: 2",
        ),
        (saved(RGB, "TIFF", tiffinfo={ORIENTATION: 6}), "it is a TIFF that its tags turn: save it upright"),
    ],
)
def test_what_cannot_be_read_says_why(content, problem):
    with pytest.raises(ImageFault, match=problem):
        decode_image(content)


def test_what_a_format_cannot_hold_is_said_and_not_written(tmp_path):
    with pytest.raises(ImageFault, match="alpha, which JPEG cannot hold: write PNG or WebP"):
        write_image(tmp_path / "a.jpg", ImageFile(RGB, GRAY))
    with pytest.raises(ImageFault, match="WEBP holds no sides beyond 16383, and it would be 1x16384: write PNG"):
        write_image(tmp_path / "a.webp", ImageFile(np.zeros((1, 16384), np.uint8)))
    with pytest.raises(ImageFault, match="JPEG holds 8 bits"):
        write_image(tmp_path / "a.jpg", ImageFile(DEEP))
    with pytest.raises(ImageFault, match=r"JPEG cannot hold it \(EXIF data is too long\)"):
        write_image(tmp_path / "a.jpg", ImageFile(RGB, exif=bytes(70000)))
    assert not list(tmp_path.iterdir())
