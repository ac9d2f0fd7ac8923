"""int8 networks as ONNX: onnxruntime computes what the network does, and with integers."""

import pytest
import quantized
import torch

from srkd_plugin.quantization import costs
from srkd_plugin.quantization.ptq import Int8Settings, calibrate
from srkd_plugin.quantization.qdq import to_onnx
from srkd_plugin.quantization.verify import difference, exact
from srkd_plugin.runtimes.onnx_upscaler import OnnxUpscaler

onnx = pytest.importorskip("onnx")
onnxruntime = pytest.importorskip("onnxruntime")


@pytest.mark.parametrize("name", [*sorted(quantized.KNOWN), "gray"])
def test_onnxruntime_computes_the_network(name):
    described = {**quantized.KNOWN, "gray": {**quantized.COMPACT, "num_in_ch": 1, "num_out_ch": 1}}[name]
    net = quantized.network(described)
    channels = described.get("num_in_ch", 3)
    found = calibrate(net, quantized.images(channels=channels)).net
    content = to_onnx(found, {"scale": 2})
    upscaler = OnnxUpscaler(content)
    for sides in ((18, 13), (7, 30)):
        lq = quantized.images(3, channels, *sides, seed=2)
        most, share = difference(found, upscaler, lq)
        assert most < 2.01 and share < 0.02
    model = onnx.load_from_string(content)
    assert {p.key: p.value for p in model.metadata_props} == {"scale": "2"}
    weights = {constant.name: onnx.numpy_helper.to_array(constant) for constant in model.graph.initializer}
    assert {str(value.dtype) for key, value in weights.items() if key.endswith(".weight")} == {"int8"}
    assert {str(value.dtype) for key, value in weights.items() if key.endswith(".bias")} == {"int32"}


def test_every_convolution_runs_in_integers(tmp_path):
    found = calibrate(quantized.network(quantized.EDSR), quantized.images()).net
    options = onnxruntime.SessionOptions()
    options.optimized_model_filepath = str(tmp_path / "optimized.onnx")
    options.log_severity_level = 3
    onnxruntime.InferenceSession(to_onnx(found), options, providers=["CPUExecutionProvider"])
    kinds = [node.op_type for node in onnx.load(str(tmp_path / "optimized.onnx")).graph.node]
    assert kinds.count("QLinearConv") == len(found.convs()) and "Conv" not in kinds


def test_float_layers_stay_float():
    net = quantized.network(quantized.EDSR)
    layers = ["conv_first", "body.0.conv1", "body.1.add", "conv_last"]
    found = calibrate(net, quantized.images(), Int8Settings(float_layers=layers)).net
    assert set(costs.layers(found)).isdisjoint(layers)
    content = to_onnx(found)
    weights = {c.name: onnx.numpy_helper.to_array(c) for c in onnx.load_from_string(content).graph.initializer}
    assert weights["conv_first.weight"].dtype == "float32" and weights["body.0.conv2.weight"].dtype == "int8"
    most, share = difference(found, OnnxUpscaler(content), quantized.images(3, seed=2))
    assert most < 2.01 and share < 0.02


def test_exact_arithmetic_is_that_of_the_network():
    found = calibrate(quantized.network(quantized.COMPACT), quantized.images()).net
    lq = quantized.images(2, seed=3)
    with torch.no_grad():
        off = (exact(found)(lq.double()) - found(lq)).abs() * 255
    assert off.max() < 2.01 and (off > 0.5).double().mean() < 0.02
