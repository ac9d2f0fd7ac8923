"""BasicSR's keys of the Real-ESRGAN degradation as pydantic models: those of its model, and those of its data set.

They are optional here, as most runs have none of them; a run that has need of them must have all
(:func:`missing_key`).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal, Optional

from pydantic import AfterValidator, BaseModel, Field

from srkd_plugin.options.stock_types import Positive, StockSection

SIDE = 400
"""Side of the GT crops that RealESRGANDataset gives, whatever the options say."""


def _rising(values: list[float]) -> list[float]:
    if values[0] > values[1]:
        raise ValueError("the first of the two must not be the larger one")
    return values


def _some(values: list[float]) -> list[float]:
    if not sum(values) > 0:
        raise ValueError("one of them must be greater than 0")
    return values


Probability = Annotated[float, Field(ge=0, le=1)]
Range = Annotated[
    list[Annotated[float, Field(ge=0, le=1000)]], Field(min_length=2, max_length=2), AfterValidator(_rising)
]
PositiveRange = Annotated[
    list[Annotated[float, Field(gt=0, le=1000)]], Field(min_length=2, max_length=2), AfterValidator(_rising)
]
Qualities = Annotated[
    list[Annotated[float, Field(ge=1, le=100)]], Field(min_length=2, max_length=2), AfterValidator(_rising)
]
ThreeChoices = Annotated[list[Annotated[float, Field(ge=0)]], Field(min_length=3, max_length=3), AfterValidator(_some)]
Choices = Annotated[list[Annotated[float, Field(ge=0)]], Field(min_length=1), AfterValidator(_some)]
Kind = Literal["iso", "aniso", "generalized_iso", "generalized_aniso", "plateau_iso", "plateau_aniso"]
"""Kinds of blur kernels that BasicSR has; it makes nothing of another name, and fails."""
Kinds = Annotated[list[Kind], Field(min_length=1)]


class Degradation(StockSection):
    """Top-level keys of RealESRNetModel, which RealESRDistillModel makes LQ images with."""

    high_order_degradation: bool = True
    """Make LQ images; false: the data set gives them."""
    gt_size: Optional[Positive] = None
    """Side of the GT crops that are trained on, in pixels; as in ``datasets.train``."""
    queue_size: Positive = 180
    """Pairs in the training pair pool, a multiple of the batch size: batches are drawn from it."""
    gt_usm: Optional[bool] = None
    """Sharpen GT, before LQ is made of it."""
    resize_prob: Optional[ThreeChoices] = None
    """Chances of resizing up, down and not at all."""
    resize_range: Optional[PositiveRange] = None
    """Least and largest factor of resizing."""
    gaussian_noise_prob: Optional[Probability] = None
    """Chance of Gaussian noise; otherwise it is Poisson noise."""
    noise_range: Optional[Range] = None
    """Least and largest sigma of Gaussian noise, of images in 0..255."""
    poisson_scale_range: Optional[Range] = None
    """Least and largest factor of Poisson noise."""
    gray_noise_prob: Optional[Probability] = None
    """Chance that noise is gray."""
    jpeg_range: Optional[Qualities] = None
    """Least and largest quality of JPEG."""
    second_blur_prob: Optional[Probability] = None
    """Chance of the second blur."""
    resize_prob2: Optional[ThreeChoices] = None
    """What ``resize_prob`` is, the second time; so are the other names that end in 2."""
    resize_range2: Optional[PositiveRange] = None
    gaussian_noise_prob2: Optional[Probability] = None
    noise_range2: Optional[Range] = None
    poisson_scale_range2: Optional[Range] = None
    gray_noise_prob2: Optional[Probability] = None
    jpeg_range2: Optional[Qualities] = None


class OfRealESRGAN(StockSection):
    """Top-level keys of RealESRGANModel alone."""

    l1_gt_usm: Any = None
    percep_gt_usm: Any = None
    gan_gt_usm: Any = None


class Kernels(StockSection):
    """Keys of RealESRGANDataset in ``datasets.train``: which images, and the blur kernels that are drawn for each."""

    meta_info: Optional[str] = None
    """Text file that lists the GT images below ``dataroot_gt``, one per line; for ``io_backend: {type: disk}``."""
    blur_kernel_size: Optional[Positive] = None
    """BasicSR wants it, and draws sizes of 7 to 21."""
    kernel_list: Optional[Kinds] = None
    """Kinds of kernels of the first blur."""
    kernel_prob: Optional[Choices] = None
    """Chance of each kind."""
    sinc_prob: Optional[Probability] = None
    """Chance of a sinc kernel instead."""
    blur_sigma: Optional[PositiveRange] = None
    """Least and largest standard deviation, in pixels."""
    betag_range: Optional[PositiveRange] = None
    """Least and largest shape of generalized Gaussian kernels."""
    betap_range: Optional[PositiveRange] = None
    """Least and largest shape of plateau-shaped kernels."""
    blur_kernel_size2: Optional[Positive] = None
    kernel_list2: Optional[Kinds] = None
    """What ``kernel_list`` is, of the second blur; so are the other names that end in 2."""
    kernel_prob2: Optional[Choices] = None
    sinc_prob2: Optional[Probability] = None
    blur_sigma2: Optional[PositiveRange] = None
    betag_range2: Optional[PositiveRange] = None
    betap_range2: Optional[PositiveRange] = None
    final_sinc_prob: Optional[Probability] = None
    """Chance of a sinc kernel at the end."""


def missing_key(model: type[BaseModel], values: Mapping[str, Any]) -> Optional[str]:
    """The first key without which BasicSR fails that a section has not, or has no value for.

    Args:
        model: :class:`Degradation` or :class:`Kernels`.
        values: The section.

    Example:
        >>> missing_key(Degradation, {"gt_size": 256})
        'gt_usm'
    """
    names = (name for name, field in model.model_fields.items() if field.default is None and name != "meta_info")
    return next((name for name in names if values.get(name) is None), None)
