"""INT8 files: ONNX with QuantizeLinear and DequantizeLinear, of a student that is calibrated or was trained so."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor

from srkd_plugin.errors import MISSING, InputError
from srkd_plugin.export.job import ExportJob, Int8Wish, Wishes, Written
from srkd_plugin.export.onnx_file import how_to_feed, properties
from srkd_plugin.networks.student_file import StudentFile
from srkd_plugin.options.registered_names import registered_name
from srkd_plugin.quantization.calibration_images import read_crops
from srkd_plugin.quantization.costs import AT_PSNR
from srkd_plugin.quantization.int8_student_arch import Int8Student
from srkd_plugin.quantization.network import Int8Network
from srkd_plugin.quantization.ptq import Calibrated, Int8Settings, calibrate
from srkd_plugin.quantization.qdq import to_onnx
from srkd_plugin.quantization.verify import Difference, difference
from srkd_plugin.runtimes.onnx_upscaler import OnnxUpscaler
from srkd_plugin.utils.files import write_atomically

AUTO = "auto"
"""Value of ``--int8-float-layers`` that keeps the costliest layers float."""
AUTO_BAR = 0.1
"""Cost in dB down to which ``auto`` keeps layers float."""
LARGEST_SHARE = 0.05
"""Part of an image's values that may be at another level than exact arithmetic gives; float32 has up to 0.02."""
MOST_LEVELS = 4.0
"""Levels by which one value may differ then."""
ENDS = "its input is rounded to 8 bits, and its output is an 8-bit image in 0..1"
FLOAT = ("onnx", "ncnn")
"""Formats that are written unless they are left out, and hold no INT8."""
COMPARED = 4
"""Calibration images by which a file is compared."""


def crops_of(job: ExportJob) -> Tensor:
    """The crops that a job's student is calibrated on, read once; see :func:`read_crops`.

    Raises:
        InputError: No images are named, or they will not do.
    """
    wish = job.wishes.int8
    if wish is None or wish.calibrate is None:
        raise InputError("--calibrate", MISSING, "INT8 needs LR images that the student was trained on", "Add it.")
    if "crops" not in job.made:
        job.made["crops"] = read_crops("--calibrate", wish.calibrate, job.student.channels, wish.crops, wish.tested)
    return job.made["crops"]


def prepare(job: ExportJob) -> None:
    """Read the crops of a student that must be calibrated; one that was trained in INT8 needs none.

    Raises:
        InputError: See :func:`crops_of`.
    """
    if not isinstance(job.net, Int8Student):
        crops_of(job)


def write_int8(job: ExportJob) -> Iterator[Written]:
    """Write ``NAME-int8.onnx``: of a student that was trained in INT8 as it is, and of another one calibrated.

    Raises:
        InputError: A package is not installed, the calibration images will not do, the network has what INT8 does not
            know, or onnxruntime does not compute what the network is.
    """
    if isinstance(job.net, Int8Student):
        yield from _write_trained(job, job.net)
        return
    crops, wish = crops_of(job), job.wishes.int8 or Int8Wish()
    auto = AUTO in wish.float_layers
    named = tuple(name for name in wish.float_layers if name != AUTO)
    found = calibrate(job.net, crops, Int8Settings(named, AUTO_BAR if auto else None, wish.weight_bits))
    content = to_onnx(found.net, properties(job, "INT8"))
    compared = compare(OnnxUpscaler(content), found.net, crops)
    path = job.path("-int8.onnx")
    write_atomically(path, content)
    notes = (*_notes(found, wish, crops), *how_to_feed(job, None))
    yield Written("ONNX INT8", (path,), _verified(compared), compared.most / 255, notes, _open)


def _write_trained(job: ExportJob, net: Int8Student) -> Iterator[Written]:
    content = to_onnx(net, properties(job, "INT8"))
    compared = compare(OnnxUpscaler(content), net, _smooth_images(job.student.channels))
    path = job.path("-int8.onnx")
    write_atomically(path, content)
    layers = ", ".join(net.float_layers) or "none"
    wish = job.wishes.int8
    ignored = ("--calibrate and float layers are ignored",) if wish and (wish.calibrate or wish.float_layers) else ()
    notes = (
        *ignored,
        ENDS,
        f"the numbers of its training (train.quantize); float layers: {layers}",
        *how_to_feed(job, None),
    )
    yield Written("ONNX INT8", (path,), _verified(compared), compared.most / 255, notes, _open)


def _smooth_images(channels: int) -> Tensor:
    coarse = torch.rand(COMPARED, channels, 8, 7, generator=torch.Generator().manual_seed(0))
    return torch.nn.functional.interpolate(coarse, scale_factor=6, mode="bilinear")


def int8_only(student: StudentFile, wishes: Wishes) -> Wishes:
    """Wishes without float formats where the student was trained in INT8: in float it is another network.

    Raises:
        InputError: They ask for one by a flag.
    """
    if student.network["type"] != registered_name(Int8Student.__name__):
        return wishes
    for flag, value in (("--fixed", wishes.fixed), ("--fp16", wishes.fp16)):
        if value:
            problem = "the student was trained in INT8, and in float it is another network"
            raise InputError(flag, value, problem, "Leave it out.")
    return replace(wishes, int8=wishes.int8 or Int8Wish(), without=(*wishes.without, *FLOAT))


def compare(upscaler: OnnxUpscaler, net: Int8Network, crops: Tensor) -> Difference:
    """Compare onnxruntime with exact arithmetic on calibration images, whole and cut to another size.

    Raises:
        InputError: They differ by more than rounding.
    """
    images = crops[:COMPARED]
    sizes = (images, images[..., : images.shape[-2] // 2 + 1, :])
    found = [difference(net, upscaler, one) for one in sizes]
    worst = Difference(max(one.most for one in found), max(one.share for one in found))
    if not (worst.most <= MOST_LEVELS and worst.share <= LARGEST_SHARE):
        problem = (
            f"onnxruntime on this CPU differs by up to {worst.most:.1f} levels, in {worst.share:.1%} of the values"
        )
        remedy = "CPUs without VNNI saturate sums of products: --int8-weight-bits 7."
        raise InputError("--int8", upscaler.name, problem, remedy)
    return worst


def _verified(found: Difference) -> str:
    levels = f"at most {found.most:.0f}/255, in {found.share:.2%} of the values" if found.most >= 0.5 else "the same"
    return f"onnx.checker; onnxruntime against exact integers: {levels}"


def _notes(found: Calibrated, wish: Int8Wish, crops: Tensor) -> Sequence[str]:
    float_layers = ", ".join(found.float_layers) or "none"
    costs = ", ".join(f"{name} {cost:.3f}" for name, cost in found.layer_costs.items())
    return (
        ENDS,
        f"calibrated on {len(crops)} crops of {wish.calibrate and wish.calibrate.name}; constants folded with an error "
        f"of {found.fold_error:.0e}; channels equalised with strength {found.strength:g}",
        f"costs about {found.cost:.2f} dB at {AT_PSNR:g} dB, on crops held back; float layers: {float_layers}",
        f"dB by layer, alone: {costs}",
    )


def _open(path: Path) -> OnnxUpscaler:
    return OnnxUpscaler(path)
