"""Arguments that mean the same in every architecture that has them, and ranges outside of which they are mistakes."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, Optional

from pydantic import BaseModel, ConfigDict, Field

from srkd_plugin.errors import MISSING, OptionsError
from srkd_plugin.options.validate import check_section

MOST_BLOCKS = 5_000
"""Blocks of a network. Hundreds are the deepest that are published; a million would take the check an hour to build."""
MOST_CHANNELS = 16_384
WEIGHTS_PER_BLOCK = 8
"""Times the channels squared, at least, in blocks of convolutions or attention."""
MOST_WEIGHTS = 1e9
"""Weights of a network, 4 GB. The largest EDSR has 43 million."""

FACTORS = ("res_scale", "img_range")
"""What images or feature maps are multiplied with: a number, whatever the architecture."""


class NetworkArguments(BaseModel):
    """Numbers in ``network_g`` and ``network_t``; other arguments, and other types, are the architecture's business."""

    model_config = ConfigDict(extra="ignore", strict=True, frozen=True, allow_inf_nan=False)
    num_in_ch: Optional[float] = Field(default=None, ge=1, le=MOST_CHANNELS)
    num_out_ch: Optional[float] = Field(default=None, ge=1, le=MOST_CHANNELS)
    num_feat: Optional[float] = Field(default=None, ge=1, le=MOST_CHANNELS)
    embed_dim: Optional[float] = Field(default=None, ge=1, le=MOST_CHANNELS)
    num_grow_ch: Optional[float] = Field(default=None, ge=1, le=MOST_CHANNELS)
    num_block: Optional[float] = Field(default=None, ge=0, le=MOST_BLOCKS)
    num_group: Optional[float] = Field(default=None, ge=1, le=MOST_BLOCKS)
    num_conv: Optional[float] = Field(default=None, ge=0, le=MOST_BLOCKS)
    upscale: Optional[float] = Field(default=None, ge=1, le=64)
    res_scale: Optional[float] = Field(default=None, gt=0, le=1e6)
    img_range: Optional[float] = Field(default=None, gt=0, le=1e9)


def check_network_arguments(key: str, section: Mapping[str, Any]) -> None:
    """Refuse numbers with which no architecture makes sense, or that only a week's building would find out about.

    Args:
        key: Path of the section, ``network_g`` or ``network_t``.
        section: The architecture's arguments, ``type`` beside them.

    Raises:
        OptionsError: There is one.
    """
    numbers = {
        name: value
        for name, value in section.items()
        if name in FACTORS or (name in NetworkArguments.model_fields and type(value) in (int, float))
    }
    found = check_section(NetworkArguments, key, numbers)
    blocks = (found.num_block or 1) * (found.num_group or 1)
    if blocks > MOST_BLOCKS:
        problem = f"with num_group it makes {math.floor(blocks):,} blocks"
        raise OptionsError(f"{key}.num_block", section["num_block"], problem, "Write less.")
    channels = found.num_feat or found.embed_dim or 1
    weights = blocks * WEIGHTS_PER_BLOCK * channels**2
    if weights > MOST_WEIGHTS:
        name = "num_feat" if found.num_feat else "embed_dim"
        problem = f"with {math.floor(blocks):,} blocks these are some {weights:,.0f} weights"
        raise OptionsError(f"{key}.{name}", section[name], problem, "Write less.")


def read_network(key: str, section: Mapping[str, Any]) -> dict[str, Any]:
    """Check and read the section of a network of ours.

    Args:
        key: Path of the section, e.g. ``network_t``.
        section: Its content.

    Raises:
        OptionsError: It has no ``type``, or an argument that :func:`check_network_arguments` refuses.
    """
    if not isinstance(section.get("type"), str):
        raise OptionsError(
            f"{key}.type",
            section.get("type", MISSING),
            "the name of an architecture is expected",
            "Write the class name as in BasicSR's network_g, e.g. EDSR.",
        )
    check_network_arguments(key, section)
    return dict(section)
