"""Contrastive distillation on the outputs of a batch: the loss of the paper this plugin implements."""

from __future__ import annotations

import math
import warnings
from typing import Any, Literal, Optional

import torch
from basicsr.utils.registry import LOSS_REGISTRY
from torch import Tensor, nn

from srkd_plugin.losses.arguments import require_choice, require_positive
from srkd_plugin.losses.images import check_history, check_images, gather_images, upscale_bicubic
from srkd_plugin.losses.pairwise import pairwise_cosine, pairwise_l1, unit

Similarity = Literal["l1", "cosine"]
Form = Literal["exp", "ratio", "infonce"]
Negatives = Literal["teacher", "student", "both", "lq_bicubic", "history"]
Reduction = Literal["sum", "mean"]
READS = {"lq_bicubic": ("lq",), "history": ("lq", "history")}
"""What negatives read of a step beside the student's and the teacher's images, in the order of ``forward``."""


def contrastive_loss(
    student: Tensor,
    teacher: Tensor,
    lq: Optional[Tensor] = None,
    history: Optional[Tensor] = None,
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
        history: ``(K, N, C, H, W)``, K images of each input by an earlier student; read only with
            ``negatives="history"``, and N may then be 1.
        similarity: ``l1`` or ``cosine``.
        form: ``exp`` (the default), ``ratio`` or ``infonce``; for cosine only.
        temperature: tau of ``exp`` and ``infonce``; > 0.
        negatives: What the negatives of image i are, always without image i itself: the teacher's outputs of the
            others, the student's, both, or the others' inputs upscaled bicubically. ``history`` is otherwise: the
            negatives of image i are an earlier student's images of the same input (Dynamic Contrastive Knowledge
            Distillation, AAAI 2025), and no other image's.
        negative_reduction: ``sum`` or ``mean`` over the negatives (in the denominator).
        reduction: ``sum`` or ``mean`` over the batch.
        center: Subtract each image's mean over C*H*W first (the cosine is then Pearson's correlation); cosine only.
        eps: l1: added to the denominator. cosine: see above. In units of the images; > 0.

    Returns:
        0-dim tensor.

    Raises:
        ValueError: Shapes that differ or are not 4-dim, N < 2, ``lq`` missing or of another N or C, ``history`` missing
            or of another shape, a setting that is not known or out of its range, or settings that exclude each other.

    Example:
        >>> student, teacher = torch.rand(4, 3, 16, 24), torch.rand(4, 3, 16, 24)
        >>> contrastive_loss(student, teacher).shape
        torch.Size([])
    """
    _check_settings(similarity, form, temperature, negatives, negative_reduction, reduction, center, eps)
    if negatives == "history":
        check_history(student, teacher, history)
    else:
        check_images(student, teacher, lq if negatives == "lq_bicubic" else teacher)
    with torch.autocast(student.device.type, enabled=False):
        given = {"lq_bicubic": lq, "history": history}.get(negatives)
        s, t, *banks = _flattened_images(student, teacher, given, negatives)
        if center:
            s, t, *banks = (x - x.mean(dim=1, keepdim=True) for x in (s, t, *banks))
        negative, own = _negatives(s, banks, similarity, eps, by_image=negatives == "history")
        if similarity == "l1":
            per_image = _l1_ratio(_l1(s, t), negative, own, negative_reduction, eps)
        else:
            positive = _cosine(s, t, eps)
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
        return ("student", "teacher", *READS.get(self.settings["negatives"], ()))

    def forward(
        self, student: Tensor, teacher: Tensor, lq: Optional[Tensor] = None, history: Optional[Tensor] = None
    ) -> Tensor:
        """See :func:`contrastive_loss`."""
        if self.gather_negatives:
            student, teacher, lq, history = gather_images(student, teacher, lq, history)
        return self.loss_weight * contrastive_loss(student, teacher, lq, history, **self.settings)

    def extra_repr(self) -> str:
        """The settings, for ``print``."""
        weight = {"loss_weight": self.loss_weight, "gather_negatives": self.gather_negatives}
        return ", ".join(f"{k}={v}" for k, v in {**self.settings, **weight}.items())


def _flattened_images(student: Tensor, teacher: Tensor, given: Optional[Tensor], negatives: str) -> list[Tensor]:
    """Student, teacher and the banks of negatives (of ``given``, if it is) as ``(N, C*H*W)`` rows, float32 at least."""
    dtype = torch.float64 if student.dtype == torch.float64 else torch.float32
    s = student.to(dtype).flatten(1)
    t = teacher.detach().to(dtype).flatten(1)
    if given is None:
        banks = {"teacher": [t], "student": [s], "both": [t, s]}[negatives]
    elif negatives == "history":
        banks = list(given.detach().to(dtype).flatten(2))
    else:
        banks = [upscale_bicubic(given.to(dtype), student.shape[-2:]).flatten(1)]
    return [s, t, *banks]


def _negatives(
    s: Tensor, banks: list[Tensor], similarity: str, eps: float, by_image: bool
) -> tuple[Tensor, Optional[Tensor]]:
    """Distances or cosines to the negatives, ``(N, ...)``, and which of them are the image itself and do not count.

    By image, row i of a bank is a negative of image i alone; otherwise of all images but image i.
    """
    if by_image:
        return torch.stack([_l1(s, bank) if similarity == "l1" else _cosine(s, bank, eps) for bank in banks], 1), None
    pairs = [pairwise_l1(s, bank) if similarity == "l1" else pairwise_cosine(s, bank, eps) for bank in banks]
    own = torch.eye(len(s), dtype=torch.bool, device=s.device).repeat(1, len(banks))  # [N, N] per bank
    return torch.cat(pairs, dim=1), own


def _l1(a: Tensor, b: Tensor) -> Tensor:
    return (a - b).abs().mean(dim=1)


def _cosine(a: Tensor, b: Tensor, eps: float) -> Tensor:
    return (unit(a, eps) * unit(b, eps)).sum(dim=1)


def _l1_ratio(positive: Tensor, negative: Tensor, own: Optional[Tensor], negative_reduction: str, eps: float) -> Tensor:
    return positive / (_total(negative, own, negative_reduction) + eps)


def _cosine_terms(
    positive: Tensor,
    negative: Tensor,
    own: Optional[Tensor],
    form: str,
    temperature: float,
    negative_reduction: str,
    eps: float,
) -> Tensor:
    if form == "ratio":
        total = _total(negative, own, negative_reduction)
        # beyond its domain (a cosine or a sum of them that is not positive) the logarithm goes on at log(eps)
        return total.clamp(min=eps).log() - positive.clamp(min=eps).log()
    positive = positive / temperature
    pushed = _without(own, negative / temperature, -math.inf).logsumexp(dim=1)
    if negative_reduction == "mean":
        pushed = pushed - math.log(_count(negative, own))
    if form == "infonce":
        pushed = torch.logaddexp(positive, pushed)
    return pushed - positive


def _total(negative: Tensor, own: Optional[Tensor], negative_reduction: str) -> Tensor:
    total = _without(own, negative, 0.0).sum(dim=1)
    return total / _count(negative, own) if negative_reduction == "mean" else total


def _without(own: Optional[Tensor], values: Tensor, instead: float) -> Tensor:
    return values if own is None else values.masked_fill(own, instead)


def _count(negative: Tensor, own: Optional[Tensor]) -> int:
    """How many negatives an image has."""
    images, columns = negative.shape
    return columns if own is None else columns - columns // images


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
