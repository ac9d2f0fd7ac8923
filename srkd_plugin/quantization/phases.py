"""Phases of quantisation-aware training: what follows the activations and the weights, and from when on it stays."""

from __future__ import annotations

import torch
from torch import Tensor

from srkd_plugin.options.sections import QuantizeSection
from srkd_plugin.quantization.network import Int8Network
from srkd_plugin.quantization.ranges import fixed_ranges

SHARE = 0.01
"""Share of a batch's smallest and largest value in the running range of a tensor."""


class Phases:
    """Observers, frozen observers, frozen fake quantisation.

    In the first phase ranges move towards what each batch holds, in the first and second the scales of weights follow
    the weights, and in the third both stay, so that the last iterations train the numbers that are exported.

    Args:
        section: ``train.quantize``.
    """

    def __init__(self, section: QuantizeSection) -> None:
        self.section = section

    def begin(self, net: Int8Network, iteration: int) -> None:
        """Set a network up for an iteration (the first is 1); which phase it is, is told by its number alone."""
        freeze = self.section.freeze
        net.follow_weights = freeze is None or iteration <= freeze
        net.observer = Observer(net) if iteration <= self.section.observe else None


class Observer:
    """Moves the ranges of a network in training mode; those of images stay.

    Args:
        net: The network.
    """

    def __init__(self, net: Int8Network) -> None:
        self.net, self.fixed = net, set(fixed_ranges(net))

    @torch.no_grad()
    def __call__(self, name: str, x: Tensor) -> None:
        """See :attr:`Int8Network.observer`."""
        if name in self.fixed or not self.net.training:
            return
        layer = self.net.layer(name)
        layer.lo.lerp_(x.min().clamp(max=0).to(layer.lo), SHARE)
        layer.hi.lerp_(x.max().clamp(min=0).to(layer.hi), SHARE)
