"""More inputs for the student out of the batch that is there, as AugKD has them (``train.samples``).

AugKD (Zhang et al., ICLR 2025) labels, with the teacher, inputs that no data set has a ground truth for:

- *zoom in*: blocks of GT of the LQ crop's size, in its place as inputs. Their target is the teacher's output alone.
- *zoom out*: the LQ crop, shrunk by the scale. Its ground truth is the crop itself.

A data set may give these inputs with the teacher's images of them, as :class:`TeacherCacheDataset
<srkd_plugin.teacher_cache.teacher_cache_dataset.TeacherCacheDataset>` does; else they are made of the batch. AugKD also
gives the student augmented zoomed-in blocks whose augmentation is undone on its output. Here every sample has its
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


def keys_of_data(section: SamplesSection, teachers_key: str) -> tuple[str, ...]:
    """What a data set may give of the inputs that the options ask for, with the teacher's images of them.

    Args:
        section: ``train.samples``.
        teachers_key: Under which it gives the teacher's image of the batch's inputs, e.g. ``teacher``.
    """
    zoom_in = ("zoom_in_gt", f"zoom_in_{teachers_key}") if section.zoom_in else ()
    zoom_out = ("zoom_out_lq", "zoom_out_gt", f"zoom_out_{teachers_key}") if section.zoom_out else ()
    return zoom_in + zoom_out


def parts(section: SamplesSection, batch: Mapping[str, Any], scale: int) -> Iterator[Part]:
    """All inputs of a step: the batch itself, then those that the options ask for.

    Args:
        section: ``train.samples``.
        batch: ``lq``, ``(N, C, p, p)`` in 0..1; ``gt``, ``(N, C, scale * p, scale * p)``; what else it has, of it
            :func:`keys_of_data`.
        scale: SR factor.
    """
    none = AugmentSection(invert=0, hflip=0, vflip=0, transpose=0)
    lq = batch["lq"]
    yield Part("batch", batch, 1.0, Augmentation(none, len(lq)))
    if section.zoom_in:
        chosen = choose_blocks(len(lq), scale, section.zoom_in)
        images = {"lq": batch.get("zoom_in_gt", batch["gt"]), **_teachers(batch, "zoom_in_")}
        blocks = {key: zoom_in(image, scale, chosen) for key, image in images.items()}
        yield Part("zoom_in", blocks, section.zoom_in_weight, Augmentation(section.augment, len(blocks["lq"])))
    if section.zoom_out:
        if "zoom_out_lq" in batch:  # of the whole image shrunk, and so are the teacher's images
            small = {"lq": batch["zoom_out_lq"], "gt": batch["zoom_out_gt"], **_teachers(batch, "zoom_out_")}
        else:
            small = {"lq": zoom_out(lq, scale), "gt": lq}
        yield Part("zoom_out", small, section.zoom_out_weight, Augmentation(none, len(lq)))


def _teachers(batch: Mapping[str, Any], prefix: str) -> dict[str, Tensor]:
    """The teachers' images of zoomed inputs that a batch has, under the names that those of its own inputs have."""
    given = (key for key in batch if key.startswith(f"{prefix}teacher"))
    return {key[len(prefix) :]: batch[key] for key in given}


def choose_blocks(n: int, scale: int, count: int) -> Tensor:
    """Draw which of the ``scale * scale`` blocks that cover an image are taken, for each image others.

    Args:
        n: Number of images.
        scale: SR factor.
        count: Blocks of each image, 1 to ``scale * scale``.

    Returns:
        ``(n, count)``, int64, on the CPU.
    """
    return torch.rand(n, scale * scale).argsort(dim=1)[:, :count]


def zoom_in(images: Tensor, scale: int, chosen: Tensor) -> Tensor:
    """Blocks of images, ``1 / scale`` as high and wide: of GT those of the LQ crop's size.

    Args:
        images: ``(N, C, scale * h, scale * w)``.
        scale: SR factor.
        chosen: ``(N, K)``, which blocks of each image, row by row from 0; see :func:`choose_blocks`.

    Returns:
        ``(K * N, C, h, w)``, block by block: the first of each image, then the second.
    """
    n, c, height, width = images.shape
    h, w = height // scale, width // scale
    blocks = images.reshape(n, c, scale, h, scale, w).permute(0, 2, 4, 1, 3, 5).reshape(n, scale * scale, c, h, w)
    taken = blocks[torch.arange(n, device=images.device)[:, None], chosen.to(images.device)]
    return taken.transpose(0, 1).reshape(-1, c, h, w)


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
