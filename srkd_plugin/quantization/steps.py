"""A network as a list of steps that INT8 knows: convolutions, activations, additions, and moves of pixels."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Optional

import torch
from torch import Tensor
from torch.nn import functional as F

MOVES = ("shuffle", "repeat", "nearest")
"""Steps that move values and change none: their output has the levels of their input."""


@dataclass(frozen=True)
class Step:
    """One operation on tensors ``(N, C, h, w)``."""

    name: str
    """Path of its module, or of the module that computes it, with what it does: ``body.0.conv1``, ``body.0.add``."""
    kind: str
    """``input``; ``shift``: a constant per channel is added; ``conv``; ``relu``, ``leaky`` (LeakyReLU), ``prelu``;
    ``add``; ``bilinear``: enlargement; or one of :data:`MOVES`: ``shuffle`` (PixelShuffle), ``repeat`` (each channel
    several times), ``nearest`` (enlargement)."""
    inputs: tuple[str, ...] = ()
    """Names of the steps that it reads."""
    factor: int = 1
    """Factor of ``shuffle``, ``repeat``, ``nearest`` and ``bilinear``."""


@dataclass
class Steps:
    """A network as steps, each after those that it reads, with the float32 weights of them."""

    steps: list[Step]
    output: str
    """The step whose result is the network's."""
    weights: dict[str, dict[str, Tensor]] = field(default_factory=dict)
    """Weights by step: ``shift`` of ``shift`` ``(1, C, 1, 1)``; ``slope`` of ``leaky`` and ``prelu``, ``(C,)`` or
    ``(1,)``; of ``conv`` what the network has, ``weight`` ``(O, I, kh, kw)`` and ``bias`` ``(O,)``, and what is
    folded into them: ``out_factor`` ``(O,)``, ``in_factor`` ``(I,)`` and ``offset`` ``(O,)``, see :func:`kernel`. They
    stay apart so that training goes on with the weights that the network has, at the learning rate that suits them."""
    conv_arguments: dict[str, dict[str, Any]] = field(default_factory=dict)
    """Arguments by convolution: ``stride``, ``padding``, ``dilation``, ``groups``."""

    def __getitem__(self, name: str) -> Step:
        """The step of a name."""
        return next(step for step in self.steps if step.name == name)

    @property
    def channels(self) -> int:
        """Channels of the network's input."""
        first = next(step.name for step in self.steps if step.kind == "conv")
        return self.weights[first]["weight"].shape[1] * int(self.conv_arguments[first]["groups"])

    def readers(self, name: str) -> list[Step]:
        """The steps that read a step's result."""
        return [step for step in self.steps if name in step.inputs]

    def sole_reader(self, name: str) -> Optional[Step]:
        """The one step that reads a step's result, if it is one, and the network's output is not that result."""
        readers = self.readers(name)
        return readers[0] if len(readers) == 1 and name != self.output else None

    def drop(self, name: str) -> None:
        """Take a step of one input out: those that read it read its input."""
        gone = self[name]
        swap = {name: gone.inputs[0]}
        self.steps = [
            replace(step, inputs=tuple(swap.get(i, i) for i in step.inputs)) for step in self.steps if step is not gone
        ]
        self.output = swap.get(self.output, self.output)
        self.weights.pop(name, None)

    def run(self, x: Tensor) -> Tensor:
        """Run the network in the precision of ``x``; ``(N, C, h, w)``."""
        values: dict[str, Tensor] = {}
        for step in self.steps:
            given = [values[name] for name in step.inputs] or [x]
            own = {name: value.to(x) for name, value in self.weights.get(step.name, {}).items()}
            values[step.name] = compute(step, given, own, self.conv_arguments.get(step.name, {}))
        return values[self.output]


def kernel(own: Mapping[str, Tensor]) -> tuple[Tensor, Tensor]:
    """Weight and bias with what is folded into them; differentiable."""
    out_factor, in_factor = own["out_factor"], own["in_factor"]
    weight = own["weight"] * (out_factor[:, None] * in_factor)[..., None, None]
    return weight, own["bias"] * out_factor + own["offset"]


def compute(step: Step, given: list[Tensor], own: Mapping[str, Tensor], conv_arguments: Mapping[str, Any]) -> Tensor:
    """The result of a step.

    Args:
        step: The step.
        given: Results of the steps that it reads.
        own: Its weights, see :attr:`Steps.weights`.
        conv_arguments: See :attr:`Steps.conv_arguments`.
    """
    x, kind = given[0], step.kind
    if kind == "conv":
        return F.conv2d(x, *kernel(own), **conv_arguments)
    if kind == "shift":
        return x + own["shift"]
    if kind == "relu":
        return F.relu(x)
    if kind in ("leaky", "prelu"):
        return F.prelu(x, own["slope"])
    if kind == "add":
        return x + given[1]
    if kind == "shuffle":
        return F.pixel_shuffle(x, step.factor)
    if kind == "repeat":
        return torch.repeat_interleave(x, step.factor, dim=1)
    if kind == "nearest":
        return F.interpolate(x, scale_factor=step.factor, mode="nearest")
    if kind == "bilinear":
        return F.interpolate(x, scale_factor=step.factor, mode="bilinear", align_corners=False)
    return x
