"""Tiles of models in torch and onnxruntime, against one pass over the whole image."""

from pathlib import Path

import numpy as np
import pytest
import tiny
import torch
from PIL import Image
from torch import nn

from srkd_plugin.errors import InputError
from srkd_plugin.networks.build import build_described
from srkd_plugin.networks.student_file import StudentFile, write_student
from srkd_plugin.networks.tiling import spans_of_size
from srkd_plugin.runtimes.onnx_upscaler import OnnxUpscaler
from srkd_plugin.runtimes.tiles import DEFAULT_TILE, Tiles, overlap_of, tiles_for
from srkd_plugin.runtimes.torch_upscaler import TorchUpscaler

EDSR = {"type": "EDSR", "num_in_ch": 3, "num_out_ch": 3, "num_feat": 8, "num_block": 2, "upscale": 2}
RRDB = {"type": "RRDBNet", "num_in_ch": 3, "num_out_ch": 3, "num_feat": 4, "num_block": 1, "num_grow_ch": 2, "scale": 2}
COMPACT = {"type": "SRVGGNetCompact", "num_feat": 8, "num_conv": 3, "upscale": 4, "act_type": "prelu"}
RCAN = {"type": "RCAN", "num_in_ch": 3, "num_out_ch": 3, "num_feat": 4, "num_group": 1, "num_block": 1, "upscale": 2}
RCAN["squeeze_factor"] = 2


def built(network):
    torch.manual_seed(0)
    return build_described("network_g", network).eval()


def image(h, w, channels=3):
    return np.random.default_rng(1).random((1, channels, h, w), np.float32)


def onnx_file(path, net, size=None, **metadata):
    """The network as ONNX; of any size, or of one."""
    onnx = pytest.importorskip("onnx")
    pytest.importorskip("onnxruntime")
    axes = {} if size else {"dynamic_axes": {"x": {0: "n", 2: "h", 3: "w"}, "y": {0: "n", 2: "h", 3: "w"}}}
    like = torch.zeros(1, 3, *(size or (16, 16)))
    torch.onnx.export(net, (like,), str(path), input_names=["x"], output_names=["y"], dynamo=False, **axes)
    if metadata:
        model = onnx.load(str(path))
        onnx.helper.set_model_props(model, {key: str(value) for key, value in metadata.items()})
        onnx.save(model, str(path))
    return path


@pytest.mark.parametrize(
    ("network", "scale", "tile"),
    [(EDSR, 2, 9), (EDSR, 2, 16), (EDSR, 2, 45), (RRDB, 2, 11), (COMPACT, 4, 13), (tiny.SWINIR, 2, 20)],
)
def test_in_torch_tiles_give_the_whole_image_within_1e_6(network, scale, tile):
    upscaler = TorchUpscaler(built(network), scale)
    lq = image(71, 90)
    tiles = tiles_for(upscaler, tile)
    assert tiles.count(71, 90) > 1
    assert np.abs(tiles(lq) - upscaler(lq)).max() <= 1e-6


@pytest.mark.parametrize("network", [EDSR, COMPACT])
def test_in_onnxruntime_tiles_give_the_whole_image_within_1e_6(tmp_path, network):
    net = built(network)
    upscaler = OnnxUpscaler(onnx_file(tmp_path / "a.onnx", net), threads=1)
    lq = image(41, 50)
    assert overlap_of(upscaler) == overlap_of(TorchUpscaler(net, upscaler.scale))
    assert np.abs(tiles_for(upscaler, 16)(lq) - upscaler(lq)).max() <= 1e-6


def test_a_smaller_overlap_gives_something_else():
    upscaler = TorchUpscaler(built(EDSR), 2)
    lq = image(41, 50)
    assert np.abs(Tiles(upscaler, 16, 1)(lq) - upscaler(lq)).max() > 1e-4


def test_a_file_that_states_its_field_is_believed(tmp_path):
    upscaler = OnnxUpscaler(onnx_file(tmp_path / "a.onnx", built(EDSR), receptive_field=11, size_multiple=4))
    assert (overlap_of(upscaler), upscaler.multiple) == (11, 4)
    assert OnnxUpscaler(onnx_file(tmp_path / "b.onnx", built(EDSR), receptive_field="?")).receptive_field is None


@pytest.mark.parametrize("size", [(24, 24), (41, 50), (41, 20), (9, 7), (24, 60)])
def test_a_model_of_a_fixed_size_upscales_images_of_any(tmp_path, size):
    net = built(EDSR)
    upscaler = OnnxUpscaler(onnx_file(tmp_path / "a.onnx", net, size=(24, 24)), threads=1)
    tiles, lq = tiles_for(upscaler), image(*size)
    sr, whole = tiles(lq), TorchUpscaler(net, 2)(lq)
    assert sr.shape == whole.shape and tiles.overlap == 8
    far = [slice(None, (side if side >= 24 else max(side - 8, 0)) * 2) for side in size]  # from what had to be filled
    assert np.abs((sr - whole)[..., far[0], far[1]]).max(initial=0) <= 1e-6


def test_a_fixed_size_that_overlaps_use_up_is_refused(tmp_path):
    upscaler = OnnxUpscaler(onnx_file(tmp_path / "a.onnx", built(EDSR), size=(24, 24)))
    with pytest.raises(InputError, match=r"takes 24x24 only, and tiles overlap by 12 .* Export it without --fixed"):
        tiles_for(upscaler, overlap=12)


class OfOneSize(TorchUpscaler):
    """A model in torch that takes one size, as ONNX files can."""

    fixed_size = (96, 104)

    def __call__(self, lq):
        assert lq.shape[-2:] == self.fixed_size
        return super().__call__(lq)


@pytest.mark.parametrize(("network", "overlap"), [(RRDB, 38), (tiny.SWINIR, 16)])
def test_tiles_of_one_size_begin_at_multiples_and_are_padded_as_whole_images(network, overlap):
    net, lq = built(network), image(101, 131)
    assert np.abs(Tiles(OfOneSize(net, 2), None, overlap)(lq) - TorchUpscaler(net, 2)(lq)).max() <= 1e-6


@pytest.mark.parametrize("side", range(1, 70, 3))
def test_tiles_of_one_size_in_blocks_cover_a_side_once_and_see_what_they_need(side):
    found = list(spans_of_size(side, 16, 5, 4))
    assert [n for span in found for n in range(span.start, span.stop)] == list(range(side))
    assert all(span.last - span.first == 16 and span.first >= 0 and span.first % 4 == 0 for span in found)
    assert all(span.first <= max(0, span.start - 5) and span.last >= min(side, span.stop + 5) for span in found)


@pytest.mark.parametrize("side", range(11, 40))
def test_tiles_of_one_size_cover_a_side_once_and_see_what_they_need(side):
    found = list(spans_of_size(side, 11, 3))
    assert [n for span in found for n in range(span.start, span.stop)] == list(range(side))
    assert all(span.last - span.first == 11 and span.first >= 0 and span.last <= side for span in found)
    assert all(span.first <= max(0, span.start - 3) and span.last >= min(side, span.stop + 3) for span in found)


def test_a_model_that_sees_the_whole_image_has_no_tiles_but_with_an_overlap():
    upscaler = TorchUpscaler(built(RCAN), 2)
    lq = image(40, 50)
    assert tiles_for(upscaler).tile is None
    assert np.array_equal(tiles_for(upscaler)(lq), upscaler(lq))
    with pytest.raises(
        InputError, match=r"--overlap is missing: the model sees the whole image.*--overlap 32.*--tile 0"
    ):
        tiles_for(upscaler, 16)
    assert tiles_for(upscaler, 16, 5)(lq).shape == (1, 3, 80, 100)


def test_the_size_of_tiles_is_bounded_and_grows_with_the_overlap():
    near, far = (TorchUpscaler(nn.Conv2d(3, 3, (1, 2 * r + 1), padding=(0, r)), 1) for r in (1, 100))
    assert (tiles_for(near).tile, tiles_for(far).tile) == (DEFAULT_TILE, 400)
    assert tiles_for(near, 0).tile is None


def test_no_more_than_a_band_is_given_at_a_time_and_each_tile_is_told():
    upscaler, lq, told = TorchUpscaler(built(EDSR), 2), image(40, 50), []
    bands = list(tiles_for(upscaler, 16).bands(40, 50, lambda ys, xs: lq[..., ys, xs], lambda: told.append(1)))
    assert [(band.rows.start, band.rows.stop) for band in bands] == [(0, 32), (32, 64), (64, 80)]
    assert {band.pixels.shape[-1] for band in bands} == {100}
    assert len(told) == tiles_for(upscaler, 16).count(40, 50) == 12


def test_batches_and_wrong_images():
    upscaler = TorchUpscaler(built(EDSR), 2)
    lq = np.concatenate([image(20, 30), image(20, 30)[..., ::-1]])
    tiles = tiles_for(upscaler, 16)
    assert np.abs(tiles(lq) - upscaler(lq)).max() <= 1e-6
    with pytest.raises(InputError, match=r"the model takes \(N, 3, h, w\) float32"):
        tiles(lq[:, :1])


PEAKS = """
import re
from srkd_plugin.cli.main import main
for tile in ("100", "0"):
    assert main(["upscale", "--model", "net.pth", "a.png", f"{tile}.png", "--tile", tile]) == 0
    # of this program alone: getrusage has the peak of the process that started it, too
    print(re.search(r"VmHWM:\\s*(\\d+)", open("/proc/self/status").read())[1])
"""


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="no /proc to read the peak of memory from")
def test_tiles_bound_the_memory(tmp_path):
    """One feature map of the whole image at the size of SR is 16 x 1200 x 1200 floats, and there are several."""
    network = {**EDSR, "num_feat": 16}
    write_student(tmp_path / "net.pth", StudentFile(network, 2, built(network).state_dict()))
    Image.new("RGB", (600, 600)).save(tmp_path / "a.png")
    shown = tiny.run_ok("-c", PEAKS, cwd=tmp_path)
    in_tiles, whole = (int(line) * 1024 for line in shown.splitlines() if line.isdecimal())
    assert whole - in_tiles > 16 * 1200 * 1200 * 4
