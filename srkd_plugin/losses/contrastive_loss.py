"""Contrastive distillation on the outputs of a batch: the loss of the paper this plugin implements."""

from __future__ import annotations

import math
import warnings
from typing import Any, Literal, Optional

import torch
from basicsr.utils.registry import LOSS_REGISTRY
from torch import Tensor, nn

from srkd_plugin.losses.arguments import require_choice, require_positive
from srkd_plugin.losses.images import check_images, upscale_bicubic
from srkd_plugin.losses.pairwise import pairwise_cosine, pairwise_l1, unit
from srkd_plugin.parallel import ranks

Similarity = Literal["l1", "cosine"]
Form = Literal["exp", "ratio", "infonce"]
Negatives = Literal["teacher", "student", "both", "lq_bicubic"]
Reduction = Literal["sum", "mean"]


def contrastive_loss(
    student: Tensor,
    teacher: Tensor,
    lq: Optional[Tensor] = None,
    *,
    similarity: Similarity = "l1",
    form: Optional[Form] = None,
    temperature: float = 1.0,
    negatives: Negatives = "teacher",
    negative_reduction: Reduction = "sum",
    reduction: Reduction = "sum",
    center: bool = False,
    eps: float = 1e-6,
) -> Tensor:
    r"""Pull the student's output to the teacher's of the same image, push it off the batch's other images.

    Source: Moon, Kwon, Jeong, Kim, "Compression of Super-Resolution model Using Contrastive Learning", KETI 2022,
    equation (1). With S, T the student's and the teacher's outputs and n over the negatives of image i:

    .. math::
        \text{l1:}\quad & \sum_i \frac{d(S_i, T_i)}{\sum_n d(S_i, n) + \epsilon}, \quad
            d(a, b) = \text{mean} |a - b| \\
        \text{cosine, exp:}\quad & \sum_i -\log \frac{\exp(c(S_i, T_i)/\tau)}{\sum_n \exp(c(S_i, n)/\tau)} \\
        \text{cosine, infonce:}\quad & \sum_i -\log \frac{\exp(c(S_i, T_i)/\tau)}
            {\exp(c(S_i, T_i)/\tau) + \sum_n \exp(c(S_i, n)/\tau)} \\
        \text{cosine, ratio:}\quad & \sum_i -\log \frac{c(S_i, T_i)}{\sum_n c(S_i, n)}

    c is the cosine of the flattened C*H*W images. ``ratio`` is the paper's formula to the letter; it has no lower
    bound (it falls without end as the negatives' cosines go to 0) and destroys the student, hence ``exp``.
    The loss does not depend on the value range of the images, but for ``eps``. See docs/method.md for every choice.

    Gradients reach the student only. With ``negatives: student`` they reach it on both sides of the distance.
    float16 and bfloat16 inputs are computed and returned in float32, under autocast too; float64 stays float64.
    A NaN in the input is a NaN in the result. A batch of equal images is not an error: l1 is d/(K*d + eps). An image
    whose root mean square (after centring, if asked for) is at most ``eps`` has cosine 0 with everything, and no
    gradient.

    Args:
        student: ``(N, C, H, W)``, the student's SR images in 0..1, N >= 2.
        teacher: ``(N, C, H, W)``, the teacher's SR images of the same inputs.
        lq: ``(N, C, h, w)``, the inputs; read only with ``negatives="lq_bicubic"``.
        similarity: ``l1`` or ``cosine``.
        form: ``exp`` (the default), ``ratio`` or ``infonce``; for cosine only.
        temperature: tau of ``exp`` and ``infonce``; > 0.
        negatives: What the negatives of image i are, always without image i itself: the teacher's outputs of the
            others, the student's, both, or the others' inputs upscaled bicubically.
        negative_reduction: ``sum`` or ``mean`` over the negatives (in the denominator).
        reduction: ``sum`` or ``mean`` over the batch.
        center: Subtract each image's mean over C*H*W first (the cosine is then Pearson's correlation); cosine only.
        eps: l1: added to the denominator. cosine: see above. In units of the images; > 0.

    Returns:
        0-dim tensor.

    Raises:
        ValueError: Shapes that differ or are not 4-dim, N < 2, ``lq`` missing or of another N or C, a setting that is
            not known or out of its range, or settings that exclude each other.

    Example:
        >>> student, teacher = torch.rand(4, 3, 16, 24), torch.rand(4, 3, 16, 24)
        >>> contrastive_loss(student, teacher).shape
        torch.Size([])
    """
    _check_settings(similarity, form, temperature, negatives, negative_reduction, reduction, center, eps)
    check_images(student, teacher, lq if negatives == "lq_bicubic" else teacher)
    with torch.autocast(student.device.type, enabled=False):
        inputs = lq if negatives == "lq_bicubic" else None
        s, t, *banks = _flattened_images(student, teacher, inputs, negatives)
        if center:
            s, t, *banks = (x - x.mean(dim=1, keepdim=True) for x in (s, t, *banks))
        # [N, N] per bank; entry (i, i) is the image itself and no negative
        own = torch.eye(len(s), dtype=torch.bool, device=s.device).repeat(1, len(banks))
        if similarity == "l1":
            positive = (s - t).abs().mean(dim=1)
            negative = torch.cat([pairwise_l1(s, bank) for bank in banks], dim=1)
            per_image = _l1_ratio(positive, negative, own, negative_reduction, eps)
        else:
            positive = (unit(s, eps) * unit(t, eps)).sum(dim=1)
            negative = torch.cat([pairwise_cosine(s, bank, eps) for bank in banks], dim=1)
            per_image = _cosine_terms(positive, negative, own, form or "exp", temperature, negative_reduction, eps)
        return per_image.sum() if reduction == "sum" else per_image.mean()


@LOSS_REGISTRY.register()
class ContrastiveLoss(nn.Module):
    """:func:`contrastive_loss` times ``loss_weight``, as a loss of BasicSR's registry.

    See :func:`contrastive_loss` for the arguments that are not named here; they have the same defaults.

    Args:
        loss_weight: The paper's alpha.
        gather_negatives: In a distributed run, compute the loss of the ranks' joint batch: W ranks with N images each
            give the loss of one process with W*N images, on every rank, and after DDP's averaging its gradients. The
            ranks may have different N. Otherwise each rank computes that of its own N images (docs/distributed.md).
            No effect in a run of one process.

    Raises:
        ValueError: A setting is not known or out of its range, or settings exclude each other.
    """

    min_batch = 2
    """Smallest batch that has negatives; checked before training."""

    def __init__(
        self,
        similarity: Similarity = "l1",
        form: Optional[Form] = None,
        temperature: float = 1.0,
        negatives: Negatives = "teacher",
        negative_reduction: Reduction = "sum",
        reduction: Reduction = "sum",
        center: bool = False,
        eps: float = 1e-6,
        loss_weight: float = 1.0,
        gather_negatives: bool = False,
    ) -> None:
        super().__init__()
        _check_settings(similarity, form, temperature, negatives, negative_reduction, reduction, center, eps)
        if form == "ratio":
            warnings.warn(
                "form: ratio is the paper's cosine formula to the letter. It has no lower bound and destroyed the "
                "student in our runs (docs/method.md); form: exp is bounded.",
                UserWarning,
                stacklevel=2,
            )
        self.loss_weight = loss_weight
        self.gather_negatives = gather_negatives
        self.settings: dict[str, Any] = {
            "similarity": similarity,
            "form": form,
            "temperature": temperature,
            "negatives": negatives,
            "negative_reduction": negative_reduction,
            "reduction": reduction,
            "center": center,
            "eps": eps,
        }

    @property
    def reads(self) -> tuple[str, ...]:
        """What :meth:`forward` takes, by the names of a distillation step."""
        return ("student", "teacher", "lq") if self.settings["negatives"] == "lq_bicubic" else ("student", "teacher")

    def forward(self, student: Tensor, teacher: Tensor, lq: Optional[Tensor] = None) -> Tensor:
        """See :func:`contrastive_loss`."""
        if self.gather_negatives:
            student, teacher, *rest = ranks.gather_batches(*(x for x in (student, teacher, lq) if x is not None))
            lq = rest[0] if rest else None
        return self.loss_weight * contrastive_loss(student, teacher, lq, **self.settings)

    def extra_repr(self) -> str:
        """The settings, for ``print``."""
        weight = {"loss_weight": self.loss_weight, "gather_negatives": self.gather_negatives}
        return ", ".join(f"{k}={v}" for k, v in {**self.settings, **weight}.items())


def _flattened_images(student: Tensor, teacher: Tensor, lq: Optional[Tensor], negatives: str) -> list[Tensor]:
    """Student, teacher and the banks of negatives (of ``lq``, if given) as ``(N, C*H*W)`` rows, float32 or float64."""
    dtype = torch.float64 if student.dtype == torch.float64 else torch.float32
    s = student.to(dtype).flatten(1)
    t = teacher.detach().to(dtype).flatten(1)
    if lq is not None:
        return [s, t, upscale_bicubic(lq.to(dtype), student.shape[-2:]).flatten(1)]
    banks = {"teacher": [t], "student": [s], "both": [t, s]}[negatives]
    return [s, t, *banks]


def _l1_ratio(positive: Tensor, negative: Tensor, own: Tensor, negative_reduction: str, eps: float) -> Tensor:
    total = negative.masked_fill(own, 0.0).sum(dim=1)
    if negative_reduction == "mean":
        total = total / _count(own)
    return positive / (total + eps)


def _cosine_terms(
    positive: Tensor, negative: Tensor, own: Tensor, form: str, temperature: float, negative_reduction: str, eps: float
) -> Tensor:
    if form == "ratio":
        total = negative.masked_fill(own, 0.0).sum(dim=1)
        if negative_reduction == "mean":
            total = total / _count(own)
        # beyond its domain (a cosine or a sum of them that is not positive) the logarithm goes on at log(eps)
        return total.clamp(min=eps).log() - positive.clamp(min=eps).log()
    positive = positive / temperature
    pushed = (negative / temperature).masked_fill(own, -math.inf).logsumexp(dim=1)
    if negative_reduction == "mean":
        pushed = pushed - math.log(_count(own))
    if form == "infonce":
        pushed = torch.logaddexp(positive, pushed)
    return pushed - positive


def _count(own: Tensor) -> int:
    """How many negatives an image has."""
    return own.shape[1] - own.shape[1] // own.shape[0]


def _check_settings(
    similarity: Similarity,
    form: Optional[Form],
    temperature: float,
    negatives: Negatives,
    negative_reduction: Reduction,
    reduction: Reduction,
    center: bool,
    eps: float,
) -> None:
    require_choice("similarity", similarity, Similarity)
    require_choice("negatives", negatives, Negatives)
    require_choice("negative_reduction", negative_reduction, Reduction)
    require_choice("reduction", reduction, Reduction)
    require_choice("center", center, Literal[True, False])
    if form is not None:
        require_choice("form", form, Form)
    require_positive("temperature", temperature)
    require_positive("eps", eps)
    if similarity == "l1":
        for name, value, unset in (("form", form, None), ("temperature", temperature, 1.0), ("center", center, False)):
            if value != unset:
                raise ValueError(f"{name}={value!r} applies to similarity: cosine only; remove it")
    elif form == "ratio" and temperature != 1.0:
        raise ValueError(f"temperature={temperature} has no place in form: ratio; remove it")
