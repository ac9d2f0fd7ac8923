"""Training a student in the numbers of INT8 (``train.quantize``): what stands in its place, and how that starts."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Optional

import torch
from basicsr.utils import get_root_logger
from torch import Tensor, nn

from srkd_plugin.networks.build import build_described
from srkd_plugin.networks.weights_file import WeightsFile
from srkd_plugin.options.int8_network import described
from srkd_plugin.options.sections import QuantizeSection
from srkd_plugin.options.validate import check_section
from srkd_plugin.quantization.calibration_images import read_crops
from srkd_plugin.quantization.costs import AT_PSNR
from srkd_plugin.quantization.int8_student_arch import Int8Student, is_int8
from srkd_plugin.quantization.phases import Phases
from srkd_plugin.quantization.ranges import BATCH


class Int8Training:
    """Puts an int8 network in the student's place where the options ask for it; otherwise it does nothing.

    Args:
        opt: The run's or test's options; ``network_g`` becomes that of the int8 network.
    """

    def __init__(self, opt: dict[str, Any]) -> None:
        given = (opt.get("train") or {}).get("quantize")
        self._written = opt["network_g"]
        self._crops: Optional[Tensor] = None
        self._phases: Optional[Phases] = None
        if given is not None:
            section = check_section(QuantizeSection, "train.quantize", given)
            self._phases = Phases(section)
            opt["network_g"] = described(self._written, section)

    def as_written(self, opt: Mapping[str, Any]) -> dict[str, Any]:
        """The options with the ``network_g`` that their file has."""
        return {**opt, "network_g": self._written}

    def load(self, weights: WeightsFile, net: nn.Module, opt: Mapping[str, Any]) -> None:
        """Load a file's weights; those of a network in float are calibrated first.

        Args:
            weights: The file.
            net: The bare student.
            opt: The options.

        Raises:
            OptionsError: The file is not readable or does not fit, or the calibration images will not do.
        """
        if self._phases is None or not isinstance(net, Int8Student) or is_int8(weights.read()):
            weights.load_into(net)
            return
        with torch.random.fork_rng(devices=[]):  # the run draws what it would draw in float
            plain = build_described("network_g", self._written)
        weights.load_into(plain)
        found = net.start_from(plain.eval(), self._calibration_crops(opt, self._phases.section.crops))
        text = (
            f"The student is INT8 (train.quantize); calibrated, it costs about {found.cost:.3f} dB at {AT_PSNR:g} dB."
        )
        get_root_logger().info(text)

    def begin(self, net: nn.Module, iteration: int) -> None:
        """Set the student up for an iteration; see :class:`~srkd_plugin.quantization.phases.Phases`."""
        if self._phases is not None and isinstance(net, Int8Student):
            self._phases.begin(net, iteration)

    def _calibration_crops(self, opt: Mapping[str, Any], count: int) -> Tensor:
        if self._crops is None:
            self._crops = crops_of(opt, count)
            batches, lq = len(self._crops.split(BATCH)), opt["datasets"]["train"]["dataroot_lq"]
            number = f"{batches} batch{'es' if batches > 1 else ''}"
            text = f"The INT8 student is calibrated now, on {len(self._crops)} crops ({number}) of {lq}."
            get_root_logger().info(text)
        return self._crops


def crops_of(opt: Mapping[str, Any], count: int) -> Tensor:
    """Calibration crops of a run's training set; the same in every process.

    Raises:
        InputError: Its LQ images will not do.
    """
    train_set = opt["datasets"]["train"]
    channels = 1 if train_set.get("color") == "y" else 3
    return read_crops("datasets.train.dataroot_lq", Path(train_set["dataroot_lq"]), channels, count)
