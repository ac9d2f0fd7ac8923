"""An int8 network in exact arithmetic, and how far a runtime is from it."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from srkd_plugin.quantization.network import Int8Network
from srkd_plugin.quantization.steps import kernel


class Difference(NamedTuple):
    """Difference of two outputs, in levels of 8 bits."""

    most: float
    """The largest."""
    share: float
    """Part of the values whose level is another."""


@torch.no_grad()
def exact(net: Int8Network) -> Int8Network:
    """A copy that computes in float64, with the levels of the weights that the network has in float32.

    Sums of products of integers are exact in it, as in an int8 program; in float32 some are not, and a value that lies
    between two levels falls to the other one.
    """
    result = copy.deepcopy(net).eval()
    for step in net.convs():
        layer = result.layer(step.name)
        weight, bias = kernel(layer.own())
        if net.in_int8(step):
            weight, bias = net.round_kernel(step, weight, bias)
        layer.get_parameter("weight").copy_(weight)
        layer.get_parameter("bias").copy_(bias)
        for name, value in (("out_factor", 1), ("in_factor", 1), ("offset", 0)):
            layer.get_buffer(name).fill_(value)
    return result.double()


@torch.no_grad()
def difference(net: Int8Network, runtime: Callable[[np.ndarray], np.ndarray], images: Tensor) -> Difference:
    """Compare a runtime with exact arithmetic.

    Args:
        net: The network.
        runtime: Runs it: ``(N, C, h, w)`` float32 to ``(N, C, H, W)``.
        images: ``(N, C, h, w)`` float32 in 0..1.
    """
    expected = exact(net)(images.double()).numpy() * 255
    found = runtime(images.numpy()).astype(np.float64) * 255
    other = np.rint(found) != np.rint(expected)
    return Difference(float(np.abs(found - expected).max()), float(other.mean()))
