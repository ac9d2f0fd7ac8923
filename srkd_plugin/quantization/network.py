"""A network in the numbers of int8: its steps, with fake quantisation where an int8 program has 8-bit tensors."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Optional

import torch
from torch import Tensor, nn

from srkd_plugin.quantization import fake_quant
from srkd_plugin.quantization.steps import MOVES, Step, Steps, compute, kernel

TRAINED = ("weight", "bias", "slope")
ACTIVATIONS = ("relu", "leaky", "prelu")
COMPUTED = ("conv", *ACTIVATIONS, "add")
"""Steps that an int8 program computes in int8."""


class Layer(nn.Module):
    """The state of one step: its weights, the scales of its levels, and the range of its result."""

    lo: Tensor
    hi: Tensor
    weight_scale: Tensor

    def own(self) -> dict[str, Tensor]:
        """Its parameters and buffers by name."""
        return {**dict(self.named_parameters(recurse=False)), **dict(self.named_buffers(recurse=False))}


class Int8Network(nn.Module):
    """A network as an int8 program computes it, in float32, so that it can be trained.

    Activations are u8 with one range per tensor, weights s8 with one scale per output channel, biases s32. A tensor has
    a range if an int8 step reads or makes it; what only moves values has its source's. A convolution and the ReLU that
    follows are one. Parameters have the names and values of the network that it is made from.

    Args:
        steps: The network, folded (:func:`~srkd_plugin.quantization.fold.folded`).
        float_steps: Names of convolutions, activations and additions that stay in float32.
        weight_bits: 8, or 7 (see :func:`~srkd_plugin.quantization.fake_quant.weight_scales`).
    """

    def __init__(self, steps: Steps, float_steps: Iterable[str] = (), weight_bits: int = 8) -> None:
        super().__init__()
        self.steps, self.weight_bits = steps, weight_bits
        self.observer: Optional[Callable[[str, Tensor], None]] = None
        """Called with the name and the values of each tensor that has a range, before they are rounded."""
        self.rounds = True
        """Whether anything is rounded; without it, this is the network in float32."""
        self.only: Optional[set[str]] = None
        """Names of tensors and weights (``conv_first.weight``) that are rounded; None: all."""
        self.follow_weights = False
        """Whether scales of weights follow the weights, in training mode."""
        self._moved_from = {step.name: step.inputs[0] for step in steps.steps if step.kind in MOVES}
        self._by_name = {step.name: step for step in steps.steps}
        self._stateful: set[str] = set()
        for step in steps.steps:
            self._add_layer(step)
        self.set_float(float_steps)

    def _add_layer(self, step: Step) -> None:
        layer = Layer()
        for name, value in self.steps.weights.get(step.name, {}).items():
            if name in TRAINED:
                layer.register_parameter(name, nn.Parameter(value.clone()))
            else:
                layer.register_buffer(name, value.clone())
        if step.kind == "conv":
            layer.register_buffer("weight_scale", torch.ones(len(layer.own()["bias"])))
        if step.kind not in MOVES and not self._is_before_relu(step):
            layer.register_buffer("lo", torch.zeros(()))
            layer.register_buffer("hi", torch.ones(()))
        if not list(layer.named_buffers()):
            return
        self._stateful.add(step.name)
        *path, last = step.name.split(".")
        parent: nn.Module = self
        for part in path:
            if part not in dict(parent.named_children()):
                parent.add_module(part, nn.Module())
            parent = dict(parent.named_children())[part]
        parent.add_module(last, layer)

    def layer(self, name: str) -> Layer:
        """The state of a step."""
        return self.get_submodule(name)  # type: ignore[return-value]  # _add_layer has put it there

    def _is_before_relu(self, step: Step) -> bool:
        reader = self.steps.sole_reader(step.name)
        return step.kind in ("conv", "shift", "input") and reader is not None and reader.kind in ("relu", "shift")

    def set_float(self, names: Iterable[str]) -> None:
        """Keep these steps in float32, and compute all others in int8."""
        self.float_steps = set(names)
        for step in self.steps.steps:
            if step.kind == "relu":  # one with its convolution
                pair = {step.name, step.inputs[0]}
                self.float_steps |= pair if pair & self.float_steps else set()

    def own(self, step: Step) -> dict[str, Tensor]:
        """A step's parameters and buffers; none if it has no state."""
        return self.layer(step.name).own() if step.name in self._stateful else {}

    def in_int8(self, step: Step) -> bool:
        """Whether a step computes, and does so in int8."""
        return step.kind in COMPUTED and step.name not in self.float_steps

    def is_int8(self, name: str) -> bool:
        """Whether a step is computed in int8; one that only moves values is if its source is."""
        return self.in_int8(self._by_name[self.source(name)])

    def source(self, name: str) -> str:
        """The step that makes the values which a step moves; a step that moves none itself."""
        while name in self._moved_from:
            name = self._moved_from[name]
        return name

    def has_range(self, name: str) -> bool:
        """Whether a step's result is rounded: it is made or read in int8."""
        step = self._by_name[name]
        if step.kind in MOVES or self._is_before_relu(step):
            return False
        return self.is_int8(name) or any(self._reads_in_int8(name))

    def _reads_in_int8(self, name: str) -> Iterable[bool]:
        for reader in self.steps.readers(name):
            if reader.kind in MOVES:
                yield from self._reads_in_int8(reader.name)
            else:
                yield self.in_int8(reader)

    def forward(self, x: Tensor) -> Tensor:
        """Run the network; ``(N, C, h, w)`` in 0..1 to ``(N, C, H, W)``, which int8 makes of 256 levels."""
        exact: dict[str, Tensor] = {}
        rounded: dict[str, Tensor] = {}

        def value(name: str, as_int8: bool) -> Tensor:
            return (rounded if as_int8 or self.is_int8(name) else exact)[name]

        for step in self.steps.steps:
            in_int8 = self.in_int8(step)
            if step.kind in MOVES:
                for values in (exact, rounded):
                    if step.inputs[0] in values:
                        values[step.name] = compute(step, [values[step.inputs[0]]], {}, {})
                continue
            given = [value(name, in_int8) for name in step.inputs] or [x]
            exact[step.name] = result = self._compute(step, given, in_int8)
            rounded[step.name] = self._round(step.name, result) if self.has_range(step.name) else result
        return value(self.steps.output, False)

    def _compute(self, step: Step, given: list[Tensor], in_int8: bool) -> Tensor:
        own = self.own(step)
        if step.kind != "conv":
            return compute(step, given, own, {})
        weight, bias = kernel(own)
        if in_int8 and self.rounds and (self.only is None or f"{step.name}.weight" in self.only):
            weight, bias = self.round_kernel(step, weight, bias)
        return nn.functional.conv2d(given[0], weight, bias, **self.steps.conv_arguments[step.name])

    def round_kernel(self, step: Step, weight: Tensor, bias: Tensor) -> tuple[Tensor, Tensor]:
        """Weight and bias of a convolution at their levels; in training, the scales may follow the weights."""
        layer, in_scale = self.layer(step.name), self.in_scale(step)
        if self.follow_weights and self.training:
            self._fit_scales(layer, weight, bias, in_scale)
        scales = layer.weight_scale
        return (
            fake_quant.quantise_weight(weight, scales, self.weight_bits),
            fake_quant.quantise_bias(bias, in_scale * scales.float()),
        )

    def in_scale(self, conv: Step) -> Tensor:
        """Scale of the tensor that a convolution reads, 0-dim."""
        source = self.layer(self.source(conv.inputs[0]))
        return fake_quant.scale_and_zero(source.lo, source.hi)[0]

    @torch.no_grad()
    def fit_weight_scales(self) -> None:
        """Set the scales of all weights by the weights and ranges of now."""
        for step in self.convs():
            layer = self.layer(step.name)
            weight, bias = kernel(layer.own())
            self._fit_scales(layer, weight, bias, self.in_scale(step))

    @torch.no_grad()
    def _fit_scales(self, layer: Layer, weight: Tensor, bias: Tensor, in_scale: Tensor) -> None:
        layer.weight_scale.copy_(fake_quant.weight_scales(weight, bias, in_scale, self.weight_bits))

    def convs(self) -> list[Step]:
        """The convolutions."""
        return [step for step in self.steps.steps if step.kind == "conv"]

    def ranges(self) -> list[str]:
        """Names of the tensors that have a range."""
        return [step.name for step in self.steps.steps if self.has_range(step.name)]

    def _round(self, name: str, x: Tensor) -> Tensor:
        if self.observer is not None:
            self.observer(name, x)
        if not self.rounds or (self.only is not None and name not in self.only):
            return x
        layer = self.layer(name)
        rounded = fake_quant.quantise_activation(x, layer.lo, layer.hi)
        # NaN stays NaN, by which receptive fields are measured; rounding makes a number of it
        return rounded if self.training else rounded + (x - x)
