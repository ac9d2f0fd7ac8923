"""Tiny networks and images for tests of int8."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

import srkd_plugin.registration  # noqa: F401  (networks by name)
from srkd_plugin.networks.build import build_described

EDSR = {"type": "EDSR", "num_in_ch": 3, "num_out_ch": 3, "num_feat": 8, "num_block": 2, "upscale": 2, "res_scale": 0.5}
COMPACT = {"type": "SRVGGNetCompact", "num_feat": 8, "num_conv": 2, "upscale": 2}
MSR = {"type": "MSRResNet", "num_feat": 8, "num_block": 1, "upscale": 4}
ECBSR: dict[str, Any] = {"type": "ECBSR", "num_in_ch": 3, "num_out_ch": 3, "num_block": 1, "num_channel": 8}
ECBSR.update(with_idt=True, act_type="prelu", scale=2)
GRAY = {**EDSR, "num_in_ch": 1, "num_out_ch": 1, "rgb_mean": [0.0, 0.0, 0.0], "upscale": 3}
KNOWN = {"edsr": EDSR, "compact": COMPACT, "msrresnet": MSR, "ecbsr": ECBSR}


def network(described: dict[str, Any]) -> nn.Module:
    """A network that enlarges roughly as a trained one does: its last convolution is small beside the image."""
    torch.manual_seed(0)
    return build_described("network_g", described).eval()


def images(count: int = 6, channels: int = 3, height: int = 18, width: int = 13, seed: int = 0) -> Tensor:
    """Smooth images at 8-bit levels, not square."""
    generator = torch.Generator().manual_seed(seed)
    coarse = torch.rand(count, channels, 5, 4, generator=generator)
    smooth = nn.functional.interpolate(coarse, size=(height, width), mode="bilinear")
    return (smooth * 255).round() / 255
