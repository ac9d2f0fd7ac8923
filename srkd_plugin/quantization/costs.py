"""What rounding costs: in all, layer by layer, and which layers stay float so that it costs little."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from srkd_plugin.quantization.network import ACTIVATIONS, Int8Network
from srkd_plugin.quantization.ranges import inner, output_error, rounded_only

AT_PSNR = 35.0
"""PSNR in dB, of the network in float, at which costs are stated: calibration images have no HR image."""


def cost_in_db(error: float) -> float:
    """Loss of PSNR by an error that is independent of the network's own.

    Args:
        error: Mean squared error of images in 0..1.

    Example:
        >>> round(cost_in_db(10 ** (-AT_PSNR / 10)), 2)  # as large as the network's own
        3.01
    """
    return 10 * math.log10(1 + error * 10 ** (AT_PSNR / 10))


def layers(net: Int8Network) -> list[str]:
    """Names of what can stay float by itself and is computed in int8: convolutions and additions."""
    return [step.name for step in net.steps.steps if step.kind in ("conv", "add") and net.in_int8(step)]


def steps_of(net: Int8Network, layer: str) -> list[str]:
    """The steps of a layer: itself, and the activation that follows a convolution."""
    return [layer, *(step.name for step in net.steps.readers(layer) if step.kind in ACTIVATIONS)]


@torch.no_grad()
def layer_costs(net: Int8Network, images: Tensor, exact: Tensor) -> dict[str, float]:
    """Cost in dB (:func:`cost_in_db`) of each int8 layer when it alone is rounded, the highest first.

    Args:
        net: The network, calibrated.
        images: Images that were held back, ``(N, C, h, w)``.
        exact: The network's output for them in float.
    """
    costs = {}
    for name in layers(net):
        with rounded_only(net, {*steps_of(net, name), f"{name}.weight"} & inner(net)):
            costs[name] = cost_in_db(output_error(net, images, exact))
    return dict(sorted(costs.items(), key=lambda item: -item[1]))


def keep_float(net: Int8Network, costs: dict[str, float], bar: float, images: Tensor, exact: Tensor) -> list[str]:
    """Keep layers in float, the costliest first, until the network costs no more than a bar.

    Args:
        net: The network, calibrated; changed.
        costs: See :func:`layer_costs`.
        bar: Cost in dB.
        images: Images that were held back, ``(N, C, h, w)``.
        exact: The network's output for them in float.

    Returns:
        The layers that were kept.
    """
    kept: list[str] = []
    for name in costs:
        if cost_in_db(output_error(net, images, exact)) <= bar:
            break
        kept.append(name)
        net.set_float([*net.float_steps, *steps_of(net, name)])
    return kept
