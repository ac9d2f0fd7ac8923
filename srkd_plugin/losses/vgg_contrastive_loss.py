"""CSD: contrastive distillation on VGG19's features, with bicubic images as negatives."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Optional

import torch
from basicsr.utils.registry import LOSS_REGISTRY
from torch import Tensor, nn

from srkd_plugin.losses.arguments import require_count, require_positive, require_weights
from srkd_plugin.losses.feature_maps import at_least_float32
from srkd_plugin.losses.images import check_images, upscale_bicubic
from srkd_plugin.losses.pairwise import pairwise_l1
from srkd_plugin.losses.vgg import VGG19Features
from srkd_plugin.parallel import ranks

LAYER_WEIGHTS = (1 / 32, 1 / 16, 1 / 8, 1 / 4, 1.0)


def vgg_contrastive_loss(
    student: Tensor,
    teacher: Tensor,
    lq: Tensor,
    extract: Callable[[Tensor], Sequence[Tensor]],
    *,
    layer_weights: Sequence[float] = LAYER_WEIGHTS,
    num_negatives: int = 10,
    eps: float = 1e-7,
) -> Tensor:
    r"""Pull the student's features to the teacher's, push them off those of the other images' bicubic upscalings.

    Source: Wang et al., "Towards Compact Single Image Super-Resolution via Contrastive Self-distillation" (CSD), IJCAI
    2021. With phi_j the feature maps of layer j and B the bicubically upscaled inputs, the negatives of image i are
    those of the K images after it in the batch, counted round: B_{i+1}, ..., B_{i+K}.

    .. math::
        L = \sum_j w_j \frac{\text{mean} |\phi_j(S) - \phi_j(T)|}
            {\text{mean} \sum_k |\phi_j(S) - \phi_j(B_{+k})| + \epsilon}

    The means are over all elements of the batch: one ratio per layer, and not one per image. The value does not depend
    on the range of the images as long as ``extract`` sees the same; CSD's own weight for it, 200, stands beside an L1
    loss in 0..255 and is 200/255 = 0.784 in 0..1.

    Gradients reach the student only. The features of the N negatives are computed once and compared pair by pair, so
    that N*K maps are never held.

    Args:
        student: ``(N, C, H, W)``, the student's SR images in 0..1, N >= 2.
        teacher: The same of the teacher.
        lq: ``(N, C, h, w)``, the inputs.
        extract: The feature maps of a batch of images, ``(N, ...)`` each, e.g. :class:`VGG19Features`.
        layer_weights: w_j, one per feature map; >= 0.
        num_negatives: K, >= 1; at most N - 1 are there.
        eps: Added to the denominators, in units of the features; > 0.

    Returns:
        0-dim tensor, float32 (float64 for float64 features).

    Raises:
        ValueError: Shapes that differ or are not 4-dim, N < 2, another number of weights than of feature maps, or a
            setting that is out of its range.

    Example:
        >>> student, teacher, lq = torch.rand(3, 3, 8, 12), torch.rand(3, 3, 8, 12), torch.rand(3, 3, 4, 6)
        >>> vgg_contrastive_loss(student, teacher, lq, lambda x: [x, x**2], layer_weights=[1.0, 0.5]).shape
        torch.Size([])
    """
    _check_settings(layer_weights, num_negatives, eps)
    check_images(student, teacher, lq)
    with torch.autocast(student.device.type, enabled=False):
        with torch.no_grad():
            of_teacher = extract(at_least_float32(teacher))
            of_negatives = extract(upscale_bicubic(at_least_float32(lq), student.shape[-2:]))
        of_student = extract(at_least_float32(student))
        if len(of_student) != len(layer_weights):
            raise ValueError(f"there are {len(of_student)} feature maps and {len(layer_weights)} layer_weights")
        pairs = _negative_pairs(len(student), num_negatives, student.device)
        losses = []
        for weight, s, t, negatives in zip(layer_weights, of_student, of_teacher, of_negatives):
            pull = (s - t).abs().mean()
            push = pairwise_l1(s.flatten(1), negatives.flatten(1)).masked_fill(~pairs, 0.0).sum(dim=1).mean()
            losses.append(weight * pull / (push + eps))
        return torch.stack(losses).sum()


@LOSS_REGISTRY.register()
class VGGContrastiveLoss(nn.Module):
    """:func:`vgg_contrastive_loss` on VGG19's relu1_1 to relu5_1, times ``loss_weight``.

    VGG19 is torchvision's, with ImageNet's normalisation; it is frozen, and in no checkpoint. Images of one channel are
    repeated to three.

    Args:
        loss_weight: CSD's lambda; 0.784 for images in 0..1.
        vgg_weights: A file with torchvision's state dict of VGG19; None for torchvision's own, which is downloaded
            once; see :class:`srkd_plugin.losses.vgg.VGG19Features`.
        num_negatives: K, the most negatives per image.
        eps: See :func:`vgg_contrastive_loss`.
        gather_negatives: In a distributed run, compute the loss of the ranks' joint batch, as ``ContrastiveLoss`` does;
            every rank then runs VGG19 on the images of all. No effect in a run of one process.

    Raises:
        OptionsError: VGG19's weights cannot be had.
        ValueError: A setting is out of its range.
    """

    reads = ("student", "teacher", "lq")
    min_batch = 2
    """Smallest batch that has negatives; checked before training."""

    def __init__(
        self,
        loss_weight: float = 1.0,
        vgg_weights: Optional[str] = None,
        num_negatives: int = 10,
        eps: float = 1e-7,
        gather_negatives: bool = False,
    ) -> None:
        super().__init__()
        _check_settings(LAYER_WEIGHTS, num_negatives, eps)
        self.loss_weight, self.num_negatives, self.eps = loss_weight, num_negatives, eps
        self.gather_negatives = gather_negatives
        self.vgg = VGG19Features(vgg_weights)

    def forward(self, student: Tensor, teacher: Tensor, lq: Tensor) -> Tensor:
        """See :func:`vgg_contrastive_loss`."""
        if self.gather_negatives:
            student, teacher, lq = ranks.gather_batches(student, teacher, lq)
        return self.loss_weight * vgg_contrastive_loss(
            student, teacher, lq, self.vgg, num_negatives=self.num_negatives, eps=self.eps
        )


def _check_settings(layer_weights: Sequence[float], num_negatives: int, eps: float) -> None:
    require_weights("layer_weights", layer_weights)
    require_count("num_negatives", num_negatives)
    require_positive("eps", eps)


def _negative_pairs(images: int, num_negatives: int, device: torch.device) -> Tensor:
    """``(N, N)``: whether image k is a negative of image i: one of those that follow it, round the batch."""
    index = torch.arange(images, device=device)
    steps = (index[None, :] - index[:, None]) % images
    return (steps >= 1) & (steps <= num_negatives)
