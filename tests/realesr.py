"""Options of a tiny distillation on images that are degraded as Real-ESRGAN does."""

from __future__ import annotations

import copy
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Optional

import tiny
import torch

DEGRADATION = {
    "gt_usm": False,  # sharpening takes most of the time on a CPU
    "resize_prob": [0.2, 0.7, 0.1],
    "resize_range": [0.15, 1.5],
    "gaussian_noise_prob": 0.5,
    "noise_range": [1, 30],
    "poisson_scale_range": [0.05, 3],
    "gray_noise_prob": 0.4,
    "jpeg_range": [30, 95],
    "second_blur_prob": 0.8,
    "resize_prob2": [0.3, 0.4, 0.3],
    "resize_range2": [0.3, 1.2],
    "gaussian_noise_prob2": 0.5,
    "noise_range2": [1, 25],
    "poisson_scale_range2": [0.05, 2.5],
    "gray_noise_prob2": 0.4,
    "jpeg_range2": [30, 95],
}
KINDS = ["iso", "aniso", "generalized_iso", "generalized_aniso", "plateau_iso", "plateau_aniso"]
KERNELS = {
    "blur_kernel_size": 21,
    "kernel_list": KINDS,
    "kernel_prob": [0.45, 0.25, 0.12, 0.03, 0.12, 0.03],
    "sinc_prob": 0.1,
    "blur_sigma": [0.2, 3],
    "betag_range": [0.5, 4],
    "betap_range": [1, 2],
    "blur_kernel_size2": 21,
    "kernel_list2": KINDS,
    "kernel_prob2": [0.45, 0.25, 0.12, 0.03, 0.12, 0.03],
    "sinc_prob2": 0.1,
    "blur_sigma2": [0.2, 1.5],
    "betag_range2": [0.5, 4],
    "betap_range2": [1, 2],
    "final_sinc_prob": 0.8,
}


def train_set(data: Path, gt_size: int = 16) -> dict[str, Any]:
    """A RealESRGANDataset of an LMDB."""
    return {
        "name": "tiny",
        "type": "RealESRGANDataset",
        "dataroot_gt": str(data / "HR.lmdb"),
        "io_backend": {"type": "lmdb"},
        "gt_size": gt_size,
        "use_hflip": True,
        "use_rot": False,
        "num_worker_per_gpu": 0,
        "batch_size_per_gpu": 2,
        "dataset_enlarge_ratio": 10,
        **KERNELS,
    }


def options(data: Path, teacher: Optional[Path], name: str = "tiny_realesr", iters: int = 4) -> dict[str, Any]:
    """A distillation with a training pair pool of two batches, which is full after two iterations."""
    opt = tiny.distill_options(data, teacher, name, iters)
    opt.update(model_type="RealESRDistillModel", gt_size=16, queue_size=4, **DEGRADATION)
    opt["datasets"]["train"] = train_set(data)
    opt["train"]["distill_opt"] = {"output": {"type": "L1Loss", "loss_weight": 1.0}}
    return opt


TOGETHER: dict[str, dict[str, Any]] = {
    "samples": {"train": {"samples": {"zoom_in": 2, "zoom_out": True}}},
    "eco": {"train": {"eco": {"end_iter": 3}}},
    "accumulate": {"train": {"accumulate": 2}},
    "history": {
        "train": {
            "history": {"every": [1], "noised": 1},
            "distill_opt": {"past": {"type": "ContrastiveLoss", "negatives": "history"}},
        }
    },
    "reparameterize": {"student": {"reparameterize": True}},
}
"""What works together with RealESRDistillModel, and all of it at once: sections of the options."""
TAPS = {"student": ["body.0"], "teacher": ["body.1"]}
ALONE: dict[str, dict[str, Any]] = {
    "taps": {"train": {"distill_opt": {"fitnet": {"type": "FeatureLoss", "taps": TAPS, "connector": {}}}}}
}
"""What works, too, but not beside all of that."""


def with_sections(opt: dict[str, Any], names: Iterable[str]) -> dict[str, Any]:
    """The options with some of :data:`TOGETHER` and :data:`ALONE`."""
    opt = copy.deepcopy(opt)
    for name in names:
        for key, section in copy.deepcopy({**TOGETHER, **ALONE}[name]).items():
            opt[key] = {**opt.get(key, {}), **section}
    return opt


def batch(seed: int, side: int = 96) -> dict[str, torch.Tensor]:
    """Two images and their blur kernels, of which RealESRNetModel makes LQ; small, as blurring takes its time."""
    generator = torch.Generator().manual_seed(seed)
    kernels = {name: torch.rand(2, 21, 21, generator=generator) for name in ("kernel1", "kernel2", "sinc_kernel")}
    gt = (torch.rand(2, 3, side, side, generator=generator) * 255).round() / 255
    return {"gt": gt, **{name: kernel / kernel.sum(dim=(1, 2), keepdim=True) for name, kernel in kernels.items()}}
