"""A student or teacher in every runtime that is installed, ready to be timed."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Callable, Optional

import numpy as np
import torch

from srkd_plugin.errors import InputError, OptionsError
from srkd_plugin.export.job import ExportJob
from srkd_plugin.export.ncnn_file import write_ncnn
from srkd_plugin.export.onnx_file import float32_graph
from srkd_plugin.networks.student_file import StudentFile
from srkd_plugin.runtimes.ncnn_upscaler import NcnnUpscaler
from srkd_plugin.runtimes.onnx_upscaler import OnnxUpscaler
from srkd_plugin.runtimes.opening import open_model
from srkd_plugin.runtimes.torch_upscaler import TorchUpscaler
from srkd_plugin.runtimes.upscaler import Upscaler
from srkd_plugin.utils.timing import Step

Opener = Callable[[Optional[int]], Upscaler]
"""Opens a model with this many threads."""


@dataclass(frozen=True)
class TimedModel:
    """One network in one runtime with one number of threads."""

    role: str
    """``student`` or ``teacher``."""
    runtime: str
    threads: int
    upscaler: Upscaler

    def step(self, lq: np.ndarray) -> Step:
        """Upscaling of ``lq``, from host memory to host memory."""

        def run() -> object:
            torch.set_num_threads(self.threads)  # torch has one number for the process
            return self.upscaler(lq)

        return run


def usable_threads() -> int:
    """CPUs that this process may run on."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def open_everywhere(
    role: str, student: StudentFile, multiple: int, threads: Sequence[int]
) -> tuple[list[TimedModel], list[str]]:
    """Open a network in torch, and in each other runtime that is installed and can run it.

    Args:
        role: ``student`` or ``teacher``.
        student: The network.
        multiple: Of which its input's sides must be.
        threads: Numbers of threads to time it with.

    Returns:
        The models, and a line for each runtime that is left out.
    """
    models, notes = [], []
    with tempfile.TemporaryDirectory(prefix="srkd-profile-") as folder:
        job = ExportJob(student, role, Path(folder), multiple)
        for runtime, prepare in RUNTIMES.items():
            try:
                opener = prepare(job)
                models += [TimedModel(role, runtime, count, opener(count)) for count in threads]
            except (InputError, OptionsError) as error:
                notes.append(f"{role} not timed in {runtime}: {error}")
    return models, notes


def open_files(files: Sequence[Path], student: StudentFile, threads: Sequence[int]) -> list[TimedModel]:
    """Open exported files of the student, e.g. its INT8 ONNX.

    Raises:
        InputError: A file is no model, or has another scale or other channels than the student.
    """
    models = []
    for file in files:
        for count in threads:
            upscaler = open_model(file, count)
            if (upscaler.scale, upscaler.channels) != (student.scale, student.channels):
                problem = f"it is of x{upscaler.scale} and {upscaler.channels} channels, and the student of "
                problem += f"x{student.scale} and {student.channels}"
                raise InputError("--model", str(file), problem, "Give a file of this student.")
            models.append(TimedModel("student", f"{file.name} ({upscaler.name.split()[0]})", count, upscaler))
    return models


def _torch(job: ExportJob) -> Opener:
    upscaler = TorchUpscaler.of(job.student)
    return lambda _: upscaler


def _onnx(job: ExportJob) -> Opener:
    content = float32_graph(job).content
    return lambda threads: OnnxUpscaler(content, threads)


def _ncnn(job: ExportJob) -> Opener:
    (written,) = write_ncnn(job)
    return lambda threads: NcnnUpscaler(written.files[0], threads)


RUNTIMES: Mapping[str, Callable[[ExportJob], Opener]] = {
    "torch float32": _torch,
    "onnxruntime float32": _onnx,
    "ncnn": _ncnn,
}
"""What prepares a network for each runtime; torch is the first, to which the others are compared."""
