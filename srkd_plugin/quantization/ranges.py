"""Ranges of activations: what calibration images show, and a search for those that change the output least."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import NamedTuple, Optional

import torch
from torch import Tensor

from srkd_plugin.quantization.network import Int8Network

SHRINK = (0.97, 0.93, 0.87, 0.8, 0.7)
"""Parts of the largest value that the search tries as the end of a range, from the widest."""
BATCH = 8
"""Images that run at once."""


class Observed(NamedTuple):
    """What one tensor had in it."""

    lo: float
    hi: float
    largest: Tensor
    """Largest absolute value of each channel, ``(C,)``."""


@contextmanager
def in_float(net: Int8Network) -> Iterator[None]:
    """Let the network compute in float32 within the block."""
    net.rounds, before = False, net.rounds
    try:
        yield
    finally:
        net.rounds = before


@contextmanager
def rounded_only(net: Int8Network, names: Optional[set[str]]) -> Iterator[None]:
    """Let the network round these tensors and weights alone; see :attr:`Int8Network.only`."""
    net.only, before = names, net.only
    try:
        yield
    finally:
        net.only = before


@torch.no_grad()
def run(net: Int8Network, images: Tensor) -> Tensor:
    """The network's output for many images ``(N, C, h, w)``."""
    return torch.cat([net(batch) for batch in images.split(BATCH)])


@torch.no_grad()
def observe(net: Int8Network, images: Tensor) -> dict[str, Observed]:
    """What the tensors that have a range hold when the network runs in float.

    Args:
        net: The network.
        images: ``(N, C, h, w)`` in 0..1.
    """
    found: dict[str, Observed] = {}

    def look(name: str, x: Tensor) -> None:
        new = Observed(float(x.min()), float(x.max()), x.abs().amax(dim=(0, 2, 3)))
        old = found.get(name, new)
        found[name] = Observed(min(old.lo, new.lo), max(old.hi, new.hi), torch.maximum(old.largest, new.largest))

    net.observer = look
    try:
        with in_float(net):
            run(net, images)
    finally:
        net.observer = None
    return found


def set_ranges(net: Int8Network, observed: dict[str, Observed]) -> None:
    """Give each tensor the range that was observed; and the input and the output of the network that of an image.

    An input that is read as it is has the levels of an 8-bit image, and an output that int8 makes is one: rounding them
    is what saving an image does.
    """
    for name in net.ranges():
        _set(net, name, observed[name].lo, observed[name].hi)
    for name in fixed_ranges(net):
        _set(net, name, 0.0, 1.0)
    net.fit_weight_scales()


def fixed_ranges(net: Int8Network) -> list[str]:
    """Names of the tensors whose range is 0..1: an input without a shift, and the output."""
    ends = [step.name for step in net.steps.steps if step.kind in ("input", "bilinear")]
    return [name for name in [*ends, net.source(net.steps.output)] if net.has_range(name)]


def _set(net: Int8Network, name: str, lo: float, hi: float) -> None:
    layer = net.layer(name)
    layer.lo.fill_(lo)
    layer.hi.fill_(hi)


def inner(net: Int8Network) -> set[str]:
    """All that is rounded but for the output, whose rounding is that of a saved image."""
    weights = {f"{step.name}.weight" for step in net.convs()}
    return (set(net.ranges()) | weights) - {net.source(net.steps.output)}


def output_error(net: Int8Network, images: Tensor, exact: Tensor) -> float:
    """Mean squared difference of the network's output, before it is rounded, from the exact one; both clipped to 0..1.

    Args:
        net: The network.
        images: ``(N, C, h, w)``.
        exact: Its output in float.
    """
    only = inner(net) if net.only is None else net.only
    with rounded_only(net, only):
        difference = run(net, images).clamp(0, 1) - exact.clamp(0, 1)
    return float(difference.double().square().mean())


def search_ranges(net: Int8Network, images: Tensor, exact: Tensor) -> float:
    """Narrow each range from both ends as far as it makes the output better, tensor after tensor.

    Unlike percentiles or entropy, which cut highlights and so darken, this looks at what a range does to the image.

    Args:
        net: The network, with ranges that were observed on other images.
        images: Images that were held back, ``(N, C, h, w)``.
        exact: The network's output for them in float.

    Returns:
        :func:`output_error` with the ranges that were found.
    """
    best = output_error(net, images, exact)
    for name in net.ranges():
        if name in fixed_ranges(net):
            continue
        for end in ("hi", "lo"):
            best = _narrow(net, name, end, images, exact, best)
    return best


def _narrow(net: Int8Network, name: str, end: str, images: Tensor, exact: Tensor, best: float) -> float:
    value = net.layer(name).get_buffer(end)
    widest = kept = float(value)
    if widest == 0:
        return best
    for part in SHRINK:
        value.fill_(widest * part)
        net.fit_weight_scales()
        error = output_error(net, images, exact)
        if error >= best:
            break
        best, kept = error, widest * part
    value.fill_(kept)
    net.fit_weight_scales()
    return best
