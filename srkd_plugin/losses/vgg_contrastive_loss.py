"""CSD: contrastive distillation on VGG19's features, with bicubic images as negatives."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Literal, Optional

import torch
from basicsr.utils.registry import LOSS_REGISTRY
from torch import Tensor, nn

from srkd_plugin.losses.arguments import require_choice, require_count, require_positive, require_weights
from srkd_plugin.losses.feature_maps import at_least_float32
from srkd_plugin.losses.images import check_history, check_images, gather_images, upscale_bicubic
from srkd_plugin.losses.pairwise import pairwise_l1
from srkd_plugin.losses.vgg import VGG19Features

LAYER_WEIGHTS = (1 / 32, 1 / 16, 1 / 8, 1 / 4, 1.0)
MOST_NEGATIVES = 10
Negatives = Literal["lq_bicubic", "history"]


def vgg_contrastive_loss(
    student: Tensor,
    teacher: Tensor,
    lq: Optional[Tensor],
    extract: Callable[[Tensor], Sequence[Tensor]],
    *,
    history: Optional[Tensor] = None,
    layer_weights: Sequence[float] = LAYER_WEIGHTS,
    num_negatives: int = MOST_NEGATIVES,
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

    With ``history``, the negatives of image i are an earlier student's images of the same input instead (Dynamic
    Contrastive Knowledge Distillation, AAAI 2025): one ratio per layer, with all K of them in the denominator.

    Gradients reach the student only. The features of the N negatives are computed once and compared pair by pair, so
    that N*K maps are never held.

    Args:
        student: ``(N, C, H, W)``, the student's SR images in 0..1, N >= 2.
        teacher: The same of the teacher.
        lq: ``(N, C, h, w)``, the inputs; not read with ``history``.
        extract: The feature maps of a batch of images, ``(N, ...)`` each, e.g. :class:`VGG19Features`.
        history: ``(K, N, C, H, W)``, K images of each input by an earlier student, in the place of the bicubic ones; N
            may then be 1.
        layer_weights: w_j, one per feature map; >= 0.
        num_negatives: K, >= 1; at most N - 1 are there. Not read with ``history``.
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
    if history is None:
        check_images(student, teacher, lq)
    else:
        check_history(student, teacher, history)
    with torch.autocast(student.device.type, enabled=False):
        with torch.no_grad():
            of_teacher = extract(at_least_float32(teacher))
        of_student = extract(at_least_float32(student))
        if len(of_student) != len(layer_weights):
            raise ValueError(f"there are {len(of_student)} feature maps and {len(layer_weights)} layer_weights")
        pulls = [(s - t).abs().mean() for s, t in zip(of_student, of_teacher)]
        if history is not None:
            pushes = _push_off_history(of_student, history, extract)
        else:
            assert lq is not None  # check_images has seen to it
            pushes = _push_off_others(
                of_student, upscale_bicubic(at_least_float32(lq), student.shape[-2:]), extract, num_negatives
            )
        losses = [weight * pull / (push + eps) for weight, pull, push in zip(layer_weights, pulls, pushes)]
        return torch.stack(losses).sum()


def _push_off_others(
    of_student: Sequence[Tensor], negatives: Tensor, extract: Callable[[Tensor], Sequence[Tensor]], most: int
) -> list[Tensor]:
    """Per layer, the distances to the features of the images that follow in the batch, summed over those."""
    with torch.no_grad():
        of_negatives = extract(negatives)
    pairs = _negative_pairs(len(negatives), most, negatives.device)
    return [
        pairwise_l1(s.flatten(1), n.flatten(1)).masked_fill(~pairs, 0.0).sum(dim=1).mean()
        for s, n in zip(of_student, of_negatives)
    ]


def _push_off_history(
    of_student: Sequence[Tensor], history: Tensor, extract: Callable[[Tensor], Sequence[Tensor]]
) -> list[Tensor]:
    """Per layer, the distances to the features of K images of the same input, summed over those; one of K at a time."""
    totals: list[Tensor] = []
    for images in history:
        with torch.no_grad():
            of_images = extract(at_least_float32(images))
        distances = [(s - h).abs().mean() for s, h in zip(of_student, of_images)]
        totals = [total + d for total, d in zip(totals, distances)] if totals else distances
    return totals


@LOSS_REGISTRY.register()
class VGGContrastiveLoss(nn.Module):
    """:func:`vgg_contrastive_loss` on VGG19's relu1_1 to relu5_1, times ``loss_weight``.

    VGG19 is torchvision's, with ImageNet's normalisation; it is frozen, and in no checkpoint. Images of one channel are
    repeated to three.

    Args:
        loss_weight: CSD's lambda; 0.784 for images in 0..1.
        vgg_weights: A file with torchvision's state dict of VGG19; None for torchvision's own, which is downloaded
            once; see :class:`srkd_plugin.losses.vgg.VGG19Features`.
        num_negatives: K, the most negatives per image; for ``lq_bicubic`` only.
        eps: See :func:`vgg_contrastive_loss`.
        gather_negatives: In a distributed run, compute the loss of the ranks' joint batch, as ``ContrastiveLoss`` does;
            every rank then runs VGG19 on the images of all. No effect in a run of one process.
        negatives: What the negatives are: the other images' inputs, upscaled bicubically (``lq_bicubic``, CSD), or an
            earlier student's images of the same input (``history``, DCKD; ``train.history`` says which).

    Raises:
        OptionsError: VGG19's weights cannot be had.
        ValueError: A setting is out of its range.
    """

    min_batch = 2
    """Smallest batch that has negatives; checked before training."""

    def __init__(
        self,
        loss_weight: float = 1.0,
        vgg_weights: Optional[str] = None,
        num_negatives: int = MOST_NEGATIVES,
        eps: float = 1e-7,
        gather_negatives: bool = False,
        negatives: Negatives = "lq_bicubic",
    ) -> None:
        super().__init__()
        _check_settings(LAYER_WEIGHTS, num_negatives, eps)
        require_choice("negatives", negatives, Negatives)
        if negatives == "history" and num_negatives != MOST_NEGATIVES:
            raise ValueError(f"num_negatives={num_negatives} applies to negatives: lq_bicubic only; remove it")
        self.loss_weight, self.num_negatives, self.eps = loss_weight, num_negatives, eps
        self.gather_negatives, self.negatives = gather_negatives, negatives
        self.vgg = VGG19Features(vgg_weights)

    @property
    def reads(self) -> tuple[str, ...]:
        """What :meth:`forward` takes, by the names of a distillation step."""
        return ("student", "teacher", "lq", *(("history",) if self.negatives == "history" else ()))

    def forward(
        self, student: Tensor, teacher: Tensor, lq: Optional[Tensor], history: Optional[Tensor] = None
    ) -> Tensor:
        """See :func:`vgg_contrastive_loss`."""
        if self.gather_negatives:
            student, teacher, lq, history = gather_images(student, teacher, lq, history)
        most = self.num_negatives
        return self.loss_weight * vgg_contrastive_loss(
            student, teacher, lq, self.vgg, history=history, num_negatives=most, eps=self.eps
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
