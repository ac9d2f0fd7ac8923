"""An int8 network as ONNX with QuantizeLinear and DequantizeLinear (QDQ), which every runtime with int8 reads.

Written node by node, and not by torch's exporter: biases as s32 with the scale of their products, and one pair of nodes
per 8-bit tensor, are what onnxruntime fuses into convolutions of integers, and the numbers are those of the network.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor

from srkd_plugin.quantization import fake_quant
from srkd_plugin.quantization.network import Int8Network
from srkd_plugin.quantization.steps import MOVES, Step, kernel
from srkd_plugin.utils.extras import require

OPSET = 17
IR_VERSION = 8


def to_onnx(
    net: Int8Network, properties: Mapping[str, object] = {}, names: tuple[str, str] = ("input", "output")
) -> bytes:
    """Write an int8 network as an ONNX file: float32 NCHW in 0..1 in and out; batch, height and width are free.

    Args:
        net: The network, with its ranges and scales.
        properties: Facts for the file's ``metadata_props``.
        names: Names of its input and output.

    Returns:
        The file's content.

    Raises:
        InputError: onnx is not installed.
    """
    onnx = require("onnx", "export", "writing ONNX files")
    graph = _Graph(onnx.helper, onnx.numpy_helper, net, names[0])
    with torch.no_grad():
        for step in net.steps.steps:
            graph.add(step)
    graph.node("Identity", [graph.read(net.steps.output, False)], names[1])
    graph.keep_what_leads_to(names[1])
    made = onnx.helper.make_graph(graph.nodes, "int8", *_ends(onnx, net, names), graph.constants)
    model = onnx.helper.make_model(
        made, opset_imports=[onnx.helper.make_opsetid("", OPSET)], ir_version=IR_VERSION, producer_name="srkd_plugin"
    )
    onnx.helper.set_model_props(model, {name: str(value) for name, value in properties.items()})
    onnx.checker.check_model(model, full_check=True)
    return model.SerializeToString()


def _ends(onnx: Any, net: Int8Network, names: tuple[str, str]) -> tuple[list[Any], list[Any]]:
    channels = net.steps.channels
    shapes = (("batch", channels, "height", "width"), ("batch", channels, "output_height", "output_width"))
    ends = [onnx.helper.make_tensor_value_info(n, onnx.TensorProto.FLOAT, s) for n, s in zip(names, shapes)]
    return ends[:1], ends[1:]


class _Graph:
    """The nodes and constants of a file in the making; a tensor's name is that of its step and ``:float``, that of
    its 8-bit form ends in ``:u8``, and that of the float values of that in ``:rounded``."""

    def __init__(self, helper: Any, numpy_helper: Any, net: Int8Network, image: str) -> None:
        self.helper, self.numpy_helper, self.net, self.image = helper, numpy_helper, net, image
        self.nodes: list[Any] = []
        self.constants: list[Any] = []
        self._known: set[str] = set()

    def node(self, kind: str, inputs: list[str], output: str, **attributes: Any) -> str:
        self.nodes.append(self.helper.make_node(kind, inputs, [output], name=f"{output}:{kind}", **attributes))
        return output

    def constant(self, name: str, value: Any) -> str:
        if name not in self._known:
            self._known.add(name)
            self.constants.append(self.numpy_helper.from_array(np.ascontiguousarray(value), name))
        return name

    def keep_what_leads_to(self, output: str) -> None:
        """Leave out what nothing reads: of a step that only moves values, one of both forms."""
        wanted, kept = {output}, []
        for node in reversed(self.nodes):
            if node.output[0] in wanted:
                wanted.update(node.input)
                kept.append(node)
        self.nodes = kept[::-1]
        self.constants = [constant for constant in self.constants if constant.name in wanted]

    def read(self, name: str, as_int8: bool) -> str:
        """The tensor that a step reads of another: rounded if either is computed in int8."""
        rounded = (as_int8 or self.net.is_int8(name)) and self.net.has_range(self.net.source(name))
        return f"{name}:rounded" if rounded else self._exact(name)

    def _exact(self, name: str) -> str:
        return self.image if self.net.steps[name].kind == "input" else f"{name}:float"

    def add(self, step: Step) -> None:
        if step.kind in MOVES:
            self._move(step)
            return
        in_int8 = self.net.in_int8(step)
        inputs = [self.read(name, in_int8) for name in step.inputs]
        self._compute(step, inputs, in_int8)
        if self.net.has_range(step.name):
            self._quantised(self._exact(step.name), step.name, self._range(step.name))

    def _move(self, step: Step) -> None:
        source, moved = step.inputs[0], self.net.source(step.name)
        if self.net.has_range(moved):
            self._moved(step, f"{source}:rounded", f"{step.name}:moved")
            self._quantised(f"{step.name}:moved", step.name, self._range(moved))
        if not self.net.is_int8(moved):
            self._moved(step, self._exact(source), self._exact(step.name))

    def _moved(self, step: Step, source: str, output: str) -> None:
        factor = step.factor
        if step.kind == "shuffle":
            self.node("DepthToSpace", [source], output, blocksize=factor, mode="CRD")
        elif step.kind == "repeat":
            indices = np.repeat(np.arange(self.net.steps.channels, dtype=np.int64), factor)
            self.node("Gather", [source, self.constant(f"{step.name}:channels", indices)], output, axis=1)
        else:
            self._resized(source, output, factor, mode="nearest", nearest_mode="floor", rule="asymmetric")

    def _resized(self, source: str, output: str, factor: int, rule: str, **attributes: Any) -> None:
        scales = self.constant(f"enlarged:{factor}", np.array([1, 1, factor, factor], np.float32))
        self.node("Resize", [source, "", scales], output, coordinate_transformation_mode=rule, **attributes)

    def _range(self, name: str) -> list[str]:
        layer = self.net.layer(name)
        scale, zero = fake_quant.scale_and_zero(layer.lo, layer.hi)
        return [
            self.constant(f"{name}:scale", _numpy(scale)),
            self.constant(f"{name}:zero", _numpy(zero).astype(np.uint8)),
        ]

    def _quantised(self, source: str, name: str, levels: list[str]) -> None:
        self.node("QuantizeLinear", [source, *levels], f"{name}:u8")
        self.node("DequantizeLinear", [f"{name}:u8", *levels], f"{name}:rounded")

    def _compute(self, step: Step, inputs: list[str], in_int8: bool) -> None:
        name, own, made = step.name, self.net.own(step), self._exact(step.name)
        if step.kind == "conv":
            self._conv(step, inputs[0], own, in_int8)
        elif step.kind in ("shift", "add"):
            constants = [self.constant(f"{name}:shift", _numpy(own["shift"]))] if "shift" in own else []
            self.node("Add", [*inputs, *constants], made)
        elif step.kind == "relu":
            self.node("Relu", inputs, made)
        elif step.kind == "leaky":
            self.node("LeakyRelu", inputs, made, alpha=float(own["slope"]))
        elif step.kind == "prelu":
            slope = _numpy(own["slope"]).reshape(-1, 1, 1)
            self.node("PRelu", [*inputs, self.constant(f"{name}:slope", slope)], made)
        elif step.kind == "bilinear":
            self._resized(inputs[0], made, step.factor, mode="linear", rule="half_pixel")

    def _conv(self, step: Step, source: str, own: Mapping[str, Tensor], in_int8: bool) -> None:
        name, (weight, bias) = step.name, kernel(own)
        arguments = self.net.steps.conv_arguments[name]
        attributes = {
            "kernel_shape": list(weight.shape[-2:]),
            "strides": list(arguments["stride"]),
            "pads": [*arguments["padding"], *arguments["padding"]],
            "dilations": list(arguments["dilation"]),
            "group": arguments["groups"],
        }
        if in_int8:
            scales, products = own["weight_scale"], self.net.in_scale(step) * own["weight_scale"]
            rounded = fake_quant.quantise_weight(weight, scales, self.net.weight_bits)
            levels = torch.round(rounded / scales.view(-1, 1, 1, 1))
            inputs = [
                self._dequantised(f"{name}.weight", _numpy(levels).astype(np.int8), scales),
                self._dequantised(f"{name}.bias", _numpy(torch.round(bias / products)).astype(np.int32), products),
            ]
        else:
            inputs = [self.constant(f"{name}.weight", _numpy(weight)), self.constant(f"{name}.bias", _numpy(bias))]
        self.node("Conv", [source, *inputs], self._exact(name), **attributes)

    def _dequantised(self, name: str, levels: np.ndarray, scales: Tensor) -> str:
        zeros = np.zeros(len(scales), levels.dtype)
        inputs = [
            self.constant(name, levels),
            self.constant(f"{name}:scale", _numpy(scales)),
            self.constant(f"{name}:zero", zeros),
        ]
        return self.node("DequantizeLinear", inputs, f"{name}:rounded", axis=0)


def _numpy(value: Tensor) -> np.ndarray:
    return value.detach().cpu().numpy()
