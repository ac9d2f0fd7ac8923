"""Distances of feature maps: FitNet's, and a local, attentive one after LSFD."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import torch
from basicsr.utils.registry import LOSS_REGISTRY
from torch import Tensor, nn
from torch.nn import functional as F

from srkd_plugin.losses.arguments import require_choice, require_positive
from srkd_plugin.losses.feature_maps import at_least_float32, check_pairs
from srkd_plugin.losses.images import check_outputs

Criterion = Literal["l1", "l2"]


def feature_loss(
    student_taps: Sequence[Tensor], teacher_taps: Sequence[Tensor], *, criterion: Criterion = "l2"
) -> Tensor:
    r"""Mean distance of the student's features, after a connector, to the teacher's, summed over the taps.

    Source: Romero et al., "FitNets: Hints for Thin Deep Nets", ICLR 2015, the hint loss:

    .. math:: L = \sum_j \text{mean} |r_j(F_j^S) - F_j^T|^p, \quad p = 1 \text{ or } 2

    The value scales with the features (EDSR's live in the range of 0..255), so weights are not comparable between
    architectures.

    Args:
        student_taps: ``(N, C, H, W)`` each: the connectors' outputs r_j(F_j^S).
        teacher_taps: ``(N, C, H, W)`` each; no gradient reaches them.
        criterion: ``l1`` or ``l2`` (the square, without FitNet's factor 1/2).

    Returns:
        0-dim tensor, float32 (float64 for float64 inputs).

    Raises:
        ValueError: The taps differ in number or shape, or the criterion is not known.

    Example:
        >>> feature_loss([torch.zeros(2, 8, 5, 7)], [torch.ones(2, 8, 5, 7)])
        tensor(1.)
    """
    require_choice("criterion", criterion, Criterion)
    check_pairs(student_taps, teacher_taps, same_channels=True)
    distance = F.l1_loss if criterion == "l1" else F.mse_loss
    losses = [distance(at_least_float32(s), at_least_float32(t.detach())) for s, t in zip(student_taps, teacher_taps)]
    return torch.stack(losses).sum()


def local_selective_feature_loss(
    student: Tensor,
    teacher: Tensor,
    student_taps: Sequence[Tensor],
    teacher_taps: Sequence[Tensor],
    *,
    eps: float = 1e-6,
) -> Tensor:
    r"""L1 distance of feature maps, weighted where student and teacher images differ most.

    Source: our reading of Park, Kwak, "Local-Selective-Feature Distillation for Single Image Super-Resolution" (LSFD),
    arXiv 2111.10988, of which we had the abstract and the introduction. From there: a FitNet-style loss on *local*
    information, and a soft attention from the difference of teacher and student that selects positions. The formula is
    ours:

    .. math::
        E = \text{pool}(\text{mean}_{RGB} |S - T|), \quad M = E / (\text{mean}_{HW} E + \epsilon), \quad
        L = \sum_j \text{mean}(M \cdot |r_j(F_j^S) - F_j^T|)

    M has mean 1 over each image, is pooled to the features' size and carries no gradient. Where student and teacher are
    equal everywhere, M is 0.

    Args:
        student: ``(N, C, sH, sW)``, SR images in 0..1.
        teacher: The same of the teacher.
        student_taps: ``(N, C', H, W)`` each: the connectors' outputs.
        teacher_taps: ``(N, C', H, W)`` each; no gradient reaches them.
        eps: In units of the images; > 0.

    Returns:
        0-dim tensor, float32 (float64 for float64 inputs).

    Raises:
        ValueError: The images differ in shape, the taps in number or shape, or both in N; ``eps`` is out of its range.
    """
    require_positive("eps", eps)
    check_outputs(student, teacher)
    check_pairs(student_taps, teacher_taps, same_channels=True)
    for i, s in enumerate(student_taps):
        if len(s) != len(student):
            raise ValueError(f"tap {i} is of {len(s)} images, and there are {len(student)}")
    error = (at_least_float32(student.detach()) - at_least_float32(teacher.detach())).abs().mean(dim=1, keepdim=True)
    losses = []
    for s, t in zip(student_taps, teacher_taps):
        height, width = s.shape[-2:]
        pooled = F.adaptive_avg_pool2d(error, (height, width))
        attention = pooled / (pooled.mean(dim=(2, 3), keepdim=True) + eps)
        difference = at_least_float32(s) - at_least_float32(t.detach())
        losses.append((attention * difference.abs()).mean())
    return torch.stack(losses).sum()


@LOSS_REGISTRY.register()
class FeatureLoss(nn.Module):
    """:func:`feature_loss` times ``loss_weight``; needs ``taps``, and a ``connector`` where channels differ."""

    reads = ("student_taps", "teacher_taps")

    def __init__(self, loss_weight: float = 1.0, criterion: Criterion = "l2") -> None:
        super().__init__()
        require_choice("criterion", criterion, Criterion)
        self.loss_weight, self.criterion = loss_weight, criterion

    def forward(self, student_taps: Sequence[Tensor], teacher_taps: Sequence[Tensor]) -> Tensor:
        """See :func:`feature_loss`."""
        return self.loss_weight * feature_loss(student_taps, teacher_taps, criterion=self.criterion)


@LOSS_REGISTRY.register()
class LocalSelectiveFeatureLoss(nn.Module):
    """:func:`local_selective_feature_loss` times ``loss_weight``; needs ``taps``, and a ``connector``."""

    reads = ("student", "teacher", "student_taps", "teacher_taps")

    def __init__(self, loss_weight: float = 1.0, eps: float = 1e-6) -> None:
        super().__init__()
        require_positive("eps", eps)
        self.loss_weight, self.eps = loss_weight, eps

    def forward(
        self, student: Tensor, teacher: Tensor, student_taps: Sequence[Tensor], teacher_taps: Sequence[Tensor]
    ) -> Tensor:
        """See :func:`local_selective_feature_loss`."""
        return self.loss_weight * local_selective_feature_loss(
            student, teacher, student_taps, teacher_taps, eps=self.eps
        )
