"""How far a network sees: the overlap with which tiles give the whole image."""

from __future__ import annotations

from typing import Callable, Optional

import numpy as np
import torch
from torch import nn

from srkd_plugin.networks.padding import size_multiple

NARROW = 16
"""Least LQ pixels across the strips that are run: deep networks on squares would take minutes."""
MARGINS = (48, 128)
"""LQ pixels to each side that are tried; a network that sees as far as the last one has no field for tiles."""
PROBES = (float("nan"), 1e4)
"""What pixels become: NaN goes through every sum, whatever the weights; what drops NaN is shown by a large value."""

Run = Callable[[np.ndarray], np.ndarray]
"""Model from LQ ``(1, C, h, w)`` to SR ``(1, C, scale * h, scale * w)``, both float32, in any runtime."""


def receptive_field(net: nn.Module, channels: int, scale: int) -> Optional[int]:
    """Measure the receptive field of a network: LQ pixels to each side of an LQ pixel on which its SR pixels depend.

    Args:
        net: The network, in eval mode, on any device; it runs in its own dtype.
        channels: Channels of its input.
        scale: SR factor.

    Returns:
        The larger of both directions; None if the network sees further than :data:`MARGINS` go, as it does with channel
        attention, whose mean is that of the whole image, or if it works on no size that was tried.
    """
    like = next(net.parameters(), torch.empty(0))

    @torch.no_grad()
    def run(lq: np.ndarray) -> np.ndarray:
        return net(torch.from_numpy(lq).to(like.device, like.dtype)).float().cpu().numpy()

    multiple = size_multiple(net, channels, scale)
    return None if multiple is None else field_of_run(run, channels, scale, multiple)


def field_of_run(run: Run, channels: int, scale: int, multiple: int = 1) -> Optional[int]:
    """Measure the receptive field of a model in any runtime, from images with and without some changed pixels.

    Every weight counts as one that is not zero. Where the model works on blocks (windows, strides), the field is that
    of whole blocks: what tiles need whose sides lie between blocks.

    Args:
        run: The model.
        channels: Channels of its input.
        scale: SR factor.
        multiple: Side of the blocks, of which its input sides must be multiples.

    Returns:
        LQ pixels to each side, None beyond :data:`MARGINS`.
    """
    across = -(-NARROW // multiple) * multiple
    for margin in MARGINS:
        before = -(-margin // multiple) * multiple
        shape = (1, channels, across, 2 * before + multiple)
        farthest = 0
        for axis in (-1, -2):
            farthest = max(farthest, _reach(run, shape, slice(before, before + multiple), scale, axis))
            if farthest >= before:
                break
        else:
            return -(-farthest // multiple) * multiple
    return None


def field_of_size(run: Run, channels: int, scale: int, size: tuple[int, int]) -> Optional[int]:
    """Measure the receptive field of a model that takes one size only, as :func:`field_of_run`.

    Returns:
        LQ pixels to each side; None if it reaches the sides of an image of this size.
    """
    reaches = []
    for axis, side in ((-1, size[1]), (-2, size[0])):
        shape = (1, channels, *(size if axis == -1 else size[::-1]))
        reaches.append(_reach(run, shape, slice(side // 2, side // 2 + 1), scale, axis))
        if reaches[-1] >= (side - 1) // 2:
            return None
    return max(reaches)


def _reach(run: Run, shape: tuple[int, ...], changed: slice, scale: int, axis: int) -> int:
    """How many LQ columns beyond the changed ones have other SR pixels; axis -2: of the transposed image, rows."""
    before = np.random.default_rng(0).random(shape, np.float32)
    differs = np.zeros(shape[-1] * scale, bool)
    sr = _run_along(run, before, axis)
    for value in PROBES:
        after = before.copy()
        after[..., changed] = value
        differs |= (_run_along(run, after, axis) != sr).any(axis=(0, 1, 2))  # NaN differs from everything
        if differs.all():
            break
    (columns,) = differs.reshape(-1, scale).any(axis=1).nonzero()
    return max(changed.start - int(columns[0]), int(columns[-1]) - (changed.stop - 1), 0) if len(columns) else 0


def _run_along(run: Run, lq: np.ndarray, axis: int) -> np.ndarray:
    if axis == -1:
        return run(lq)
    return run(np.ascontiguousarray(lq.swapaxes(-1, -2))).swapaxes(-1, -2)
