"""What losses on the images of a batch share."""

from __future__ import annotations

from typing import Optional

import torch
from torch import Tensor
from torch.nn import functional as F


def check_images(student: Tensor, teacher: Tensor, lq: Optional[Tensor]) -> None:
    """Check that a batch's outputs can be compared with each other, and with its inputs.

    Raises:
        ValueError: Shapes that differ or are not 4-dim, N < 2, or ``lq`` missing or of another N or C.
    """
    if student.dim() != 4 or student.shape != teacher.shape:
        raise ValueError(
            "student and teacher must be (N, C, H, W) of equal shape; "
            f"got {tuple(student.shape)} and {tuple(teacher.shape)}"
        )
    if len(student) < 2:
        raise ValueError("a batch of 1 image has no negatives; N >= 2 is needed")
    if lq is None:
        raise ValueError("negatives='lq_bicubic' needs lq, the batch's inputs")
    if lq.shape[:2] != student.shape[:2]:
        raise ValueError(f"lq must have N and C of the outputs, {tuple(student.shape[:2])}; got {tuple(lq.shape)}")


def upscale_bicubic(lq: Tensor, size: torch.Size) -> Tensor:
    """Inputs at the size of the outputs, ``(N, C, h, w)`` to ``(N, C, *size)``; no gradient, and not clipped."""
    return F.interpolate(lq.detach(), size=size, mode="bicubic", align_corners=False)
