"""Cross-layer equalisation: channels of a tensor get ranges of one size, which changes nothing in float.

Nagel et al., ICCV 2019 (arXiv 1906.04721), section 4.1, with two differences: what is made equal are the ranges of
activations, since weights have a scale per output channel anyway; and tensors that a residual path adds are equalised
together, by one factor per channel.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from srkd_plugin.quantization.network import Int8Network
from srkd_plugin.quantization.steps import Steps


class _Groups:
    """Channels that must be scaled alike: each tensor has a group, and how many of its channels share a factor."""

    def __init__(self, steps: Steps) -> None:
        self.parent: dict[str, tuple[str, int]] = {}
        self.fixed: set[str] = set()
        for step in steps.steps:
            self.parent[step.name] = (step.name, 1)
        for step in steps.steps:
            if step.kind in ("input", "shift", "repeat", "bilinear", "nearest"):
                self.fix(step.name)
                for name in step.inputs:
                    self.fix(name)
            elif step.kind == "conv":
                if steps.conv_arguments[step.name]["groups"] > 1:
                    self.fix(step.inputs[0])
            elif step.kind == "shuffle":
                self.join(step.inputs[0], step.name, step.factor**2)
            else:
                for name in step.inputs:
                    self.join(name, step.name, 1)
        self.fix(steps.output)

    def find(self, name: str) -> tuple[str, int]:
        """The group of a tensor, and how many of the tensor's channels in a row share a factor of it."""
        parent, channels = self.parent[name]
        if parent == name:
            return name, 1
        root, more = self.find(parent)
        return root, channels * more

    def fix(self, name: str) -> None:
        self.fixed.add(self.find(name)[0])

    def join(self, name: str, other: str, channels: int) -> None:
        """``channels`` channels in a row of ``name`` have the factor of one of ``other``."""
        (a, of_a), (b, of_b) = self.find(name), self.find(other)
        of_b *= channels
        if a == b:
            if of_a != of_b:
                self.fixed.add(a)
            return
        if of_a > of_b:
            a, of_a, b, of_b = b, of_b, a, of_a
        if of_b % of_a:
            self.fixed |= {a, b}
            return
        if a in self.fixed:
            self.fixed.add(b)
        self.parent[a] = (b, of_b // of_a)


@torch.no_grad()
def equalise(net: Int8Network, largest: Mapping[str, Tensor], strength: float) -> None:
    """Scale channels so that those of a tensor have ranges of about one size; the network in float stays the same.

    Args:
        net: The network; factors of its convolutions are changed.
        largest: Largest absolute value of each channel, ``(C,)``, by tensor that has a range.
        strength: Exponent of the factors: 0 changes nothing, 1 makes ranges equal.
    """
    groups = _Groups(net.steps)
    ratios: dict[str, list[Tensor]] = {}
    for name, of_channel in largest.items():
        root, channels = groups.find(name)
        if root not in groups.fixed and float(of_channel.max()) > 0:
            ratios.setdefault(root, []).append(of_channel.view(-1, channels).amax(dim=1) / of_channel.max())
    factors = {root: torch.stack(found).mean(dim=0).clamp(min=1e-2) ** -strength for root, found in ratios.items()}
    for conv in net.convs():
        layer = net.layer(conv.name)
        root, channels = groups.find(conv.name)
        if root in factors:
            factor = factors[root].repeat_interleave(channels)
            layer.get_buffer("out_factor").mul_(factor)
            layer.get_buffer("offset").mul_(factor)
        root, channels = groups.find(conv.inputs[0])
        if root in factors:
            layer.get_buffer("in_factor").div_(factors[root].repeat_interleave(channels))
