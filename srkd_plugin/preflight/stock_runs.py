"""Stock training runs, as ``srkd check`` looks at them: what would end them, as far as BasicSR's model is known."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from basicsr.data.paired_image_dataset import PairedImageDataset
from basicsr.utils import registry

from srkd_plugin.errors import MISSING, OptionsError, nearest
from srkd_plugin.networks.build import build_described
from srkd_plugin.networks.teacher import check_outputs
from srkd_plugin.options import reader
from srkd_plugin.options.registered_names import OF_ONES_OWN, find_class
from srkd_plugin.options.run_options import RunOptions
from srkd_plugin.preflight import basicsr_sections
from srkd_plugin.preflight.checked_run import CheckedRun
from srkd_plugin.preflight.checkpoint_size import checkpoint_size
from srkd_plugin.preflight.losses import check_losses
from srkd_plugin.preflight.networks import PROBE_SIZE, check_student_weights, trial
from srkd_plugin.preflight.registered_classes import check_registered

KNOWN_MODEL = "SRModel"
"""What it makes of its network, its losses and its weights is known; any other model may do something else."""


def check_model_type(name: Any) -> None:
    """Refuse a model that nothing has registered.

    Raises:
        OptionsError: No model has this name.
    """
    known = registry.MODEL_REGISTRY
    if not isinstance(name, str) or not (name in known or f"{name}_basicsr" in known):
        remedy = f"{nearest(name, known.keys())} {OF_ONES_OWN}"
        raise OptionsError("model_type", name, "no model is registered under this name", remedy)


def check_stock_run(opt: Mapping[str, Any]) -> CheckedRun:
    """Check a training run that is not the plugin's; build nothing that stays, write nothing.

    Args:
        opt: The options as BasicSR's ``parse_options`` returns them.

    Raises:
        OptionsError: The first thing that is wrong.
    """
    options = reader.read(opt)
    basicsr_sections.check_values(options)
    options.warn(check_registered(registry.ARCH_REGISTRY, "network_g", opt["network_g"]))
    data = basicsr_sections.check_datasets(options)
    if opt["model_type"] == KNOWN_MODEL:
        _check_losses_and_student(options)
    with trial():
        size = checkpoint_size(options, build_described("network_g", opt["network_g"]))
    return CheckedRun.of(options, data=data, size=size)


def _check_losses_and_student(options: RunOptions) -> None:
    """Build both with the weights that are named, and try them, if it is known what the data set gives."""
    opt = options.raw
    if not options.stock.train.pixel_opt and not options.stock.train.perceptual_opt:
        problem = f"{KNOWN_MODEL} needs it, or train.perceptual_opt"
        raise OptionsError("train.pixel_opt", MISSING, problem, "Add one of them.")
    for name in ("pixel_opt", "perceptual_opt"):
        if opt["train"].get(name):
            options.warn(check_registered(registry.LOSS_REGISTRY, f"train.{name}", opt["train"][name]))
    channels, side = options.lq_shape
    scale, train_set = options.stock.run.scale, opt["datasets"]["train"]
    pairs = issubclass(find_class(registry.DATASET_REGISTRY, "datasets.train", train_set), PairedImageDataset)
    with trial() as downloads:
        student = build_described("network_g", opt["network_g"])
        check_student_weights(opt, student)
        if not pairs:
            return
        try:
            _try_out(student, channels, min(side, PROBE_SIZE), scale)
        except OptionsError:
            if side <= PROBE_SIZE:
                raise
            _try_out(student, channels, side, scale)  # a network that needs more to look at
        check_losses(options.stock.train, {}, channels, options.stock.train_set.gt_size)
    options.warn(downloads)


def _try_out(student: torch.nn.Module, channels: int, side: int, scale: int) -> None:
    expected = torch.Size((2, channels, side * scale, side * scale))
    check_outputs({"network_g": student}, torch.rand(2, channels, side, side), expected)
