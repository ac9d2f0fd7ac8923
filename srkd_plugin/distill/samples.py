"""More inputs for the student out of the batch that is there, as AugKD has them (``train.samples``).

AugKD (Zhang et al., ICLR 2025) labels, with the teacher, inputs that no data set has a ground truth for:

- *zoom in*: blocks of GT of the LQ crop's size, in its place as inputs. Their target is the teacher's output alone.
- *zoom out*: the LQ crop, shrunk by the scale. Its ground truth is the crop itself.

and gives the student augmented zoomed-in blocks whose augmentation is undone on its output. Here every sample has its
own blocks and augmentations, all inputs count in one step, and what was done last is undone first.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Callable

import torch
from torch import Tensor
from torch.nn import functional as F

from srkd_plugin.options.step_sections import AugmentSection, SamplesSection

STEPS: tuple[tuple[str, Callable[[Tensor], Tensor]], ...] = (
    ("invert", lambda images: 1 - images),
    ("hflip", lambda images: images.flip(-1)),
    ("vflip", lambda images: images.flip(-2)),
    ("transpose", lambda images: images.transpose(-2, -1)),
)
"""Augmentations in the order in which they are done, each its own inverse; by the key of their probability."""


@dataclass(frozen=True)
class Part:
    """Inputs of one kind in a training step."""

    kind: str
    """``batch``, ``zoom_in`` or ``zoom_out``."""
    batch: Mapping[str, Any]
    """What terms and the source of targets read: ``lq``; ``gt`` where there is one; and what the data set gives."""
    weight: float
    """Factor of all losses of this part."""
    augmentation: Augmentation
    """What is done to ``lq`` before the student gets it, and undone on its output."""


class Augmentation:
    """Augmentations of a batch, drawn image by image; and their inverse.

    Args:
        section: Probability of each kind.
        count: Number of images.

    Example:
        >>> images = torch.rand(5, 3, 4, 4)
        >>> augmentation = Augmentation(AugmentSection(invert=0.5, hflip=0.5, vflip=0.5, transpose=0.5), 5)
        >>> torch.allclose(augmentation.undo(augmentation(images)), images)
        True
    """

    def __init__(self, section: AugmentSection, count: int) -> None:
        probabilities = [(step, getattr(section, name)) for name, step in STEPS]
        # drawn on the CPU, whose random state a training state has; and where none is asked for, nothing is drawn
        self._steps = [(step, torch.rand(count) < p) for step, p in probabilities if p > 0]

    def __call__(self, images: Tensor) -> Tensor:
        """Augment ``(N, C, h, w)`` in 0..1; square, if some are transposed."""
        for step, chosen in self._steps:
            images = _where(chosen, step, images)
        return images

    def undo(self, images: Tensor) -> Tensor:
        """The inverse, the last one first; for images of any size, also the student's output."""
        for step, chosen in reversed(self._steps):
            images = _where(chosen, step, images)
        return images


def _where(chosen: Tensor, step: Callable[[Tensor], Tensor], images: Tensor) -> Tensor:
    """Do a step to the chosen images."""
    return torch.where(chosen.to(images.device)[:, None, None, None], step(images), images)


def parts(section: SamplesSection, batch: Mapping[str, Any], scale: int) -> Iterator[Part]:
    """All inputs of a step: the batch itself, then those that the options ask for.

    Args:
        section: ``train.samples``.
        batch: ``lq``, ``(N, C, p, p)`` in 0..1; ``gt``, ``(N, C, scale * p, scale * p)``; and what else it has.
        scale: SR factor.
    """
    none = AugmentSection(invert=0, hflip=0, vflip=0, transpose=0)
    lq = batch["lq"]
    yield Part("batch", batch, 1.0, Augmentation(none, len(lq)))
    if section.zoom_in:
        blocks = zoom_in(batch["gt"], scale, section.zoom_in)
        yield Part("zoom_in", {"lq": blocks}, section.zoom_in_weight, Augmentation(section.augment, len(blocks)))
    if section.zoom_out:
        small = zoom_out(lq, scale)
        yield Part("zoom_out", {"lq": small, "gt": lq}, section.zoom_out_weight, Augmentation(none, len(lq)))


def zoom_in(gt: Tensor, scale: int, count: int) -> Tensor:
    """Blocks of GT of the LQ crop's size, for each image others out of the ``scale * scale`` that cover it.

    Args:
        gt: ``(N, C, scale * p, scale * p)``.
        scale: SR factor.
        count: Blocks of each image, 1 to ``scale * scale``.

    Returns:
        ``(count * N, C, p, p)``, block by block: the first of each image, then the second.
    """
    n, c, height, width = gt.shape
    h, w = height // scale, width // scale
    blocks = gt.reshape(n, c, scale, h, scale, w).permute(0, 2, 4, 1, 3, 5).reshape(n, scale * scale, c, h, w)
    order = torch.rand(n, scale * scale).argsort(dim=1)[:, :count].to(gt.device)
    chosen = blocks[torch.arange(n, device=gt.device)[:, None], order]
    return chosen.transpose(0, 1).reshape(count * n, c, h, w)


def zoom_out(lq: Tensor, scale: int) -> Tensor:
    """The inputs, shrunk by the scale as data sets are: bicubic with antialiasing, rounded to 8 bits.

    Args:
        lq: ``(N, C, p, p)`` in 0..1, ``p`` a multiple of the scale.
        scale: SR factor.

    Returns:
        ``(N, C, p / scale, p / scale)`` in 0..1.
    """
    size = [side // scale for side in lq.shape[-2:]]
    small = F.interpolate(lq.float(), size=size, mode="bicubic", antialias=True, align_corners=False)
    return ((small * 255).round().clamp(0, 255) / 255).to(lq.dtype)
