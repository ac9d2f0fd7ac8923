"""Reading a network as steps, by symbolic tracing (torch.fx), and what INT8 has no step for in one line."""

from __future__ import annotations

import copy
import operator
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, fx, nn
from torch.nn import functional as F

from srkd_plugin.errors import InputError
from srkd_plugin.quantization.steps import Step, Steps

KINDS = (
    "convolutions, ReLU, LeakyReLU, PReLU, additions, PixelShuffle, enlargement by whole numbers, and constants before "
    "the first and after the last convolution"
)
REMEDY = f"INT8 knows {KINDS}: export another format, or another student."


class _Tracer(fx.Tracer):
    """Keeps parameters as they are, so that what a network computes of them alone (ECBSR's kernels) is a constant."""

    def __init__(self) -> None:
        super().__init__()
        self.path = ""
        """The module that runs; after an error, the one in which it happened."""
        self.constants: dict[str, Tensor] = {}
        """Tensors that the forward pass reads; a network may put something else in their place while it runs (EDSR's
        mean)."""

    def create_arg(self, a: Any) -> Any:
        """Keep a tensor aside, as the node that reads it; all else as torch.fx does."""
        if isinstance(a, Tensor):
            name = f"constant_{len(self.constants)}"
            self.constants[name] = a.detach().clone()
            return self.create_node("get_attr", name, (), {})
        return super().create_arg(a)

    def getattr(self, attr: str, attr_val: Any, parameter_proxy_cache: dict[str, Any]) -> Any:
        return attr_val

    def call_module(self, m: nn.Module, forward: Callable[..., Any], args: Any, kwargs: Any) -> Any:
        before, self.path = self.path, self.path_of_module(m)
        result = super().call_module(m, forward, args, kwargs)
        self.path = before
        return result

    def create_node(self, *args: Any, **kwargs: Any) -> fx.Node:
        node = super().create_node(*args, **kwargs)
        node.meta["path"] = self.path
        return node


def read_steps(net: nn.Module, name: str = "the network") -> Steps:
    """Read a network as it runs in eval mode.

    Args:
        net: The network; it is left as it is.
        name: What errors call it.

    Returns:
        Its steps as it computes them; nothing is folded.

    Raises:
        InputError: It has control flow that depends on its input, or an operation that is no step.
    """
    tracer = _Tracer()
    bare = copy.deepcopy(net).cpu().eval().requires_grad_(False)
    try:
        with torch.no_grad():
            graph = tracer.trace(bare)
    except Exception as error:  # a network's forward may fail in any way on what is no tensor
        where = f"in {tracer.path}: " if tracer.path else ""
        problem = f"{name} cannot be traced ({where}{' '.join(str(error).split())[:160]})"
        raise InputError("INT8", type(net).__name__, problem, "Export another format, or another student.") from error
    return _Reader(bare, graph, tracer.constants, type(net).__name__).read()


class _Reader:
    """Turns a traced graph into steps."""

    def __init__(self, net: nn.Module, graph: fx.Graph, constants: dict[str, Tensor], name: str) -> None:
        self.net, self.graph, self.constants, self.name = net, graph, constants, name
        self.steps = Steps([], "")
        self.values: dict[fx.Node, Any] = {}
        """Values by node: the name of its step, or its value if it is a constant."""

    def read(self) -> Steps:
        for node in self.graph.nodes:
            if node.op == "output":
                self.steps.output = self._step_of(node.args[0], node)
            elif node.op == "get_attr":
                self.values[node] = self.constants[str(node.target)]
            elif node.op == "placeholder":
                if self.steps.steps:
                    raise self._refuse(node, "a second input")
                self.values[node] = self._add(node, "input", ())
            else:
                self.values[node] = self._read(node)
        return self.steps

    def _read(self, node: fx.Node) -> Any:
        if node.op == "call_module":
            return self._module(node, self.net.get_submodule(str(node.target)))
        target: Any = node.target if node.op == "call_function" else f"tensor.{node.target}"
        args = [self._value(argument) for argument in node.args]
        if target in ("tensor.type_as", "tensor.to", "tensor.contiguous", "tensor.clone"):
            return args[0]
        if target in ARITHMETIC:
            return self._arithmetic(node, ARITHMETIC[target], args)
        return self._function(node, target, args)

    def _arithmetic(self, node: fx.Node, kind: str, args: list[Any]) -> Any:
        a, b = args
        if isinstance(a, str) and isinstance(b, str):
            if kind != "add":
                raise self._refuse(node, f"{kind} of two feature maps")
            return self._add(node, "add", (a, b))
        if not isinstance(a, str):
            if isinstance(b, str) and kind in ("add", "mul"):
                a, b = b, a
            else:
                raise self._refuse(node, f"{kind} of a constant and a feature map")
        constant = torch.as_tensor(b, dtype=torch.float32).detach()
        if constant.dim() not in (0, 4) or constant.numel() != max(constant.shape[1:2], default=1):
            raise self._refuse(node, f"{kind} of a constant of shape {tuple(constant.shape)}")
        if kind in ("add", "sub"):
            return self._add(node, "shift", (a,), shift=constant if kind == "add" else -constant)
        return self._add(node, "scale", (a,), scale=constant if kind == "mul" else 1 / constant.double())

    def _module(self, node: fx.Node, module: Any) -> Any:
        source = (self._step_of(node.args[0], node),)
        kind: Any = type(module)
        if kind is nn.Conv2d:
            if module.padding_mode != "zeros" or isinstance(module.padding, str):
                raise self._refuse(node, f"padding {module.padding_mode} {module.padding}")
            arguments = {k: getattr(module, k) for k in ("stride", "padding", "dilation", "groups")}
            return self._conv(node, source, module.weight, module.bias, arguments)
        if kind is nn.ReLU:
            return self._add(node, "relu", source)
        if kind is nn.LeakyReLU:
            return self._add(node, "leaky", source, slope=torch.tensor([module.negative_slope]))
        if kind is nn.PReLU:
            return self._add(node, "prelu", source, slope=module.weight.detach().clone())
        if kind is nn.PixelShuffle:
            return self._add(node, "shuffle", source, factor=module.upscale_factor)
        if kind is nn.Upsample:
            return self._resize(node, source, module.size, module.scale_factor, module.mode, module.align_corners)
        if kind in (nn.Identity, nn.Dropout, nn.Dropout2d):
            return source[0]
        raise self._refuse(node, kind.__name__)

    def _function(self, node: fx.Node, target: Any, args: list[Any]) -> Any:
        given = {k: self._value(v) for k, v in node.kwargs.items()}
        source = (args[0] if args else given.pop("input", None),)
        if not isinstance(source[0], str):
            raise self._refuse(node, _name_of(target))
        if target is F.interpolate:
            named = dict(zip(("size", "scale_factor", "mode", "align_corners"), args[1:]))
            given = {**named, **given}
            return self._resize(
                node, source, given.get("size"), given.get("scale_factor"), given.get("mode", "nearest"),
                given.get("align_corners"),
            )  # fmt: skip
        if target in (torch.conv2d, F.conv2d):
            names = ("weight", "bias", "stride", "padding", "dilation", "groups")
            given = {"bias": None, "stride": 1, "padding": 0, "dilation": 1, "groups": 1, **given}
            given.update(zip(names, args[1:]))
            if isinstance(given["weight"], Tensor) and not isinstance(given["padding"], str):
                weight, bias = given.pop("weight"), given.pop("bias")
                return self._conv(node, source, weight, bias, given)
        if target in (F.relu, torch.relu, "tensor.relu"):
            return self._add(node, "relu", source)
        if target is F.leaky_relu:
            slope = args[1] if len(args) > 1 else given.get("negative_slope", 0.01)
            return self._add(node, "leaky", source, slope=torch.tensor([float(slope)]))
        if target in (F.pixel_shuffle, torch.pixel_shuffle):
            return self._add(node, "shuffle", source, factor=int(args[1]))
        if target in (torch.repeat_interleave, "tensor.repeat_interleave"):
            given.update(zip(("repeats", "dim"), args[1:]))
            if isinstance(given.get("repeats"), int) and given.get("dim") == 1:
                return self._add(node, "repeat", source, factor=given["repeats"])
        raise self._refuse(node, _name_of(target))

    def _conv(self, node: fx.Node, source: tuple[str, ...], weight: Tensor, bias: Any, arguments: Any) -> str:
        pairs = {k: (v, v) if isinstance(v, int) else tuple(v) for k, v in arguments.items() if k != "groups"}
        bias = torch.zeros(weight.shape[0]) if bias is None else bias
        name = self._add(node, "conv", source)
        self.steps.weights[name] = {
            "weight": weight.detach().clone(),
            "bias": bias.detach().clone(),
            "offset": torch.zeros(len(weight)),
            "out_factor": torch.ones(len(weight)),
            "in_factor": torch.ones(weight.shape[1]),
        }
        self.steps.conv_arguments[name] = {**pairs, "groups": int(arguments["groups"])}
        return name

    def _resize(self, node: fx.Node, source: tuple[str, ...], size: Any, factor: Any, mode: str, align: Any) -> str:
        factors = set(factor) if isinstance(factor, (tuple, list)) else {factor}
        whole = size is None and len(factors) == 1 and factor is not None and float(max(factors)).is_integer()
        if not whole or mode not in ("nearest", "bilinear") or align:
            raise self._refuse(node, f"{mode} enlargement by {factor} to {size}, align_corners {align}")
        return self._add(node, mode, source, factor=int(max(factors)))

    def _add(self, node: fx.Node, kind: str, inputs: tuple[str, ...], factor: int = 1, **weights: Tensor) -> str:
        path = str(node.target) if node.op == "call_module" else node.meta["path"]
        name = path if node.op == "call_module" else f"{path}.{kind}".lstrip(".")
        taken, number, free = {step.name for step in self.steps.steps}, 1, name
        while free in taken:
            number += 1
            free = f"{name}_{number}"
        self.steps.steps.append(Step(free, kind, inputs, factor))
        if weights:
            self.steps.weights[free] = weights
        return free

    def _value(self, argument: Any) -> Any:
        return self.values[argument] if isinstance(argument, fx.Node) else argument

    def _step_of(self, argument: Any, node: fx.Node) -> str:
        value = self._value(argument)
        if not isinstance(value, str):
            raise self._refuse(node, "an operation on a constant")
        return value

    def _refuse(self, node: fx.Node, what: str) -> InputError:
        where = str(node.target) if node.op == "call_module" else node.meta.get("path") or "its forward"
        return InputError("INT8", self.name, f"{what} in {where} is no step that INT8 knows", REMEDY)


ARITHMETIC: dict[Any, str] = {
    **dict.fromkeys((operator.add, operator.iadd, torch.add, "tensor.add", "tensor.add_"), "add"),
    **dict.fromkeys((operator.sub, operator.isub, torch.sub, "tensor.sub"), "sub"),
    **dict.fromkeys((operator.mul, operator.imul, torch.mul, "tensor.mul", "tensor.mul_"), "mul"),
    **dict.fromkeys((operator.truediv, operator.itruediv, torch.div, "tensor.div"), "div"),
}


def _name_of(target: Any) -> str:
    return str(target) if isinstance(target, str) else getattr(target, "__name__", repr(target))
