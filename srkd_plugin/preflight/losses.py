"""Losses of a training run that BasicSR computes or brings: built and called as the run would, before it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from basicsr.utils.registry import LOSS_REGISTRY

from srkd_plugin.distill.loss_calls import LossCall, build_described_loss
from srkd_plugin.errors import OptionsError
from srkd_plugin.options.registered_names import find_class
from srkd_plugin.options.stock_sections import Train
from srkd_plugin.options.term_sections import TermSection
from srkd_plugin.preflight.perceptual_loss import check_perceptual_loss
from srkd_plugin.utils.building import first_line


def check_losses(train: Train, terms: Mapping[str, TermSection], channels: int, side: int) -> None:
    """Build and try ``pixel_opt`` and ``perceptual_opt``; refuse terms that are only good for the latter.

    VGG weights of BasicSR's perceptual loss are looked for, but not downloaded.

    Args:
        train: BasicSR's keys in ``train``; the losses are registered, and take the arguments that they are given.
        terms: The options' terms, by name.
        channels: Channels of the images.
        side: Side of the smallest images that are compared with a GT.

    Raises:
        OptionsError: A loss cannot be built, or does not give what SRModel makes of it.
    """
    for name, section in terms.items():
        key = f"train.distill_opt.{name}"
        if _is_perceptual(key, {"type": section.type}):
            problem = "it gives two losses, perceptual and style, and a term is one number"
            raise OptionsError(key, section.type, problem, "Use it as train.perceptual_opt, or VGGContrastiveLoss.")
    images = {"student": torch.rand(2, channels, side, side), "gt": torch.rand(2, channels, side, side)}
    if train.pixel_opt:
        loss = build_described_loss("train.pixel_opt", train.pixel_opt)
        LossCall("train.pixel_opt", loss, ("student", "gt")).try_out(images)
    if train.perceptual_opt:
        _check_perceptual_opt("train.perceptual_opt", train.perceptual_opt, images)


def _is_perceptual(key: str, section: Mapping[str, Any]) -> bool:
    """Whether it is BasicSR's PerceptualLoss, or derived from it; which module has it depends on BasicSR's version."""
    bases = getattr(find_class(LOSS_REGISTRY, key, section), "__mro__", ())
    return any(cls.__name__ == "PerceptualLoss" and cls.__module__.startswith("basicsr.losses.") for cls in bases)


def _check_perceptual_opt(key: str, section: Mapping[str, Any], images: Mapping[str, torch.Tensor]) -> None:
    if _is_perceptual(key, section):
        check_perceptual_loss(key, section, images["gt"].shape[-1])
        return
    loss = build_described_loss(key, section)
    try:
        found = loss(images["student"], images["gt"])
    except Exception as error:  # whatever somebody's loss raises
        problem = f"it fails on a small batch ({first_line(error)})"
        raise OptionsError(key, section["type"], problem, "Correct its arguments.") from error
    if not isinstance(found, (tuple, list)) or len(found) != 2:
        problem = "it gives one value, and SRModel expects two: the perceptual and the style loss"
        raise OptionsError(key, section["type"], problem, "Write PerceptualLoss, or move it to train.pixel_opt.")
