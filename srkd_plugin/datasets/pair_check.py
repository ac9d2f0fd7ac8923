"""Compares an LR image with its HR image."""

from __future__ import annotations

import hashlib
from collections.abc import Container
from dataclasses import dataclass, field
from typing import Optional

import numpy as np
from basicsr.metrics import calculate_psnr

from srkd_plugin.images.decode import ImageFault, decode
from srkd_plugin.images.image_sets import ImageSet
from srkd_plugin.images.matlab_resize import downscale, upscale

CLEARLY = 3.0
"""dB by which LR must be nearer to HR with red and blue exchanged, to be called so."""
BORDER = 2
"""LR pixels; as far as the bicubic kernel reaches, at any scale."""
EXACT = 100.0
"""dB; stands for the infinite PSNR of equal images, so that means and medians stay finite."""


@dataclass
class Pair:
    """What a comparison found."""

    key: str
    problems: list[str] = field(default_factory=list)
    digests: tuple[str, ...] = ()
    """One for HR and one for LR; equal for equal images of a kind. Images of one colour have none."""
    gray: bool = False
    """Both files are gray."""
    exact: bool = False
    """LR is MATLAB's bicubic reduction of HR, bit for bit, but for the border."""
    reduction_psnr: Optional[float] = None
    """PSNR in dB of LR against that reduction; None where the two cannot be compared or the problem is known."""
    bicubic_y: Optional[float] = None
    """PSNR in dB of the bicubic baseline: Y channel, ``scale`` border pixels cropped."""


def check_pair(
    hr_set: ImageSet, lr_set: ImageSet, scale: int, baseline: bool, gray: Container[str], keys: tuple[str, str]
) -> Pair:
    """Read and compare two images.

    HR may be larger than ``scale`` times LR by less than ``scale``, as in sets that were not cropped: BasicSR crops it.

    Args:
        hr_set: Where HR is.
        lr_set: Where LR is.
        scale: HR pixels per LR pixel.
        baseline: Measure the bicubic baseline, too.
        gray: Keys of images whose baseline is that of one gray channel, also where the file has three equal ones.
        keys: Keys of HR and LR.
    """
    pair = Pair(keys[0])
    images = []
    for kind, images_of_kind, key in (("HR", hr_set, keys[0]), ("LR", lr_set, keys[1])):
        try:
            images.append(decode(images_of_kind.read(key)))
        except ImageFault as fault:
            pair.problems.append(f"{kind}: {fault}")
    if pair.problems:
        return pair
    hr, lr = images
    pair.digests = tuple(_digest(kind, image) for kind, image in (("HR", hr), ("LR", lr)) if np.ptp(image) > 0)
    if hr.ndim != lr.ndim:
        pair.problems.append(f"{'HR' if hr.ndim == 2 else 'LR'} is gray and the other is not")
    h, w = (side // scale for side in hr.shape[:2])
    if lr.shape[:2] != (h, w):
        pair.problems.append(f"LR is {_size(lr)}, where HR of {_size(hr)} at x{scale} asks for {(h, w)}")
    if not pair.problems:
        pair.gray = hr.ndim == 2
        _compare(pair, np.ascontiguousarray(hr[: h * scale, : w * scale]), lr, scale, baseline, keys[0] in gray)
    return pair


def _compare(pair: Pair, hr: np.ndarray, lr: np.ndarray, scale: int, baseline: bool, as_gray: bool) -> None:
    reduced, inner = _inner(downscale(hr, scale)), _inner(lr)
    pair.exact = np.array_equal(reduced, inner)
    psnr = _psnr(reduced, inner)
    if lr.ndim == 3 and _psnr(reduced, inner[:, :, ::-1]) > psnr + CLEARLY:
        pair.problems.append("red and blue are exchanged in one of HR and LR")
        return
    pair.reduction_psnr = psnr
    if baseline and min(lr.shape[:2]) > 2:
        enlarged = upscale(lr, scale)
        if as_gray and hr.ndim == 3:
            hr, enlarged = hr[:, :, 0], enlarged[:, :, 0]
        pair.bicubic_y = min(calculate_psnr(enlarged, hr, crop_border=scale, test_y_channel=True), EXACT)


def _inner(lr: np.ndarray) -> np.ndarray:
    """An LR image without its border: that of a sub-image was made from HR pixels beyond the sub-image."""
    return lr[BORDER:-BORDER, BORDER:-BORDER] if min(lr.shape[:2]) > 2 * BORDER else lr


def _psnr(image: np.ndarray, other: np.ndarray) -> float:
    return float(min(calculate_psnr(image, other, crop_border=0), EXACT))


def _digest(kind: str, image: np.ndarray) -> str:
    return f"{kind} {image.shape} {hashlib.sha256(np.ascontiguousarray(image).data).hexdigest()}"


def _size(image: np.ndarray) -> tuple[int, int]:
    height, width = image.shape[:2]
    return height, width
