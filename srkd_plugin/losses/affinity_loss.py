"""FAKD: distillation of the spatial affinity of feature maps."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from basicsr.utils.registry import LOSS_REGISTRY
from torch import Tensor, nn

from srkd_plugin.losses.arguments import require_count, require_positive
from srkd_plugin.losses.feature_maps import at_least_float32, check_pairs


def spatial_affinity_loss(
    student_taps: Sequence[Tensor], teacher_taps: Sequence[Tensor], *, eps: float = 1e-8, chunk: int = 256
) -> Tensor:
    r"""L1 distance of the affinity matrices of student and teacher features, summed over the taps.

    Source: He et al., "FAKD: Feature-Affinity Based Knowledge Distillation for Efficient Image Super-Resolution", ICIP
    2020, spatial affinity. With F the feature map as ``(N, C, H*W)`` and every column divided by its Euclidean norm
    over C (plus eps):

    .. math::
        A(F) = F^T F \in [-1, 1]^{N \times HW \times HW}, \quad
        L = \sum_\text{taps} \text{mean} |A(F_S) - A(F_T)|

    C drops out of A: the channels of student and teacher may differ. The value does not depend on the range of the
    images; FAKD's own weight for it, 10, stands beside an L1 loss in 0..255 and is 10/255 = 0.0392 in 0..1.

    A is never held whole: it is made ``chunk`` rows at a time, and the gradient with it, so that memory grows with
    H*W*chunk instead of (H*W)^2.

    Args:
        student_taps: ``(N, C_S, H, W)`` each.
        teacher_taps: ``(N, C_T, H, W)`` each, as many; no gradient reaches them.
        eps: Added to the norms; > 0. A column of zeros has affinity 0 with every other.
        chunk: Rows of A at a time; >= 1.

    Returns:
        0-dim tensor, float32 (float64 for float64 inputs).

    Raises:
        ValueError: The taps differ in number, or a pair in N, H or W; a setting is out of its range.

    Example:
        >>> student, teacher = torch.rand(2, 8, 5, 7), torch.rand(2, 16, 5, 7)
        >>> spatial_affinity_loss([student], [teacher]).shape
        torch.Size([])
    """
    _check_settings(eps, chunk)
    check_pairs(student_taps, teacher_taps, same_channels=False)
    with torch.autocast(student_taps[0].device.type, enabled=False):
        losses = [
            _AffinityL1.apply(_unit_columns(s, eps), _unit_columns(t.detach(), eps), chunk)
            for s, t in zip(student_taps, teacher_taps)
        ]
        return torch.stack(losses).sum()


@LOSS_REGISTRY.register()
class SpatialAffinityLoss(nn.Module):
    """:func:`spatial_affinity_loss` times ``loss_weight``; needs ``taps``, no connectors."""

    reads = ("student_taps", "teacher_taps")

    def __init__(self, loss_weight: float = 1.0, eps: float = 1e-8, chunk: int = 256) -> None:
        super().__init__()
        _check_settings(eps, chunk)
        self.loss_weight, self.eps, self.chunk = loss_weight, eps, chunk

    def forward(self, student_taps: Sequence[Tensor], teacher_taps: Sequence[Tensor]) -> Tensor:
        """See :func:`spatial_affinity_loss`."""
        return self.loss_weight * spatial_affinity_loss(student_taps, teacher_taps, eps=self.eps, chunk=self.chunk)


def _check_settings(eps: float, chunk: int) -> None:
    require_positive("eps", eps)
    require_count("chunk", chunk)


def _unit_columns(features: Tensor, eps: float) -> Tensor:
    columns = at_least_float32(features.flatten(2))
    return columns / (torch.linalg.vector_norm(columns, dim=1, keepdim=True) + eps)


class _AffinityL1(torch.autograd.Function):
    """mean |S^T S - T^T T| of ``(N, C, M)`` columns, and its gradient for S, ``chunk`` rows at a time.

    With G the sign of the difference, which is symmetric, the gradient is 2 S G / (N M M): one more product per chunk,
    made in the forward pass while the chunk is there.
    """

    @staticmethod
    def forward(ctx: Any, s: Tensor, t: Tensor, chunk: int) -> Tensor:
        total = s.new_zeros(())
        grad = torch.empty_like(s) if ctx.needs_input_grad[0] else None
        for start in range(0, s.shape[2], chunk):
            rows = slice(start, start + chunk)
            difference = torch.bmm(s[:, :, rows].mT, s)
            difference -= torch.bmm(t[:, :, rows].mT, t)  # not baddbmm: equal maps must differ by exactly 0
            total += difference.abs().sum()
            if grad is not None:
                grad[:, :, rows] = torch.bmm(s, difference.sign_().mT)
        count = s.shape[0] * s.shape[2] ** 2
        if grad is not None:
            ctx.save_for_backward(grad.mul_(2.0 / count))
        return total / count

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, grad_output: Tensor) -> tuple[Any, None, None]:
        (grad,) = ctx.saved_tensors
        return grad * grad_output, None, None
