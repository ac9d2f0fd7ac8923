"""Networks that take sizes of a multiple only (SwinIR: of its window): which multiple, and images of any size."""

from __future__ import annotations

from typing import Callable, Optional

import torch
from torch import Tensor, nn
from torch.nn import functional as F

SMALLEST = 17
"""LQ pixels per side from which sizes are tried: a prime, above what networks with a few halvings need."""
LARGEST = 64
"""Largest multiple that is looked for."""

Network = Callable[[Tensor], Tensor]
"""Network from LQ ``(N, C, h, w)`` to SR ``(N, C, scale * h, scale * w)``."""


@torch.no_grad()
def size_multiple(net: Network, channels: int, scale: int) -> Optional[int]:
    """Find the multiple of which a network's input sides must be, by running it on small square images.

    A multiple m is taken if the network works on two neighbouring multiples of m: whatever divides both divides m.

    Args:
        net: The network, in eval mode, on any device; or what runs it on the CPU in float32.
        channels: Channels of its input.
        scale: SR factor; an output of another size counts as a failure.

    Returns:
        1 for most networks; what one says itself (``sides_multiple_of``); None if it works on no size that was tried.
    """
    stated = getattr(net, "sides_multiple_of", None)
    if isinstance(stated, int):
        return stated
    factors: dict[int, Optional[float]] = {}
    for multiple in range(1, LARGEST + 1):
        first = -(-SMALLEST // multiple) * multiple
        for side in (first, first + multiple):
            if side not in factors:
                factors[side] = _factor(net, channels, side)
        found = factors[first]
        if found == factors[first + multiple] and found is not None:
            if found == scale:
                return multiple
            if multiple == 1:  # another scale at any size: trying them all takes a large network minutes
                return None
    return None


def _factor(net: Network, channels: int, side: int) -> Optional[float]:
    """What the network multiplies a side with; None where it fails, or makes an image that is not square."""
    like = next(net.parameters(), torch.empty(0)) if isinstance(net, nn.Module) else torch.empty(0)
    try:
        out = net(torch.zeros(1, channels, side, side, device=like.device, dtype=like.dtype))  # draws nothing
        height, width = out.shape[-2:]
    except Exception:  # whatever the architecture makes of a size that it cannot take
        return None
    return height / side if height == width else None


def run_padded(network: Network, lq: Tensor, multiple: int, scale: int, smallest: int = 1) -> Tensor:
    """Run a network on an image whose sides are made a multiple by reflection at the right and bottom, as SwinIRModel.

    Where a side is too short to be reflected, its last pixel is repeated.

    Args:
        network: Runs on sides that are multiples.
        lq: ``(N, C, h, w)``.
        multiple: See :func:`size_multiple`; with 1 the image is handed on as it is.
        scale: SR factor.
        smallest: Least length of a side, a multiple.

    Returns:
        ``(N, C, scale * h, scale * w)``.
    """
    if multiple < 1:
        raise ValueError(f"a multiple is a number from 1, and not {multiple}")
    h, w = lq.shape[-2:]
    bottom, right = max(-h % multiple, smallest - h), max(-w % multiple, smallest - w)
    if not bottom and not right:
        return network(lq)
    mode = "reflect" if bottom < h and right < w else "replicate"
    out = network(F.pad(lq, (0, right, 0, bottom), mode=mode))
    return out[..., : h * scale, : w * scale]
