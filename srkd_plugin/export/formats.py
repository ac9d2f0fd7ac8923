"""The formats that a student is exported to; a new one is a module with its exporter, and a line here."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Callable

from srkd_plugin.errors import InputError
from srkd_plugin.export import int8, ncnn_file, onnx_file, onnx_half, weights
from srkd_plugin.export.job import ExportJob, Wishes, Written
from srkd_plugin.utils.extras import require


@dataclass(frozen=True)
class Format:
    """A format: who writes it, when, and with which packages."""

    write: Callable[[ExportJob], Iterable[Written]]
    """Writes its files to the job's folder, each verified before it is yielded.

    Raises:
        InputError: The student cannot be exported to it.
    """
    is_wanted: Callable[[Wishes], bool]
    packages: tuple[str, ...] = ()
    """Optional packages that it needs, of the extra ``export``."""
    where_possible: bool = False
    """Whether it is left out, and said so, where a package is missing or the student cannot be had in it."""
    prepare: Callable[[ExportJob], object] = lambda job: None
    """Reads what else it is made of, before any format is written, so that a wrong input is said at once.

    Raises:
        InputError: That is missing, or will not do.
    """


def _always(wishes: Wishes) -> bool:
    return True


FORMATS: Mapping[str, Format] = {
    "weights": Format(weights.write_weights, _always),
    "onnx": Format(onnx_file.write_float32, _always, ("onnx", "onnxruntime")),
    "fp16": Format(onnx_half.write_float16, lambda wishes: wishes.fp16, ("onnx", "onnxruntime")),
    "int8": Format(
        int8.write_int8, lambda wishes: wishes.int8 is not None, ("onnx", "onnxruntime"), prepare=int8.prepare
    ),
    "ncnn": Format(ncnn_file.write_ncnn, _always, ("pnnx", "ncnn"), where_possible=True),
}
"""Formats by the names that ``--without`` takes. One may use what those before it have left in ``ExportJob.made``."""

OPTIONAL = tuple(name for name in FORMATS if name != "weights")
"""Formats that may be left out."""


def choose(wishes: Wishes) -> tuple[dict[str, Format], list[str]]:
    """The formats that are wished for and can be written.

    Args:
        wishes: What the command asks for.

    Returns:
        The formats, and a line for each one that is left out.

    Raises:
        InputError: A package is not installed.
    """
    chosen, left_out = {}, []
    for name, one in FORMATS.items():
        if not one.is_wanted(wishes) or name in wishes.without:
            continue
        try:
            _require_packages(name, one)
        except InputError as error:
            if not one.where_possible:
                raise
            left_out.append(_left_out(name, error))
            continue
        chosen[name] = one
    return chosen, left_out


def _require_packages(name: str, one: Format) -> None:
    for package in one.packages:
        try:
            require(package, "export", f"writing {name}")
        except InputError as error:
            remedy = f"{error.remedy} Or leave it out: --without {name}."
            raise InputError(error.key, error.value, error.problem, remedy) from error


def write_all(job: ExportJob, chosen: Mapping[str, Format], say: Callable[[str], None]) -> Iterator[Written]:
    """Write formats to a job's folder, in their order.

    Args:
        job: The student.
        chosen: What :func:`choose` has chosen.
        say: Takes a line for each one that is left out.

    Raises:
        InputError: The student cannot be exported to one of them that is not left out then, or a file not be written.
    """
    for one in chosen.values():
        one.prepare(job)
    for name, one in chosen.items():
        try:
            yield from one.write(job)
        except InputError as error:
            if not one.where_possible or error.key == "output":  # such as a full disk
                raise
            say(_left_out(name, error))


def _left_out(name: str, error: InputError) -> str:
    return f"left out: {name}. {error}"
