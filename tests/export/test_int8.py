"""INT8 files of srkd export: what is written and said, and what is refused with nothing written."""

import cv2
import numpy as np
import pytest
import quantized
import tiny
import torch

from srkd_plugin.cli.main import main
from srkd_plugin.export import int8
from srkd_plugin.networks.build import build_described
from srkd_plugin.options.int8_network import described
from srkd_plugin.options.sections import QuantizeSection
from srkd_plugin.quantization.fake_quant import scale_and_zero
from srkd_plugin.quantization.verify import Difference, difference
from srkd_plugin.runtimes.opening import open_model

onnx = pytest.importorskip("onnx")
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
    assert upscaler.name == "onnxruntime INT8"
    made = onnx.load(folder / "out/stu-x2-int8.onnx").graph.output[0].type.tensor_type.shape.dim
    assert [dim.dim_param or dim.dim_value for dim in made] == ["batch", 3, "output_height", "output_width"]


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
    shown = capsys.readouterr()
    assert problem in shown.err.strip().splitlines()[-1]
    assert ".onnx" not in shown.out or problem == "no such layer", "images are read before anything is exported"
    assert not list((student[1] / "out").glob("*")) if (student[1] / "out").exists() else True


def test_a_runtime_that_computes_something_else_is_refused(student, data, monkeypatch, capsys):
    monkeypatch.setattr(int8, "difference", lambda *_: Difference(30.0, 0.4))
    assert export(student[1], "--int8", "--calibrate", data / "LR") != 0
    assert "--int8-weight-bits 7" in capsys.readouterr().err


@pytest.fixture
def trained_in_int8(student):
    """The student as a run with train.quantize saves it, whose numbers are no others' than its own."""
    net, folder = student
    section = QuantizeSection(float_layers=["conv_last"])
    int8_net = build_described("network_g", described({**tiny.STUDENT, "res_scale": 0.5}, section))
    int8_net.start_from(net, quantized.images())
    with torch.no_grad():
        int8_net.layer("body.0.add").hi.mul_(0.8)
        int8_net.layer("conv_first").weight_scale.mul_(1.1)
    torch.save({"params": int8_net.state_dict()}, folder / "net.pth")
    opt = {"name": "stu", "scale": 2, "network_g": {**tiny.STUDENT, "res_scale": 0.5}}
    opt["train"] = {"quantize": {"float_layers": ["conv_last"]}}
    tiny.write_options(opt, folder / "o.yml")
    return int8_net.eval(), folder


def test_what_was_trained_in_int8_is_exported_as_it_is(trained_in_int8, capsys):
    net, folder = trained_in_int8
    assert export(folder) == 0
    printed = capsys.readouterr().out
    assert "the numbers of its training" in printed and "float layers: conv_last" in printed
    assert sorted(path.suffix for path in (folder / "out").glob("stu-x2*")) == [".onnx", ".pth", ".safetensors"]
    graph = onnx.load(str(folder / "out/stu-x2-int8.onnx")).graph
    constants = {each.name: onnx.numpy_helper.to_array(each) for each in graph.initializer}
    assert np.array_equal(constants["conv_first.weight:scale"], net.layer("conv_first").weight_scale.numpy())
    scale, zero = scale_and_zero(net.layer("body.0.add").lo, net.layer("body.0.add").hi)
    assert constants["body.0.add:scale"] == scale.numpy() and constants["body.0.add:zero"] == int(zero)
    assert constants["conv_last.weight"].dtype == np.float32
    lq = quantized.images(2, height=21, width=14, seed=5)
    most, share = difference(net, open_model(folder / "out/stu-x2-int8.onnx"), lq)
    assert most < 2.01 and share < 0.02
    with torch.no_grad():
        assert np.array_equal(open_model(folder / "out/stu-x2.safetensors")(lq.numpy()), net(lq).numpy())


def test_flags_that_an_int8_student_has_no_use_for(trained_in_int8, data, capsys):
    _, folder = trained_in_int8
    assert export(folder, "--fp16") != 0
    assert "--fp16 = True: the student was trained in INT8" in capsys.readouterr().err
    assert not list(folder.glob("out/*"))
    assert export(folder, "--int8", "--calibrate", data / "LR") == 0
    assert "--calibrate and float layers are ignored" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("found", "says"),
    [
        (Difference(1.0, 0.00004), "at most 1/255, in 0.00% of the values"),
        (Difference(2.0, 0.0125), "at most 2/255, in 1.25% of the values"),
        (Difference(0.0, 0.0), "the same"),
    ],
)
def test_how_the_runtime_compares_is_said_plainly(found, says):
    assert int8._verified(found).endswith(f"onnxruntime against exact integers: {says}")
