"""ONNX files: float32, NCHW, RGB in 0..1, every size or one; each compared with the network before it counts."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Callable, NamedTuple, Optional

import numpy as np
import torch

from srkd_plugin import __version__
from srkd_plugin.errors import InputError
from srkd_plugin.export.job import ExportJob, Size, Written
from srkd_plugin.export.onnx_graph import finished
from srkd_plugin.export.trace import OPSET, trace
from srkd_plugin.runtimes.onnx_upscaler import OnnxUpscaler
from srkd_plugin.runtimes.upscaler import Upscaler
from srkd_plugin.utils.files import write_atomically

FREE = ((0, 2, 3), (2, 3))
"""Dimensions of the input that are left free: batch, height and width; or else height and width of one image."""
SIZES = ((1, 17, 23), (1, 31, 19), (2, 24, 16), (1, 16, 40), (3, 37, 16), (1, 33, 33))
"""Batch, height and width of the images by which a graph is compared; rounded up to the network's multiple."""
KINDS = 4
"""Kinds of :func:`images`."""
TRACED = (19, 29)
"""Sides of the image that is traced, like these."""
BAR = 1e-5
"""Largest error of a float32 file; of the output's range, where that is wider than 0..1."""


class Graph(NamedTuple):
    """A float32 graph that gives what the network gives."""

    content: bytes
    max_error: float
    compared: int
    """Number of images it was compared by."""
    notes: tuple[str, ...]


def write_float32(job: ExportJob) -> Iterator[Written]:
    """Write ``NAME.onnx``, and ``NAME-HxW.onnx`` where a size is wished for.

    Raises:
        InputError: A package is not installed, or the network cannot be exported; names the layer or the operator.
    """
    for size, graph in graphs(job):
        path = job.path(f"{ending(size)}.onnx")
        write_atomically(path, graph.content)
        verified = f"onnx.checker, opset {OPSET}; {graph.compared} images in onnxruntime against torch"
        notes = (*graph.notes, *how_to_feed(job, size))
        yield Written(f"ONNX float32{shown(size)}", (path,), verified, graph.max_error, notes, opener(size))


def float32_graph(job: ExportJob, size: Optional[Size] = None) -> Graph:
    """The float32 graph of a job, made once.

    Args:
        job: The student.
        size: Height and width that it takes; None: every size.

    Raises:
        InputError: See :func:`write_float32`.
    """
    key = ("onnx", size)
    if key not in job.made:
        job.made[key] = _fixed_graph(job, size) if size is not None else _free_graph(job)
    return job.made[key]


def graphs(job: ExportJob) -> Iterator[tuple[Optional[Size], Graph]]:
    """The graphs of a job by their size; that of every size may fail where one size is wished for."""
    fixed = None if job.wishes.fixed is None else float32_graph(job, job.wishes.fixed)
    try:
        yield None, float32_graph(job)
    except InputError as error:
        if fixed is None:
            raise
        fixed = fixed._replace(notes=(*fixed.notes, f"there is none for every size: {error.problem}"))
    if fixed is not None:
        yield job.wishes.fixed, fixed


def _free_graph(job: ExportJob) -> Graph:
    h, w = (_rounded_up(side, job.multiple) for side in TRACED)
    for free in FREE:
        batch = 2 if 0 in free else 1
        traced = trace(job.net, (batch, job.student.channels, h, w + job.multiple * (h == w)), free)
        content = finished(traced.content, properties(job))
        error, peak, compared = _compare(content, job, [(n if 0 in free else 1, *side) for n, *side in SIZES])
        if error <= BAR * max(1.0, peak):
            notes = () if 0 in free else (f"it takes one image at a time (batch 1){traced.layer()}",)
            return Graph(content, error, compared, notes)
    problem = f"its ONNX graph is right at the traced size only (else wrong by {error:.2g}){traced.layer()}"
    remedy = "Export it for one size, --fixed HxW, or leave ONNX out, --without onnx."
    raise InputError("network_g", type(job.net).__name__, problem, remedy)


def _fixed_graph(job: ExportJob, size: Size) -> Graph:
    if size[0] % job.multiple or size[1] % job.multiple:
        problem = f"the network takes sides that are multiples of {job.multiple} only"
        raise InputError("--fixed", f"{size[0]}x{size[1]}", problem, "Give such a size.")
    traced = trace(job.net, (1, job.student.channels, *size), ())
    content = finished(traced.content, properties(job))
    error, peak, compared = _compare(content, job, [(1, *size)] * KINDS)
    if error <= BAR * max(1.0, peak):
        return Graph(content, error, compared, ())
    problem = f"its ONNX graph is wrong by {error:.2g} on some images{traced.layer()}"
    raise InputError("network_g", type(job.net).__name__, problem, "Leave ONNX out: --without onnx.")


def _compare(content: bytes, job: ExportJob, sizes: Sequence[tuple[int, ...]]) -> tuple[float, float, int]:
    """Largest error of a graph, infinite where it fails; largest value of the network; and the number of images."""
    upscaler, largest, peak = OnnxUpscaler(content), 0.0, 0.0
    lqs = images(job, sizes)
    for lq in lqs:
        with torch.no_grad():
            expected = job.net(torch.from_numpy(lq)).numpy()
        try:
            found = upscaler(lq)
        except Exception:  # onnxruntime has a class for each kind, without a common one
            return float("inf"), peak, len(lqs)
        same = found.shape == expected.shape
        largest = max(largest, float(np.abs(found - expected).max()) if same else float("inf"))
        peak = max(peak, float(np.abs(expected).max()))
    return largest, peak, len(lqs)


def images(job: ExportJob, sizes: Sequence[tuple[int, ...]]) -> list[np.ndarray]:
    """Noise of several kinds: of the whole range, dark, bright, flat; a branch that depends on values shows by them.

    Args:
        job: The student.
        sizes: Batch, height and width of each; sides are rounded up to the student's multiple.

    Returns:
        ``(N, C, h, w)`` float32 in 0..1 each.
    """
    rng, made = np.random.default_rng(0), []
    for index, (n, *sides) in enumerate(sizes):
        h, w = (_rounded_up(side, job.multiple) for side in sides)
        noise = rng.random((n, job.student.channels, h, w), np.float32)
        made.append((noise, 0.1 * noise, 1 - 0.1 * noise, np.full_like(noise, 0.5))[index % KINDS])
    return made


def properties(job: ExportJob, precision: str = "float32") -> dict[str, object]:
    """Facts that every ONNX file of a student has as its metadata."""
    found = {
        "scale": job.student.scale,
        "architecture": job.student.network["type"],
        "precision": precision,
        "size_multiple": job.multiple,
        "receptive_field": job.receptive_field,  # by which srkd upscale lets its tiles overlap
        "name": job.name,
        "made_by": f"srkd_plugin {__version__}",
    }
    return {name: value for name, value in found.items() if value is not None}


def how_to_feed(job: ExportJob, size: Optional[Size]) -> tuple[str, ...]:
    """Notes on what the input must be."""
    if job.multiple == 1 or size is not None:
        return ()
    return (f"its input's sides must be multiples of {job.multiple}: pad by reflection (srkd upscale does)",)


def opener(size: Optional[Size], precision: str = "float32") -> Optional[Callable[[Path], Upscaler]]:
    """Make what opens the file of a graph, see :attr:`Written.open`."""

    def opened(path: Path) -> OnnxUpscaler:
        return OnnxUpscaler(path, name=f"onnxruntime {precision}")

    return None if size is not None else opened


def _rounded_up(side: int, multiple: int) -> int:
    return -(-side // multiple) * multiple


def ending(size: Optional[Size]) -> str:
    """What a file's name has of its size."""
    return "" if size is None else f"-{size[0]}x{size[1]}"


def shown(size: Optional[Size]) -> str:
    """What a format's name has of its size."""
    return "" if size is None else f" {size[0]}x{size[1]}"
