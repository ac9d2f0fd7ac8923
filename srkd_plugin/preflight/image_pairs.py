"""Looks whether a BasicSR data set section of an options file finds pairs of images that fit its settings.

BasicSR finds out when the experiment's folder has been made, or when it comes to the image. Names and sizes are all
compared; sizes are those that an LMDB states, or those of the files' headers.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Optional

from srkd_plugin.errors import OptionsError
from srkd_plugin.images.find_pairs import pairs_of_section
from srkd_plugin.images.pairs import GT, LQ, ImagePairs
from srkd_plugin.images.sizes import Size


@dataclass(frozen=True)
class FoundPairs:
    """What a section of ``datasets`` finds."""

    images: ImagePairs
    smallest_gt: Size
    """Height and width of the GT image with the shortest side."""
    gt_alone: bool = False
    """There are no LQ images: each GT image stands for both."""

    @property
    def pairs(self) -> int:
        """How many there are."""
        return len(self.images)


def check_pairs(key: str, section: Mapping[str, Any], scale: int, train: bool) -> FoundPairs:
    """Find the pairs of a section of BasicSR's PairedImageDataset, and compare them with its settings.

    Args:
        key: Where the section is, e.g. ``datasets.train``.
        section: The section; ``io_backend``, ``dataroot_gt`` and ``dataroot_lq`` are looked at first.
        scale: GT pixels per LQ pixel.
        train: Crops are cut from the pairs, and sizes must fit exactly; otherwise GT is cropped to LQ's size.

    Raises:
        OptionsError: A folder or file is not there, not of the kind that ``io_backend`` says, or empty; names do not
            pair; an image is cut off or none; sizes do not fit the scale or ``gt_size``.
    """
    images = pairs_of_section(key, section)
    sizes = []
    for index in sorted(range(len(images)), key=images.name):
        gt, lq = images.size(GT, index), images.size(LQ, index)
        _check_sizes(key, images.name(index), gt, lq, section, scale, train)
        sizes.append(gt)
    return FoundPairs(images, min(sizes, key=min))


def _check_sizes(key: str, name: str, gt: Size, lq: Size, section: Mapping[str, Any], scale: int, train: bool) -> None:
    wanted = (lq[0] * scale, lq[1] * scale)
    fits = gt == wanted if train else gt[0] >= wanted[0] and gt[1] >= wanted[1]
    if not fits:
        problem = f"{name} is {_text(lq)} there and {_text(gt)} in dataroot_gt, which is not x{scale}"
        raise OptionsError(
            f"{key}.dataroot_lq", section["dataroot_lq"], problem, f"Give the LQ images of scale {scale}."
        )
    size: Optional[int] = section.get("gt_size") if train else None
    if size is not None and size > min(gt):
        problem = f"{name} is {_text(gt)}, too small for such crops"
        raise OptionsError(f"{key}.gt_size", size, problem, "Write less, or use larger images.")


def _text(size: Size) -> str:
    return f"{size[0]}x{size[1]}"
