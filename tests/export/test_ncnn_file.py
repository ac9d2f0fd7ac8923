"""Students as ncnn's files: what they compute, what they are called, and networks that ncnn cannot run."""

import sys

import numpy as np
import pytest
import torch
from basicsr.utils.registry import ARCH_REGISTRY
from tiny import SWINIR

from srkd_plugin.errors import InputError
from srkd_plugin.export.job import ExportJob
from srkd_plugin.export.ncnn_file import MAX_ERROR, convert, upscayl_scale, write_ncnn
from srkd_plugin.networks.build import build_described
from srkd_plugin.networks.padding import size_multiple
from srkd_plugin.networks.student_file import StudentFile
from srkd_plugin.runtimes.opening import open_model

pytest.importorskip("ncnn")
pnnx = pytest.importorskip("pnnx")

RGB = {"num_in_ch": 3, "num_out_ch": 3}
EDSR = {"type": "EDSR", **RGB, "num_feat": 4, "num_block": 1}
COMPACT = {"type": "SRVGGNetCompact", **RGB, "num_feat": 4, "num_conv": 1}
ECBSR = {"type": "ECBSR", **RGB, "num_block": 1, "num_channel": 4, "with_idt": False, "act_type": "prelu"}


def job(folder, network, scale):
    """A student with random weights on its way to ``folder``."""
    torch.manual_seed(0)
    student = StudentFile(network, scale, build_described("network_g", network).state_dict())
    net = student.build()
    return ExportJob(student, f"net-x{scale}", folder, size_multiple(net, student.channels, scale))


@pytest.mark.parametrize("scale", [2, 3, 4])
@pytest.mark.parametrize("network", [EDSR, COMPACT], ids=["EDSR", "SRVGGNetCompact"])
def test_files_compute_what_the_network_computes_at_any_size(tmp_path, capfd, network, scale):
    made = job(tmp_path, {**network, "upscale": scale}, scale)
    (written,) = write_ncnn(made)
    assert [file.name for file in written.files] == [f"net-x{scale}.param", f"net-x{scale}.bin"]
    printed = capfd.readouterr()
    assert "pass_level" not in printed.out + printed.err  # pnnx prints dozens of lines
    assert 1e-6 < written.max_error <= MAX_ERROR
    assert written.notes == ("weights of convolutions are stored as float16",)
    upscaler = open_model(written.files[0])
    assert (upscaler.scale, upscaler.channels, upscaler.name) == (scale, 3, "ncnn")
    for height, width in ((13, 22), (31, 7)):
        lq = np.random.default_rng(1).random((2, 3, height, width), np.float32)
        expected = made.net(torch.from_numpy(lq)).numpy()
        found = upscaler(lq)
        assert found.dtype == np.float32 and found.shape == (2, 3, scale * height, scale * width)
        assert np.abs(found - expected).max() <= MAX_ERROR


def test_blobs_are_called_as_the_programs_that_read_them_want(tmp_path):
    lines = [line.split() for line in convert(job(tmp_path, {**EDSR, "upscale": 2}, 2)).param.decode().splitlines()]
    assert lines[0] == ["7767517"]
    assert [line for line in lines if line[0] == "Input"] == [["Input", "data", "0", "1", "data"]]
    assert [line[4 + int(line[2])] for line in lines if "output" in line] == ["output"]
    assert not any(word in ("in0", "out0") for line in lines for word in line)


def test_float32_storage_is_exact_but_for_the_order_of_sums(tmp_path):
    made = job(tmp_path, {**EDSR, "upscale": 2}, 2)
    half, full = convert(made), convert(made, half=False)
    assert full.max_error < 1e-5 < half.max_error
    assert not full.half and len(full.weights) > 1.5 * len(half.weights)


@pytest.mark.parametrize("network", [ECBSR, {**ECBSR, "num_in_ch": 1, "num_out_ch": 1}], ids=["RGB", "gray"])
def test_ecbsr_is_converted_although_pnnx_has_no_repeat_interleave(tmp_path, network):
    (written,) = write_ncnn(job(tmp_path, {**network, "scale": 2}, 2))
    channels = network["num_in_ch"]
    assert written.max_error <= MAX_ERROR
    assert open_model(written.files[0]).channels == channels
    assert any("it takes 1 channels" in note for note in written.notes) == (channels == 1)


def test_networks_of_fixed_multiples_are_refused(tmp_path):
    with pytest.raises(InputError, match=r"'SwinIR': it takes sides of multiples of 8 only.* Use another format"):
        convert(job(tmp_path, SWINIR, 2))


@pytest.mark.parametrize(
    ("name", "scale"), [("edsr-x2", 2), ("edsr-x3", 3), ("edsr-x4", 4), ("edsr_8x32-x4", 3), ("A2X-x3", 2), ("x8", 4)]
)
def test_the_scale_that_upscayl_reads_from_a_name(name, scale):
    assert upscayl_scale(name) == scale


@pytest.fixture
def registered():
    """Register an architecture for one test."""
    names = []

    def register(cls):
        ARCH_REGISTRY.register(cls)
        names.append(cls.__name__)
        return {"type": cls.__name__}

    yield register
    for name in names:
        del ARCH_REGISTRY._obj_map[name]


def test_a_layer_that_ncnn_has_not_is_named(registered, tmp_path):
    class Spectral(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.conv = torch.nn.Conv2d(3, 3, 1)

        def forward(self, x):
            return torch.fft.fft2(self.conv(x)).abs()

    with pytest.raises(InputError, match=r"network_g.type = 'Spectral': ncnn has no layer torch\.fft"):
        convert(job(tmp_path, registered(Spectral), 1))


def test_what_comes_out_different_is_not_written(registered, tmp_path):
    class Branching(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.conv = torch.nn.Conv2d(3, 3, 1)

        def forward(self, x):
            return self.conv(x) + 1 if x.shape[-1] == 24 else self.conv(x)

    with pytest.raises(InputError, match=r"ncnn's result differs from torch's by up to 1\.0e\+00, more than 2e-03"):
        list(write_ncnn(job(tmp_path, registered(Branching), 1)))
    assert list(tmp_path.iterdir()) == []


@pytest.mark.skipif(sys.platform == "win32", reason="a shell script stands in for pnnx")
def test_the_last_lines_of_a_pnnx_that_fails_are_said(monkeypatch, tmp_path):
    program = tmp_path / "pnnx"
    program.write_text("#!/bin/sh\nfor i in 1 2 3 4 5; do echo line $i; done\nexit 3\n")
    program.chmod(0o755)
    monkeypatch.setattr(pnnx, "EXEC_PATH", str(program))
    with pytest.raises(InputError, match=r"pnnx ended with code 3: line 3 \| line 4 \| line 5"):
        convert(job(tmp_path, {**EDSR, "upscale": 2}, 2))
