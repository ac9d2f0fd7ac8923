"""One image through a model: what BasicSR would save, gray, alpha, 16 bits, and what a model cannot do."""

import numpy as np
import photos
import pytest
import torch
from basicsr.utils.img_util import img2tensor, tensor2img
from torch import nn

from srkd_plugin.errors import InputError
from srkd_plugin.images.decode import ImageFault
from srkd_plugin.images.image_file import ImageFile
from srkd_plugin.networks.build import build_described
from srkd_plugin.runtimes.tiles import Tiles, tiles_for
from srkd_plugin.runtimes.torch_upscaler import TorchUpscaler
from srkd_plugin.runtimes.upscale_image import upscale_image

EDSR = {"type": "EDSR", "num_in_ch": 3, "num_out_ch": 3, "num_feat": 4, "num_block": 1, "upscale": 2}
RGB = photos.photo(0, 40, 50)[..., ::-1].copy()


@pytest.fixture(scope="module")
def net():
    torch.manual_seed(0)
    return build_described("network_g", EDSR).eval()


class Doubled(nn.Module):
    """Each pixel four times: nearest neighbour."""

    def forward(self, x):
        return nn.functional.interpolate(x, scale_factor=2)


def test_it_is_what_basicsr_saves(net):
    bgr = RGB[..., ::-1].astype(np.float32) / 255
    with torch.no_grad():
        expected = tensor2img(net(img2tensor(bgr)[None]))[..., ::-1]
    assert np.array_equal(upscale_image(Tiles(TorchUpscaler(net, 2), None, 0), ImageFile(RGB), "PNG").colour, expected)


def test_tiles_give_the_pixels_of_the_whole_image(net):
    """They could differ by one where the output is within 1e-6 of a half, which is so for none of these."""
    upscaler = TorchUpscaler(net, 2)
    whole, tiled = (upscale_image(tiles_for(upscaler, n), ImageFile(RGB), "PNG").colour for n in (0, 16))
    assert np.array_equal(whole, tiled)


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_values_survive_exactly(dtype):
    values = np.arange(np.iinfo(dtype).max + 1, dtype=dtype)
    image = ImageFile(values.reshape(16, -1), values.reshape(16, -1)[::-1].copy(), b"exif", b"icc")
    found = upscale_image(tiles_for(TorchUpscaler(Doubled(), 2)), image, "PNG")
    assert found.colour.dtype == found.alpha.dtype == dtype
    assert np.array_equal(found.colour, image.colour.repeat(2, 0).repeat(2, 1))
    assert found.alpha.shape == found.colour.shape and (found.exif, found.icc) == (b"exif", b"icc")


def test_formats_of_8_bits_get_8_bits():
    deep = ImageFile(RGB.astype(np.uint16) * 257)
    found = upscale_image(tiles_for(TorchUpscaler(Doubled(), 2)), deep, "JPEG").colour
    assert found.dtype == np.uint8 and np.array_equal(found[::2, ::2], RGB)


def test_gray_is_the_mean_of_three_equal_channels(net):
    upscaler = TorchUpscaler(net, 2)
    gray = RGB[..., 1]
    lq = np.repeat(gray[None, None].astype(np.float32) / 255, 3, axis=1)
    expected = np.rint(upscaler(lq)[0].mean(axis=0).clip(0, 1) * 255)
    assert np.array_equal(upscale_image(tiles_for(upscaler), ImageFile(gray), "PNG").colour, expected)


def test_what_is_opaque_stays_opaque():
    opaque = ImageFile(RGB, np.full(RGB.shape[:2], 255, np.uint8))
    assert (upscale_image(tiles_for(TorchUpscaler(Doubled(), 2)), opaque, "PNG").alpha == 255).all()


def test_a_gray_model_takes_gray_only():
    tiles = tiles_for(TorchUpscaler(Doubled(), 2, channels=1))
    assert upscale_image(tiles, ImageFile(RGB[..., 0]), "PNG").colour.shape == (80, 100)
    with pytest.raises(ImageFault, match="it is in colour, and the model takes gray images"):
        upscale_image(tiles, ImageFile(RGB), "PNG")


def test_what_the_format_cannot_hold_is_said_before_the_work():
    def never(*_):
        raise AssertionError

    tiles = Tiles(TorchUpscaler(Doubled(), 2), None, 0)
    tiles.bands = never
    with pytest.raises(ImageFault, match="alpha, which JPEG cannot hold"):
        upscale_image(tiles, ImageFile(RGB, RGB[..., 0]), "JPEG")
    with pytest.raises(ImageFault, match="WEBP holds no sides beyond 16383, and it would be 2x16384"):
        upscale_image(tiles, ImageFile(np.zeros((1, 8192), np.uint8)), "WEBP")


class Fails(Doubled):
    def __init__(self, error):
        super().__init__()
        self.error = error

    def forward(self, x):
        if isinstance(self.error, Exception) and x.shape[-1] == 50:
            raise self.error
        return super().forward(x) * (1 if isinstance(self.error, Exception) else self.error)


@pytest.mark.parametrize(
    ("error", "kind", "says"),
    [
        (float("nan"), ImageFault, "the model gives NaN or infinity for it"),
        (RuntimeError("too\nsmall"), ImageFault, r"the model cannot run on it \(too small\)"),
        (torch.cuda.OutOfMemoryError("out"), InputError, r"the memory is too small for 50x50 .*Write e.g. --tile 25"),
        (MemoryError(), InputError, "the memory is too small"),
    ],
)
def test_models_that_fail_are_one_line(error, kind, says):
    tiles = Tiles(TorchUpscaler(Fails(error), 2), None, 0)
    with pytest.raises(kind, match=says):
        upscale_image(tiles, ImageFile(RGB), "PNG")
