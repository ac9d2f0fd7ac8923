"""The student's weights with what their names and shapes do not say: .safetensors and .pth."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from srkd_plugin.errors import InputError
from srkd_plugin.export.convert import equal
from srkd_plugin.export.job import ExportJob, Written
from srkd_plugin.networks.student_file import SUFFIXES, StudentFile, read_student, write_student
from srkd_plugin.runtimes.torch_upscaler import TorchUpscaler


def write_weights(job: ExportJob) -> Iterator[Written]:
    """Write ``NAME.safetensors`` and ``NAME.pth``; each is read back, and its weights must be the same bit for bit.

    Raises:
        InputError: A file cannot be written, or reads as another student.
    """
    for suffix in reversed(SUFFIXES):  # safetensors first: by it the student of a folder is known
        path = job.path(suffix)
        write_student(path, job.student)
        read = read_student(path)
        if not is_same(read, job.student):
            raise InputError("--out", path.name, "what was written reads as another student", "Is the disk damaged?")
        verified = "read back: the same weights and arguments, bit for bit"
        # both have the same weights: the first one is run for them
        yield Written(f"torch {suffix[1:]}", (path,), verified, 0.0, (), _open if suffix == SUFFIXES[-1] else None)


def is_same(one: StudentFile, other: StudentFile) -> bool:
    """Whether two students have the same network and the same weights, bit for bit."""
    described = [(dict(student.network), student.scale) for student in (one, other)]
    return described[0] == described[1] and equal(dict(one.weights), dict(other.weights))


def _open(path: Path) -> TorchUpscaler:
    return TorchUpscaler.of(read_student(path))
