"""The steps that steps.py times: BasicSR's own, ours, and one as it is easily written."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from typing import Any, Callable

import torch
from timing import Step
from torch import Tensor, nn

from srkd_plugin.distill.targets.source import Targets, TargetSource, register

SCALE = 2
EDSR = {"type": "EDSR", "num_in_ch": 3, "num_out_ch": 3, "upscale": SCALE, "img_range": 255.0}
SIZES = {
    "cpu": {"teacher": (8, 32), "student": (4, 16), "batch": 16, "side": 24},
    "paper": {"teacher": (32, 256), "student": (16, 64), "batch": 2, "side": 48},
}
"""Blocks and channels of the networks; batch; side of the LR crops."""
OPTIONS: dict[str, dict[str, Any]] = {
    "live": {},
    "teacher: {channels_last: true}": {"teacher": {"channels_last": True}},
    "teacher: {precision: bf16}": {"teacher": {"precision": "bf16"}},
    "teacher: {compile: true}": {"teacher": {"compile": True}},
    "student: {compile: true}": {"student": {"compile": True}},
    "train.amp: {precision: bf16}": {"train": {"amp": {"precision": "bf16"}}},
    "train.amp: {precision: fp16}": {"train": {"amp": {"precision": "fp16"}}},
}
"""What may make a step with a live teacher faster, as the sections of an options file that ask for it."""


def network_options(blocks: int, channels: int) -> dict[str, Any]:
    """Section of an EDSR, as in an options file."""
    return {**EDSR, "num_block": blocks, "num_feat": channels, "res_scale": 0.1 if channels > 64 else 1}


def network(blocks: int, channels: int) -> nn.Module:
    """An EDSR with random weights."""
    from basicsr.archs import build_network

    return build_network(network_options(blocks, channels))


def _options(size: str, device: str, model_type: str, cached: bool = False) -> dict[str, Any]:
    """Options as BasicSR's ``parse_options`` returns them; nothing is read or written at their paths."""
    shape, nowhere = SIZES[size], {"pretrain_network_g": None, "strict_load_g": True, "resume_state": None}
    opt = {
        "name": "benchmark",
        "model_type": model_type,
        "scale": SCALE,
        "num_gpu": int(device == "cuda"),
        "dist": False,
        "rank": 0,
        "world_size": 1,
        "is_train": True,
        "manual_seed": 0,
        "datasets": {
            "train": {
                "name": "random",
                "type": "PairedImageDataset",
                "gt_size": SCALE * shape["side"],
                "batch_size_per_gpu": shape["batch"],
                "num_worker_per_gpu": 0,
            }
        },
        "network_g": network_options(*shape["student"]),
        "path": {**nowhere, "models": "", "training_states": "", "experiments_root": ""},
        "train": {
            "ema_decay": 0.999,
            "optim_g": {"type": "Adam", "lr": 1e-4, "weight_decay": 0, "betas": [0.9, 0.99]},
            "scheduler": {"type": "MultiStepLR", "milestones": [200000], "gamma": 0.5},
            "total_iter": 300000,
            "pixel_opt": {"type": "L1Loss", "loss_weight": 1.0, "reduction": "mean"},
        },
        "logger": {"print_freq": 100, "save_checkpoint_freq": 5000},
    }
    if model_type == "DistillModel":
        opt.update(network_t=network_options(*shape["teacher"]), teacher={"random_init": True})
        opt["train"]["distill_opt"] = {"contrastive": {"type": "ContrastiveLoss", "loss_weight": 10.0}}
    if cached:
        for key in ("teacher", "network_t"):
            opt.pop(key)
        opt[ImagesOfTheBatch.key] = {}
    return opt


@register
class ImagesOfTheBatch(TargetSource):
    """The teacher's images as a cache's data set puts them into the batch; here no cache lies on the disk."""

    key = "images_of_the_batch"
    batch_keys = ("teacher",)

    def describe(self) -> dict[str, Any]:
        """Its name alone."""
        return {"type": self.key}

    def build(self, device: torch.device) -> None:
        """Nothing."""

    def targets(self, batch: Mapping[str, Any], with_maps: bool) -> Targets:
        """Take the batch's images."""
        return Targets(batch["teacher"], {})


def _batch(size: str, with_teacher: bool = False) -> dict[str, Tensor]:
    n, side = SIZES[size]["batch"], SIZES[size]["side"]
    generator = torch.Generator().manual_seed(0)
    keys = {"lq": 1, "gt": SCALE, **({"teacher": SCALE} if with_teacher else {})}
    return {key: torch.rand(n, 3, f * side, f * side, generator=generator) for key, f in keys.items()}


def _model(size: str, device: str, model_type: str, cached: bool = False, option: str = "live") -> Any:
    from basicsr.models import build_model

    opt = _options(size, device, model_type, cached)
    for section, values in OPTIONS[option].items():
        opt[section] = {**opt.get(section, {}), **values}
    torch.manual_seed(0)
    return build_model(opt)


def _training(size: str, device: str, model_type: str, cached: bool = False, option: str = "live") -> Step:
    """A step of a model as BasicSR's trainer makes it."""
    model, batch = _model(size, device, model_type, cached, option), _batch(size, cached)
    done = 0

    def step() -> None:
        nonlocal done
        done += 1
        model.feed_data(batch)
        model.optimize_parameters(done)

    return step


def live_with(option: str, size: str, device: str) -> Step:
    """A step with a live teacher under one of :data:`OPTIONS`."""
    return _training(size, device, "DistillModel", option=option)


def first_loss(option: str, size: str, device: str) -> float:
    """The contrastive loss of the first step under one of :data:`OPTIONS`, from the same weights and images."""
    model = _model(size, device, "DistillModel", option=option)
    model.grad_norm_log = model.grad_norm_log.model_copy(update={"first": 0})  # measuring is never compiled
    model.feed_data(_batch(size))
    model.optimize_parameters(1)
    return model.log_dict["l_contrastive"]


def _floor_live(size: str, device: str) -> Step:
    stock = _training(size, device, "SRModel")
    teacher, lq = network(*SIZES[size]["teacher"]).eval().to(device), _batch(size)["lq"].to(device)

    def step() -> None:
        stock()
        with torch.no_grad():
            teacher(lq)

    return step


def _naive(size: str, device: str) -> Step:
    """A distillation step as it is easily written; nothing of ours is used."""
    student, teacher = (network(*SIZES[size][who]).to(device) for who in ("student", "teacher"))
    optimizer = torch.optim.Adam(student.parameters(), lr=1e-4, betas=(0.9, 0.99))
    batch = _batch(size)

    def step() -> None:
        lq, gt = batch["lq"].to(device), batch["gt"].to(device)
        optimizer.zero_grad()
        output, target = student(lq), teacher(lq)
        loss = (output - gt).abs().mean() + 10 * broadcast_loss(output, target)
        loss.backward()
        optimizer.step()
        loss.item()

    return step


def broadcast_loss(student: Tensor, teacher: Tensor) -> Tensor:
    """ContrastiveLoss of L1 distances, all differences of all pairs at once: ``(N, N, C, H, W)``."""
    distance = (student[:, None] - teacher[None]).abs().mean(dim=(2, 3, 4))
    positive = distance.diagonal()
    return (positive / (distance.sum(dim=1) - positive + 1e-6)).sum()


def loss_step(form: str, n: int, shape: tuple[int, ...], device: str) -> Step:
    """Forward and backward pass of the contrastive loss alone, ``ours`` or the ``broadcast`` one."""
    from srkd_plugin.losses.contrastive_loss import ContrastiveLoss

    loss: Callable[..., Tensor] = ContrastiveLoss() if form == "ours" else broadcast_loss
    student = torch.rand(n, *shape, device=device, requires_grad=True)
    teacher = torch.rand(n, *shape, device=device)

    def step() -> None:
        student.grad = None
        loss(student, teacher).backward()

    return step


def _own_loss(size: str, device: str) -> Step:
    side = SCALE * SIZES[size]["side"]
    return loss_step("ours", SIZES[size]["batch"], (3, side, side), device)


STEPS: dict[str, Callable[[str, str], Step]] = {
    "stock": lambda size, device: _training(size, device, "SRModel"),
    "cached": lambda size, device: _training(size, device, "DistillModel", cached=True),
    "live": functools.partial(live_with, "live"),
    "floor_live": _floor_live,
    "naive": _naive,
    "loss": _own_loss,
}
