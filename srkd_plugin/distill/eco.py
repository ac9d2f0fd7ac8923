"""A ramp from the teacher's image of the world to the real one: targets and inputs (``train.eco``).

Empirical centroid-oriented optimisation (ECO, AAAI 2024) starts with pairs that a network can explain, the teacher's SR
image and its shrunk version, and turns them into those of the data set.
"""

from __future__ import annotations

from dataclasses import replace

import torch

from srkd_plugin.distill.samples import Part, zoom_out
from srkd_plugin.distill.targets.source import Targets
from srkd_plugin.errors import MISSING, OptionsError
from srkd_plugin.options.step_sections import EcoSection


def share_of_data(section: EcoSection, iteration: int) -> float:
    """Share of the data set in an iteration's pairs: 0 in the first, and 1 after ``end_iter``; 1 without a ramp."""
    return min((iteration - 1) / section.end_iter, 1.0) if section.end_iter else 1.0


def ramped(part: Part, targets: Targets, share: float, scale: int) -> Part:
    r"""The batch on its way from the teacher's pairs to those of the data set.

    .. math::
        y' = (1 - a)\, \text{clip}(T(x), 0, 1) + a\, y , \quad x' = (1 - a)\, \text{bicubic}(T(x), 1/s) + a\, x

    Args:
        part: Inputs ``lq``, x, ``(N, C, h, w)`` in 0..1, with ``gt``, y.
        targets: The teacher's images of ``lq``, T(x), which stay those of the step.
        share: a, 0..1.
        scale: SR factor, s; images are shrunk as data sets are, rounded to 8 bits.

    Returns:
        The part with x' as ``lq`` and y' as ``gt``.

    Raises:
        OptionsError: The batch has no ground truth.
    """
    if "gt" not in part.batch:
        raise OptionsError("train.eco.end_iter", MISSING, "the data set gives no GT to end at", "Remove train.eco.")
    images = targets.images.clamp(0, 1)
    lq = torch.lerp(zoom_out(images, scale), part.batch["lq"], share)
    gt = torch.lerp(images, part.batch["gt"], share)
    return replace(part, batch={**part.batch, "lq": lq, "gt": gt, "targets": targets})
