"""ONNX files with float16 inside, for GPUs; their input and output are float32."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Sequence
from contextlib import suppress
from typing import Callable, NamedTuple, Optional

import numpy as np
import torch

from srkd_plugin.errors import InputError
from srkd_plugin.export.job import ExportJob, Size, Written
from srkd_plugin.export.onnx_file import KINDS, SIZES, ending, graphs, how_to_feed, images, opener, shown
from srkd_plugin.export.onnx_graph import half
from srkd_plugin.runtimes.onnx_upscaler import OnnxUpscaler
from srkd_plugin.utils.files import write_atomically

HALF_BAR = 2e-2
"""Largest error of a float16 file: five steps of 8 bits, by which a value that overflowed is told from rounding."""

Network = Callable[[np.ndarray], np.ndarray]


class Half(NamedTuple):
    """How far float16 is from the network in float32."""

    error: float
    peak: float
    """Largest value of the network."""
    psnr: float
    """Decibels, for a peak of 1."""
    how: str


def write_float16(job: ExportJob) -> Iterator[Written]:
    """Write the same with float16 inside: ``NAME-fp16.onnx``, and ``NAME-HxW-fp16.onnx`` where a size is wished for.

    Raises:
        InputError: A package is not installed, the network cannot be exported, or float16 cannot hold its values.
    """
    for size, graph in graphs(job):
        content = half(graph.content)
        found = _compare_half(content, job, size)
        if not found.error <= HALF_BAR * max(1.0, found.peak):  # NaN is not, either
            problem = f"float16 changes an output value by {found.error:.2g}: values in its layers do not fit float16"
            raise InputError("--fp16", job.name, problem, "Leave --fp16 out, or train with network_g.img_range: 1.")
        path = job.path(f"{ending(size)}-fp16.onnx")
        write_atomically(path, content)
        verified = f"onnx.checker; {found.how} against float32: PSNR {found.psnr:.1f} dB"
        notes = ("its input and output are float32", *graph.notes, *how_to_feed(job, size))
        yield Written(f"ONNX float16{shown(size)}", (path,), verified, found.error, notes, opener(size, "float16"))


def _compare_half(content: bytes, job: ExportJob, size: Optional[Size]) -> Half:
    """Compare a float16 file by onnxruntime, and the network in float16 by torch where it can on a CPU; take the worse.

    onnxruntime's CPU computes in float32 inside, so that it shows no overflow, and less rounding than a GPU.
    """
    small = [(1, *side) for _, *side in SIZES]
    figures = [_measure("onnxruntime", OnnxUpscaler(content), job, small if size is None else [(1, *size)] * KINDS)]
    with suppress(RuntimeError):  # an operator that torch has not for float16 on the CPU
        figures.append(_measure("torch", _in_half(job), job, small))
    names = " and ".join(one.how for one in figures)
    return max(figures, key=lambda one: np.nan_to_num(one.error, nan=np.inf))._replace(how=names)


@torch.no_grad()
def _measure(how: str, run: Network, job: ExportJob, sizes: Sequence[tuple[int, ...]]) -> Half:
    pairs = [(job.net(torch.from_numpy(lq)).double().numpy(), run(lq)) for lq in images(job, sizes)]
    with np.errstate(invalid="ignore"):  # infinities
        error = float(np.max([np.abs(a - b).max() for a, b in pairs]))  # NaN stays
        squared = float(np.mean([np.square(a - b).mean() for a, b in pairs]))
    peak = max(float(np.abs(a).max()) for a, _ in pairs)
    return Half(error, peak, float(-10 * np.log10(max(squared, 1e-20))), how)


def _in_half(job: ExportJob) -> Network:
    net = copy.deepcopy(job.net).half()
    return lambda lq: net(torch.from_numpy(lq).half()).float().numpy()
