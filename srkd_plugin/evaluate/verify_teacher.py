"""Measures the teacher of an options file on a benchmark set and compares it with what is published of its weights.

Weights load without an error into a network with a wrong ``res_scale``, ``rgb_mean`` or ``img_range``: only a
measurement tells.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from statistics import fmean
from typing import Any, NamedTuple, Optional

import numpy as np
import torch
from basicsr.metrics import calculate_psnr

from srkd_plugin.datasets import published_figures
from srkd_plugin.errors import InputError
from srkd_plugin.evaluate.benchmark import PairSet, super_resolve
from srkd_plugin.images.find_pairs import check_template
from srkd_plugin.images.matlab_resize import upscale
from srkd_plugin.networks.spandrel_arch import SpandrelModel
from srkd_plugin.networks.teacher import Teacher, build_teacher, runs_on
from srkd_plugin.options import reader, safe_yaml, sections
from srkd_plugin.utils.terminal import progress_bar

VARIANTS = (
    {"res_scale": 0.1},
    {"res_scale": 1.0},
    {"img_range": 1.0},
    {"img_range": 255.0},
    {"rgb_mean": [0.0, 0.0, 0.0]},
    {"rgb_mean": [0.4488, 0.4371, 0.4040]},
)
"""Arguments of EDSR that weights do not show: what else they could have been trained with."""
CLEARLY = 0.5
"""dB by which a variant must be better to be named."""
PROBE = 64
"""Side of the image that the teacher is tried on: a multiple of the windows in use."""


@dataclass
class TeacherReport:
    """What a measurement found; PSNR in dB, means over the images, ``scale`` border pixels cropped."""

    images: int
    psnr_rgb: float
    psnr_y: float
    bicubic_rgb: float
    weights: Optional[str] = None
    """Name of the weights in :data:`srkd_plugin.datasets.published_figures.WEIGHTS`, if they are there."""
    known_set: Optional[str] = None
    published_rgb: Optional[float] = None
    published_y: Optional[float] = None
    faults: list[str] = field(default_factory=list)

    def describe(self) -> str:
        """What was found, for people: a line for each fact, then a line for each fault."""

        def line(title: str, measured: float, published: Optional[float]) -> str:
            known = f", published for {self.weights} on {self.known_set}: {published:.4f} dB" if published else ""
            return f"{title}: {measured:.4f} dB{known}"

        lines = [f"{self.images} images", line("PSNR (RGB, crop = scale)", self.psnr_rgb, self.published_rgb)]
        lines.append(line("PSNR (Y, crop = scale)", self.psnr_y, self.published_y))
        lines.append(line("bicubic (RGB)", self.bicubic_rgb, None))
        lines += [f"FAULT {fault}" for fault in self.faults]
        if self.published_rgb is None and self.published_y is None:
            reason = "no figure is published here for weights of this file name on this set"
            lines.append(f"{reason}: nothing was compared but with bicubic")
        elif not self.faults:
            lines.append("nothing wrong")
        return "\n".join(lines)


def read_options(path: Path) -> dict[str, Any]:
    """Read a BasicSR options file with the safe loader: it is looked at, not run.

    Raises:
        OptionsError: It is not there or not YAML of that kind.
    """
    opt = safe_yaml.read(path)
    if not isinstance(opt.get("scale"), int):
        raise InputError("-opt", str(path), "it has no scale", "Give a BasicSR options file.")
    return opt


class ValidationSet(NamedTuple):
    """Where the pairs of a validation set are."""

    hr: Path
    lr: Path
    filename_tmpl: str = "{}"
    """BasicSR's option: the name of an LR file made from that of its HR file."""


def validation_set(opt: Mapping[str, Any]) -> ValidationSet:
    """The options' first validation set of HR and LR.

    Raises:
        InputError: There is none.
    """
    for name, section in (opt.get("datasets") or {}).items():
        if str(name).startswith(("val", "test")) and {"dataroot_gt", "dataroot_lq"} <= section.keys():
            hr, lr = (Path(section[name]) for name in ("dataroot_gt", "dataroot_lq"))
            return ValidationSet(hr, lr, section.get("filename_tmpl", "{}"))
    raise InputError("-opt", "datasets", "there is no validation set with HR and LR", "Give --gt and --lq.")


def verify_teacher(
    opt: Mapping[str, Any],
    hr: Path,
    lr: Path,
    known_set: Optional[str] = None,
    device: Optional[torch.device] = None,
    filename_tmpl: str = "{}",
) -> TeacherReport:
    """Measure the teacher of a run's options.

    Args:
        opt: The options.
        hr: Folder or LMDB of HR images.
        lr: Folder or LMDB of LR images.
        known_set: Name of the set in ``published_figures``; by default as the path of ``hr`` says.
        device: Where the teacher runs; by default the CPU.
        filename_tmpl: BasicSR's option: the name of an LR file made from that of its HR file, e.g. ``{}x2``.

    Returns:
        The figures. Faults are: a figure that differs from the published one by more than
        ``published_figures.TOLERANCE``, and a teacher that is worse than bicubic interpolation; with the
        argument that is the likely reason.

    Raises:
        OptionsError: The options or the weights are wrong.
        InputError: The images cannot be read or are not pairs.
    """
    device = torch.device("cpu") if device is None else device
    ours, scale = reader.read_plugin_sections(opt), opt["scale"]
    reader.require_network_t(opt)
    check_template("filename_tmpl", filename_tmpl)
    pairs = PairSet(hr, lr, scale, filename_tmpl)
    teacher = build_teacher(ours, device)
    if isinstance(teacher.net, SpandrelModel):
        teacher.net.check_scale(scale)
    _refuse_gray(teacher)
    report = _measure(teacher, pairs, scale, device)
    weights = Path(ours.path.pretrain_network_t or "").stem
    report.known_set = known_set or published_figures.guess_set(hr.absolute())
    published = published_figures.WEIGHTS.get(weights)
    if published is not None:
        report.weights = weights
        report.published_rgb = published.psnr_rgb.get(report.known_set or "")
        report.published_y = published.psnr_y.get(report.known_set or "")
    _judge(report)
    if report.faults and ours.network_t["type"] == "EDSR":
        report.faults += _find_better_variants(ours, teacher, pairs, scale, device)
    return report


def _refuse_gray(teacher: Teacher) -> None:
    probe = torch.zeros(1, 3, PROBE, PROBE, device=next(teacher.net.parameters(), torch.empty(0)).device)
    if runs_on(teacher.net, 1, probe) and not runs_on(teacher.net, 3, probe):
        problem = "it takes images of 1 channel, and here RGB is measured"
        remedy = "Measure it by validation, with color: y (srkd test)."
        raise InputError("network_t", type(teacher.net).__name__, problem, remedy)


def _measure(teacher: Teacher, pairs: PairSet, scale: int, device: torch.device) -> TeacherReport:
    figures = []
    for lr, hr in progress_bar(pairs, total=len(pairs), desc="teacher"):
        sr = _super_resolve(teacher, lr, scale, device)
        figures.append(
            (
                calculate_psnr(sr, hr, crop_border=scale),
                calculate_psnr(sr, hr, crop_border=scale, test_y_channel=True),
                calculate_psnr(upscale(lr, scale), hr, crop_border=scale),
            )
        )
    rgb, y, bicubic = (fmean(column) for column in zip(*figures))
    return TeacherReport(len(figures), rgb, y, bicubic)


def _super_resolve(teacher: Teacher, lr: np.ndarray, scale: int, device: torch.device) -> np.ndarray:
    return super_resolve(lambda image: teacher.upscale(image.to(device), scale), lr)


def _judge(report: TeacherReport) -> None:
    """Compare with the published RGB figure, or else with that of Y."""
    channel, measured, published = "RGB", report.psnr_rgb, report.published_rgb
    if published is None:
        channel, measured, published = "Y", report.psnr_y, report.published_y
    if published is not None and abs(measured - published) > published_figures.TOLERANCE:
        report.faults.append(f"the teacher has {measured:.4f} dB ({channel}) where {published:.4f} is published")
    if report.psnr_rgb < report.bicubic_rgb:
        report.faults.append("the teacher is worse than bicubic interpolation")


def _find_better_variants(
    ours: sections.PluginOptions, teacher: Teacher, pairs: PairSet, scale: int, device: torch.device
) -> list[str]:
    """Names of other arguments of EDSR that make the teacher clearly better, on the smallest image."""
    lr, hr = pairs.smallest()
    own = calculate_psnr(_super_resolve(teacher, lr, scale, device), hr, crop_border=scale)
    found = []
    for variant in VARIANTS:
        network = {**ours.network_t, **variant}
        other = build_teacher(ours.model_copy(update={"network_t": network}), device)
        gain = calculate_psnr(_super_resolve(other, lr, scale, device), hr, crop_border=scale) - own
        if gain > CLEARLY:
            ((name, value),) = variant.items()
            found.append(f"network_t.{name}: with {value} the smallest image has {gain:.2f} dB more")
    return found
