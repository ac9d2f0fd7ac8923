"""What losses on the images of a batch share."""

from __future__ import annotations

from typing import Optional

import torch
from torch import Tensor
from torch.nn import functional as F

from srkd_plugin.losses.feature_maps import require_values
from srkd_plugin.parallel import ranks


def check_images(student: Tensor, teacher: Tensor, lq: Optional[Tensor]) -> None:
    """Check that a batch's outputs can be compared with each other, and with its inputs.

    Raises:
        ValueError: Shapes that differ or are not 4-dim, N < 2, empty images, whole numbers as values, or ``lq``
            missing or of another N or C.
    """
    check_outputs(student, teacher)
    if len(student) < 2:
        raise ValueError("a batch of 1 image has no negatives; N >= 2 is needed")
    if lq is None:
        raise ValueError("negatives='lq_bicubic' needs lq, the batch's inputs")
    if lq.dim() != 4 or lq.shape[:2] != student.shape[:2]:
        raise ValueError(f"lq must have N and C of the outputs, {tuple(student.shape[:2])}; got {tuple(lq.shape)}")
    require_values("lq", lq)


def check_outputs(student: Tensor, teacher: Tensor) -> None:
    """Check that two batches of outputs can be compared image by image.

    Raises:
        ValueError: Shapes that differ or are not 4-dim, empty images, or whole numbers as values.
    """
    if student.dim() != 4 or student.shape != teacher.shape:
        raise ValueError(
            "student and teacher must be (N, C, H, W) of equal shape; "
            f"got {tuple(student.shape)} and {tuple(teacher.shape)}"
        )
    require_values("student", student)
    require_values("teacher", teacher)


def check_history(student: Tensor, teacher: Tensor, history: Optional[Tensor]) -> None:
    """Check that a batch's outputs can be compared with each other, and with an earlier student's.

    Raises:
        ValueError: Shapes that differ or are not 4-dim, empty images, whole numbers as values, or ``history`` missing
            or not ``(K, N, C, H, W)``.
    """
    check_outputs(student, teacher)
    if history is None:
        raise ValueError("negatives='history' needs history, images of an earlier student")
    if history.dim() != 5 or history.shape[1:] != student.shape:
        raise ValueError(f"history must be (K, {', '.join(map(str, student.shape))}); got {tuple(history.shape)}")
    require_values("history", history)


def gather_images(
    student: Tensor, teacher: Tensor, lq: Optional[Tensor] = None, history: Optional[Tensor] = None
) -> tuple[Tensor, Tensor, Optional[Tensor], Optional[Tensor]]:
    """The joint batch of all ranks, for a loss that each of them computes whole.

    Args:
        student: ``(N, C, H, W)``; see :func:`srkd_plugin.parallel.ranks.gather_batches` for its gradient.
        teacher: The same shape.
        lq: ``(N, C, h, w)``, or None.
        history: ``(K, N, C, H, W)``, or None.

    Returns:
        All four, in this order, with all ranks' images in the place of N.
    """
    by_image = None if history is None else history.transpose(0, 1)
    given = {"student": student, "teacher": teacher, "lq": lq, "history": by_image}
    there = {name: value for name, value in given.items() if value is not None}
    joint = dict(zip(there, ranks.gather_batches(*there.values())))
    by_image = joint.get("history")
    return joint["student"], joint["teacher"], joint.get("lq"), None if by_image is None else by_image.transpose(0, 1)


def upscale_bicubic(lq: Tensor, size: torch.Size) -> Tensor:
    """Inputs at the size of the outputs, ``(N, C, h, w)`` to ``(N, C, *size)``; no gradient, and not clipped."""
    return F.interpolate(lq.detach(), size=size, mode="bicubic", align_corners=False)
