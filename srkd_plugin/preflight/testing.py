"""Checks of a test (BasicSR's ``test.py``) before it makes a folder."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Optional

import torch
from basicsr.utils import registry
from pydantic import BaseModel, ConfigDict, Field
from torch import nn

from srkd_plugin.errors import MISSING, OptionsError, nearest
from srkd_plugin.networks.build import build_described
from srkd_plugin.networks.padding import size_multiple
from srkd_plugin.networks.teacher import check_outputs
from srkd_plugin.options.int8_network import as_trained
from srkd_plugin.options.network_arguments import check_network_arguments
from srkd_plugin.options.registered_names import find_class
from srkd_plugin.options.stock_sections import DataSet, Metric, Val
from srkd_plugin.options.validate import check_section, refuse_nonfinite
from srkd_plugin.preflight.basicsr_sections import find_images
from srkd_plugin.preflight.image_pairs import FoundPairs
from srkd_plugin.preflight.networks import PROBE_SIZE, check_student_weights, root_logger_untouched
from srkd_plugin.preflight.output_names import check_output_names
from srkd_plugin.preflight.registered_classes import check_registered
from srkd_plugin.preflight.stock_runs import KNOWN_MODEL
from srkd_plugin.preflight.validation import check_kinds, check_validation

KNOWN_SETS = ("PairedImageDataset", "SingleImageDataset")
"""BasicSR's data sets of images, gray or RGB as ``color`` says; others may give anything."""

EXAMPLE = "options/test_student.yml"
"""A test's options file among those that come with the plugin."""


class _Test(BaseModel):
    """Top level of a file for a test."""

    model_config = ConfigDict(extra="allow", strict=True, frozen=True)
    name: str
    scale: int = Field(ge=1)
    datasets: dict[str, dict[str, Any]]
    network_g: dict[str, Any]
    path: dict[str, Any]
    val: dict[str, Any]


def check_test_values(opt: Mapping[str, Any]) -> None:
    """Check that a test has its sections, and that they hold what BasicSR reads.

    Args:
        opt: The options, as the file has them or as BasicSR's ``parse_options`` returns them.

    Raises:
        OptionsError: A key is missing, or a value of the wrong type or out of range.
    """
    refuse_nonfinite("", opt)
    test = check_section(_Test, "", opt)
    for phase, section in test.datasets.items():
        if phase == "train":
            problem = "this is the options file of a training, and a test has test, test_... and val"
            raise OptionsError("datasets.train", "...", problem, f"Remove datasets.train, or take a file as {EXAMPLE}.")
        if str(phase).split("_")[0] not in ("test", "val"):
            near = nearest(phase, ("test", "val"))
            raise OptionsError(f"datasets.{phase}", "...", "a test has test, test_... and val", near)
        check_section(DataSet, f"datasets.{phase}", section)
    check_network_arguments("network_g", test.network_g)
    val = check_section(Val, "val", {"val_freq": 1, **test.val})
    if val.save_img and "suffix" not in test.val:
        raise OptionsError("val.suffix", MISSING, "BasicSR needs it to save images", "Add suffix: ~ to val.")
    for name, metric in (val.metrics or {}).items():
        check_section(Metric, f"val.metrics.{name}", metric)


def check_test(opt: Mapping[str, Any], of_ours: bool) -> tuple[dict[str, Optional[FoundPairs]], list[str]]:
    """Check the options of a test; nothing is written.

    Args:
        opt: The options as BasicSR's ``parse_options`` returns them.
        of_ours: Whether the model is one of the plugin's; others may have data sets and networks of their own.

    Returns:
        The images of its sets by name of the section, and warnings.

    Raises:
        OptionsError: The first thing that is wrong.
    """
    check_test_values(opt)
    check_output_names(opt)
    datasets, found = opt["datasets"], {}
    lines = check_registered(registry.ARCH_REGISTRY, "network_g", opt["network_g"])
    if of_ours:
        check_kinds(datasets)
    for phase, section in datasets.items():
        key = f"datasets.{phase}"
        cls = find_class(registry.DATASET_REGISTRY, key, section)
        found[phase] = find_images(key, cls, section, opt["scale"], train=False)
    lines += check_validation(datasets, opt["val"].get("metrics") or {}, found)
    with root_logger_untouched():
        student = build_described("network_g", as_trained(opt) if of_ours else opt["network_g"])
        if of_ours or opt.get("model_type") == KNOWN_MODEL:
            check_student_weights(opt, student)
            for phase, section in datasets.items():
                _try_out(student.eval(), f"datasets.{phase}", section, opt["scale"])
    notes = [line for pairs in found.values() if pairs is not None for line in pairs.images.notes()]
    return found, lines + notes


def _try_out(student: nn.Module, key: str, section: Mapping[str, Any], scale: int) -> None:
    """Run the network on a small image, if it is known what the data set gives."""
    if section["type"] in KNOWN_SETS:
        channels = 1 if section.get("color") == "y" else 3
        side = PROBE_SIZE * (size_multiple(student, channels, scale) or 1)
        expected = torch.Size((1, channels, side * scale, side * scale))
        check_outputs({"network_g": student}, torch.zeros(1, channels, side, side), expected, f"{key}.color")
