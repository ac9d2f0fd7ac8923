"""Fake quantisation: rounding and clipping to the levels of int8, in float, with gradients that pass through."""

from __future__ import annotations

import torch
from torch import Tensor

LEVELS = 255
"""Activations are u8: 0..255."""
LEAST_RANGE = 1e-6
"""Width that the range of a tensor which is always zero gets."""
LARGEST_BIAS = 2**23
"""A bias in units of its scale stays below: exact in float32, and its sum with the products within int32."""


def scale_and_zero(lo: Tensor, hi: Tensor) -> tuple[Tensor, Tensor]:
    """Scale and zero point of u8 levels over a range; zero is a level, since convolutions pad with it.

    Args:
        lo: Lower end, 0-dim float32; above 0 it counts as 0.
        hi: Upper end; below 0 it counts as 0.

    Returns:
        The scale, 0-dim float32 also for a network in float64, and the zero point, 0-dim int32 in 0..255.
    """
    lo, hi = lo.float().clamp(max=0), hi.float().clamp(min=0)
    scale = (hi - lo).clamp(min=LEAST_RANGE) / LEVELS
    return scale, torch.round(-lo / scale).clamp(0, LEVELS).to(torch.int32)


def quantise_activation(x: Tensor, lo: Tensor, hi: Tensor) -> Tensor:
    """``x`` at the u8 levels of a range; the gradient is 1 within the range and 0 beyond it."""
    scale, zero = scale_and_zero(lo, hi)
    return torch.fake_quantize_per_tensor_affine(x, scale, zero, 0, LEVELS)


def weight_scales(weight: Tensor, bias: Tensor, in_scale: Tensor, bits: int = 8, clip: float = 1.0) -> Tensor:
    """Scales of symmetric levels for each output channel of a convolution.

    Args:
        weight: ``(O, I, kh, kw)``.
        bias: ``(O,)``.
        in_scale: Scale of its input, 0-dim.
        bits: 8, or 7 for CPUs whose instructions saturate sums of two products of 8 bits.
        clip: Part of the largest weight that the range has.

    Returns:
        ``(O,)``; large enough for the bias, in units of ``in_scale`` times it, to be an exact integer.
    """
    largest = weight.abs().amax(dim=(1, 2, 3)) * clip
    return torch.maximum(largest / (2 ** (bits - 1) - 1), bias.abs() / (in_scale * LARGEST_BIAS)).clamp(min=1e-12)


def quantise_weight(weight: Tensor, scales: Tensor, bits: int = 8) -> Tensor:
    """``weight`` ``(O, I, kh, kw)`` at the symmetric levels of its output channels, -127..127 with 8 bits."""
    most = 2 ** (bits - 1) - 1
    zeros = torch.zeros_like(scales, dtype=torch.int32)
    return torch.fake_quantize_per_channel_affine(weight, scales.float(), zeros, 0, -most, most)


def quantise_bias(bias: Tensor, scales: Tensor) -> Tensor:
    """``bias`` ``(O,)`` at multiples of ``scales`` ``(O,)``; the gradient passes through."""
    return bias + (torch.round(bias / scales) * scales - bias).detach()
