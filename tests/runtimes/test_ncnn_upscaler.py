"""Files that ncnn cannot run, or that are not a student's."""

import numpy as np
import pytest

from srkd_plugin.errors import InputError
from srkd_plugin.runtimes.ncnn_upscaler import NcnnUpscaler
from srkd_plugin.runtimes.opening import open_model

pytest.importorskip("ncnn")

PARAM = """7767517
2 2
Input data 0 1 data
Convolution conv 1 1 data output 0=8 1=3 4=1 5=1 6={weights}
"""
"""A convolution of 3x3 from ``weights / 72`` channels to 8."""


@pytest.fixture
def model(tmp_path):
    """A graph without scale: 3 channels to 8."""
    (tmp_path / "net.param").write_text(PARAM.format(weights=216))
    (tmp_path / "net.bin").write_bytes(bytes(4) + np.ones(216 + 8, np.float32).tobytes())
    return tmp_path / "net.param"


def test_a_graph_runs_image_by_image(model):
    upscaler = open_model(model, threads=1)
    assert (upscaler.scale, upscaler.channels) == (1, 3)
    lq = np.stack([np.full((3, 5, 7), value, np.float32) for value in (0, 1)])
    found = upscaler(lq)
    assert found.shape == (2, 8, 5, 7)
    assert np.all(found[0] == 1) and np.all(found[1, :, 1:-1, 1:-1] == 28)


def test_images_of_any_memory_layout_are_read_whole(model):
    """Such as those of cv2, channels moved first: what is copied for ncnn must live as long as it is read."""
    upscaler = open_model(model, threads=1)
    for seed in range(20):
        lq = np.random.default_rng(seed).random((1, 64, 64, 3), np.float32).transpose(0, 3, 1, 2)
        assert np.array_equal(upscaler(lq), upscaler(lq.copy(order="C")))


@pytest.mark.parametrize(
    ("old", "new", "problem"),
    [
        ("7767517", "7767516", "it does not begin as ncnn's"),
        ("0 1 data", "", "it does not begin as ncnn's"),
        ("output", "out0", "it has no blobs called data and output"),
        ("Convolution", "aten::conv", "ncnn has no layer aten::conv"),
    ],
)
def test_a_param_file_of_something_else_is_refused(model, old, new, problem):
    model.write_text(model.read_text().replace(old, new))
    with pytest.raises(InputError, match=problem):
        NcnnUpscaler(model)


def test_a_bin_file_must_be_there_and_whole(model):
    weights = model.with_suffix(".bin")
    weights.write_bytes(weights.read_bytes()[:100])
    with pytest.raises(InputError, match=r"ncnn cannot load it, or its \.bin file is another network's"):
        NcnnUpscaler(model)
    weights.unlink()
    with pytest.raises(InputError, match=r"net\.bin is not beside it"):
        NcnnUpscaler(model)


def test_binary_content_is_no_param_file(model):
    model.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(InputError, match="it cannot be read as ncnn's"):
        NcnnUpscaler(model)
