"""Published figures: the bicubic baseline on the known benchmark sets, and EDSR's weights and their PSNR.

Sources:

- Bicubic (Y channel, ``scale`` border pixels cropped; MATLAB): the bicubic rows of Zhang et al., "Image
  Super-Resolution Using Very Deep Residual Channel Attention Networks", ECCV 2018. The half-size Urban100: the figure
  published with the copy at https://huggingface.co/datasets/eugenesiow/Urban100.
- RGB PSNR (``scale`` border pixels cropped): BasicSR's docs/ModelZoo.md; its options validate on ``GTmod12``, HR
  cropped to multiples of 12.
- Y PSNR of EDSR: Lim et al., "Enhanced Deep Residual Networks for Single Image Super-Resolution", CVPRW 2017, Table 3
  (without self-ensemble); the baseline's (Mx2) in the tables of later papers, e.g. CARN, ECCV 2018.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Optional

IMAGES = {"Set5": 5, "Set14": 14, "B100": 100, "Urban100": 100, "Manga109": 109}
"""Images of the known benchmark sets."""
ALIASES = {"BSD100": "B100", "BSDS100": "B100"}

BICUBIC_Y = {
    "Set5": {2: 33.66, 3: 30.39, 4: 28.42},
    "Set14": {2: 30.24, 3: 27.55, 4: 26.00},
    "B100": {2: 29.56, 3: 27.21, 4: 25.96},
    "Urban100": {2: 26.88, 3: 24.46, 4: 23.14},
    "Manga109": {2: 30.80, 3: 26.95, 4: 24.89},
}
"""PSNR in dB by set and scale."""
GRAY_FILES: dict[str, tuple[str, ...]] = {"Set14": ("bridge",)}
"""Images that are gray files in the original set; the bicubic figures take them for Y as they are. Made RGB, they have
a Y of 219/255 of the contrast, and so a PSNR 1.3 dB higher (0.09 dB in the mean of Set14)."""
KNOWN_WRONG = {("Urban100", 2, 26.66): "the half-size copy of Urban100 that is in circulation"}
"""Sets that are not what their name says: name, scale, bicubic PSNR, and what they are."""
TOLERANCE = 0.05
"""dB. Cropping to multiples of 12 instead of 2 changes the bicubic figure of Set5 and Set14 by up to 0.03."""


@dataclass(frozen=True)
class Weights:
    """A published weights file of EDSR in BasicSR's format."""

    psnr_rgb: Mapping[str, float]
    """PSNR in dB by set; ``DIV2K100`` is DIV2K's 0801 to 0900."""
    psnr_y: Mapping[str, float] = field(default_factory=dict)


WEIGHTS = {
    "EDSR_Mx2_f64b16_DIV2K_official-3ba7b086": Weights(
        {"Set5": 35.7768, "Set14": 31.4966, "DIV2K100": 34.6291},
        {"Set5": 37.99, "Set14": 33.57, "B100": 32.16, "Urban100": 31.98},
    ),
    "EDSR_Mx3_f64b16_DIV2K_official-6908f88a": Weights({"Set5": 32.3597, "Set14": 28.3932, "DIV2K100": 30.9438}),
    "EDSR_Mx4_f64b16_DIV2K_official-0c287733": Weights({"Set5": 30.1821, "Set14": 26.7528, "DIV2K100": 28.9679}),
    "EDSR_Lx2_f256b32_DIV2K_official-be38e77d": Weights(
        {"Set5": 35.9979, "Set14": 31.8583, "DIV2K100": 35.0495},
        {"Set5": 38.11, "Set14": 33.92, "B100": 32.32, "Urban100": 32.93},
    ),
    "EDSR_Lx3_f256b32_DIV2K_official-3660f70d": Weights({"Set5": 32.643, "Set14": 28.644, "DIV2K100": 31.28}),
    "EDSR_Lx4_f256b32_DIV2K_official-76ee1c8f": Weights({"Set5": 30.5499, "Set14": 27.0011, "DIV2K100": 29.277}),
}
"""Weights by file name without extension; the last eight characters begin the file's sha256."""


def guess_set(path: Path) -> Optional[str]:
    """The known set that a part of a path is named after, or None."""
    names = {name.lower(): name for name in IMAGES} | {alias.lower(): name for alias, name in ALIASES.items()}
    for part in reversed(path.parts):
        if part.lower() in names:
            return names[part.lower()]
    return None


def judge_bicubic(name: str, scale: int, psnr: float) -> Optional[str]:
    """What is wrong with a set whose bicubic PSNR (Y) is ``psnr`` dB, or None if it is as published or not known."""
    published = BICUBIC_Y.get(name, {}).get(scale)
    if published is None or abs(psnr - published) <= TOLERANCE:
        return None
    for (wrong, at_scale, figure), what in KNOWN_WRONG.items():
        if (wrong, at_scale) == (name, scale) and abs(psnr - figure) <= TOLERANCE:
            return f"bicubic PSNR is {psnr:.2f} dB where {published:.2f} is published: this is {what}"
    return f"bicubic PSNR is {psnr:.2f} dB where {published:.2f} is published: these are not the images of {name}"
