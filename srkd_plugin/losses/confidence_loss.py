"""L1 to the teacher's image, weighted pixel by pixel with how far the teacher can be trusted there."""

from __future__ import annotations

import torch
from basicsr.utils.registry import LOSS_REGISTRY
from torch import Tensor, nn

from srkd_plugin.losses.arguments import require_positive
from srkd_plugin.losses.feature_maps import at_least_float32, require_values
from srkd_plugin.losses.images import check_outputs


def confidence_l1_loss(
    student: Tensor,
    teacher: Tensor,
    gt: Tensor,
    *,
    sharpness: float = 10.0,
    lowest: float = 0.1,
    highest: float = 0.75,
) -> Tensor:
    r"""Mean of the distance to the teacher, which counts less where the teacher is wrong.

    Source: confidence-weighted distillation of the Mobile AI 2026 super-resolution challenge. With S, T and y the
    student's, the teacher's and the ground truth image, and c over the channels:

    .. math::
        e = \text{mean}_c |T - y|, \quad
        w = \text{clip}(\exp(-k e), w_\text{lowest}, w_\text{highest}), \quad
        L = \text{mean}\, w |S - T|

    Gradients reach the student only. The weights depend on the value range: k is stated for images in 0..1, and is
    k/255 for 0..255.

    Args:
        student: ``(N, C, H, W)``, the student's SR images in 0..1.
        teacher: The same of the teacher.
        gt: The same of the ground truth.
        sharpness: k, how fast the weight falls with the teacher's error; > 0. At 10 it is halved by an error of 0.07.
        lowest: Smallest weight of a pixel, > 0 and at most ``highest``.
        highest: Largest weight of a pixel.

    Returns:
        0-dim tensor, float32 (float64 for float64 inputs).

    Raises:
        ValueError: Shapes that differ or are not 4-dim, or a setting that is out of its range.

    Example:
        >>> student, teacher, gt = (torch.rand(2, 3, 8, 12) for _ in range(3))
        >>> confidence_l1_loss(student, teacher, gt).shape
        torch.Size([])
    """
    _check_settings(sharpness, lowest, highest)
    check_outputs(student, teacher)
    if gt.shape != student.shape:
        raise ValueError(f"gt must have the shape of the outputs, {tuple(student.shape)}; got {tuple(gt.shape)}")
    require_values("gt", gt)
    with torch.autocast(student.device.type, enabled=False):
        s, t, y = (at_least_float32(x) for x in (student, teacher.detach(), gt.detach()))
        error = (t - y).abs().mean(dim=1, keepdim=True)
        weight = torch.exp(-sharpness * error).clamp(lowest, highest)
        return (weight * (s - t).abs()).mean()


@LOSS_REGISTRY.register()
class ConfidenceL1Loss(nn.Module):
    """:func:`confidence_l1_loss` times ``loss_weight``.

    See :func:`confidence_l1_loss` for the arguments that are not named here; they have the same defaults.

    Args:
        loss_weight: What the loss is multiplied with.

    Raises:
        ValueError: A setting is out of its range.
    """

    reads = ("student", "teacher", "gt")

    def __init__(
        self, loss_weight: float = 1.0, sharpness: float = 10.0, lowest: float = 0.1, highest: float = 0.75
    ) -> None:
        super().__init__()
        _check_settings(sharpness, lowest, highest)
        self.loss_weight, self.sharpness, self.lowest, self.highest = loss_weight, sharpness, lowest, highest

    def forward(self, student: Tensor, teacher: Tensor, gt: Tensor) -> Tensor:
        """See :func:`confidence_l1_loss`."""
        settings = {"sharpness": self.sharpness, "lowest": self.lowest, "highest": self.highest}
        return self.loss_weight * confidence_l1_loss(student, teacher, gt, **settings)


def _check_settings(sharpness: float, lowest: float, highest: float) -> None:
    for name, value in (("sharpness", sharpness), ("lowest", lowest), ("highest", highest)):
        require_positive(name, value)
    if lowest > highest:
        raise ValueError(f"lowest must be at most highest; got {lowest} and {highest}")
