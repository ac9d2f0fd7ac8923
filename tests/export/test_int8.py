"""INT8 files of srkd export: what is written and said, and what is refused with nothing written."""

import cv2
import numpy as np
import pytest
import quantized
import tiny
import torch

from srkd_plugin.cli.main import main
from srkd_plugin.export import int8
from srkd_plugin.quantization.verify import Difference
from srkd_plugin.runtimes.opening import open_model

pytest.importorskip("onnx")
pytest.importorskip("onnxruntime")


@pytest.fixture
def student(tmp_path, data):
    net = quantized.network({**tiny.STUDENT, "res_scale": 0.5})
    torch.save({"params": net.state_dict()}, tmp_path / "net.pth")
    opt = {"name": "stu", "scale": 2, "network_g": {**tiny.STUDENT, "res_scale": 0.5}}
    tiny.write_options(opt, tmp_path / "o.yml")
    return net, tmp_path


def export(folder, *more):
    given = ["-opt", folder / "o.yml", "--weights", folder / "net.pth", "--out", folder / "out", "--without", "onnx"]
    return main(["export", *map(str, [*given, *more])])


def test_a_student_is_exported_to_int8(student, data, capsys):
    net, folder = student
    assert export(folder, "--int8", "--calibrate", data / "LR", "--int8-crops", 6) == 0
    printed = capsys.readouterr().out
    assert "stu-x2-int8.onnx" in printed and "float layers: none" in printed and "conv_first 0." in printed
    upscaler = open_model(folder / "out/stu-x2-int8.onnx")
    lq = quantized.images(2, height=21, width=14, seed=5)
    with torch.no_grad():
        off = torch.from_numpy(upscaler(lq.numpy())) - net(lq).clamp(0, 1)
    assert upscaler.scale == 2 and off.square().mean() < 1e-3


def test_named_layers_stay_float(student, data, capsys):
    assert (
        export(student[1], "--int8", "--calibrate", data / "LR", "--int8-float-layers", "conv_first", "conv_last") == 0
    )
    assert "float layers: conv_first, conv_last" in capsys.readouterr().out


def write_gray(folder):
    for index in range(4):
        cv2.imwrite(str(folder / f"g{index}.png"), np.full((20, 20), 10 * index, np.uint8))
    return folder


@pytest.mark.parametrize(
    ("flags", "problem"),
    [
        (lambda data, tmp: ["--int8"], "--calibrate"),
        (lambda data, tmp: ["--calibrate", data / "LR"], "it is for INT8"),
        (lambda data, tmp: ["--int8-weight-bits", 7], "--int8-weight-bits = '7': it is for INT8"),
        (lambda data, tmp: ["--int8", "--calibrate", tmp / "nowhere"], "--calibrate"),
        (lambda data, tmp: ["--int8", "--calibrate", write_gray(tmp)], "its images are gray"),
        (lambda data, tmp: ["--int8", "--calibrate", data / "LR", "--int8-float-layers", "convfirst"], "no such layer"),
    ],
)
def test_what_cannot_be_is_one_line_and_nothing_is_written(student, data, tmp_path, capsys, flags, problem):
    (tmp_path / "x").mkdir()
    assert export(student[1], *flags(data, tmp_path / "x")) != 0
    error = capsys.readouterr().err.strip()
    assert problem in error.splitlines()[-1]
    assert not list((student[1] / "out").glob("*")) if (student[1] / "out").exists() else True


def test_a_runtime_that_computes_something_else_is_refused(student, data, monkeypatch, capsys):
    monkeypatch.setattr(int8, "difference", lambda *_: Difference(30.0, 0.4))
    assert export(student[1], "--int8", "--calibrate", data / "LR") != 0
    assert "--int8-weight-bits 7" in capsys.readouterr().err
