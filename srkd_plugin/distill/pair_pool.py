"""RealESRNetModel's training pair pool as a part of the training state: what a batch is drawn from.

The pool of a long run holds what hundreds of iterations have degraded, so a run that is to go on exactly must save it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Optional

import torch
from torch import Tensor

QUEUES = ("queue_lr", "queue_gt")
"""Attributes of RealESRNetModel: ``(queue_size, C, h, w)`` LQ and ``(queue_size, C, H, W)`` GT images in 0..1."""


def packed(model: Any) -> dict[str, Any]:
    """The pool as plain values and tensors in host memory; without any pair before the first batch.

    Images of 8 bits are kept as such, where that gives back the same float32, bit for bit: LQ always, and GT where it
    is not sharpened.

    Args:
        model: A RealESRNetModel.
    """
    filled = getattr(model, "queue_ptr", 0)
    images = {name: _pack(getattr(model, name)[:filled]) for name in QUEUES if filled}
    return {"size": model.queue_size, "filled": filled, **images}


def unpack_into(model: Any, saved: Mapping[str, Any], batch: int, gt_size: int, scale: int) -> Optional[str]:
    """Give a model a pool that was saved.

    Args:
        model: A RealESRNetModel that has seen no batch.
        saved: What :func:`packed` returned.
        batch: Images of a batch.
        gt_size: Side of the GT crops of the options.
        scale: GT pixels per LQ pixel.

    Returns:
        Why it does not fit the options, so that the model fills a pool of its own; None where it was taken.
    """
    filled = saved["filled"]
    if saved["size"] != model.queue_size:
        return f"it has {saved['size']} pairs, and queue_size is {model.queue_size}"
    if filled % batch:
        return f"it has {filled} pairs, which is no multiple of the batch size, {batch}"
    for name, side in zip(QUEUES, (gt_size // scale, gt_size)) if filled else ():
        found = _unpack(saved[name], model.device)
        if found.shape[-1] != side:
            return f"its images have {found.shape[-1]} pixels per side, and not {side}"
        queue = torch.zeros(model.queue_size, *found.shape[1:], device=model.device)
        queue[:filled] = found
        setattr(model, name, queue)
    if filled:
        model.queue_ptr = filled
    return None


def _pack(images: Tensor) -> dict[str, Any]:
    """float32 in 0..1; as 8 bits, if dividing by 255 in host memory or on the images' device gives the same."""
    levels = (images * 255).round().clamp(0, 255).to(torch.uint8)
    for on_device in (False, True):
        kept = {"levels": levels.cpu(), "divided_on_device": on_device}
        if torch.equal(_unpack(kept, images.device), images):
            return kept
    return {"values": images.cpu()}


def _unpack(kept: Mapping[str, Any], device: torch.device) -> Tensor:
    if "values" in kept:
        return kept["values"].to(device)
    levels = kept["levels"]
    if kept["divided_on_device"]:  # CUDA multiplies by the reciprocal of a number, and may round otherwise
        return levels.to(device).float() / 255.0
    return (levels.float() / 255.0).to(device)


def degrade(opt: Mapping[str, Any], batch: Mapping[str, Any]) -> tuple[Tensor, Tensor]:
    """LQ and GT of a batch on the CPU, as a run's first batch would be.

    Args:
        opt: The options of a run.
        batch: ``gt``, ``(N, 3, H, W)``, and ``kernel1``, ``kernel2`` and ``sinc_kernel``, ``(N, k, k)``.

    Returns:
        ``(N, 3, gt_size / scale, gt_size / scale)`` and ``(N, 3, gt_size, gt_size)``, in 0..1.
    """
    from basicsr.models.realesrnet_model import RealESRNetModel
    from basicsr.utils import DiffJPEG, USMSharp

    model = RealESRNetModel.__new__(RealESRNetModel)  # without networks
    model.opt, model.device, model.is_train = opt, torch.device("cpu"), True
    model.jpeger, model.usm_sharpener = DiffJPEG(differentiable=False), USMSharp()
    model.queue_size = len(batch["gt"])
    model.feed_data(batch)
    return model.lq, model.gt
