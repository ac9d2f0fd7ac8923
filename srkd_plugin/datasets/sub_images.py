"""Cuts a photograph and its LR images into overlapping sub-images, by the rule of BasicSR's recipe for DIV2K."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple, Union

import numpy as np

from srkd_plugin.errors import InputError
from srkd_plugin.images.decode import crop_to_multiple, encode_png, read_bgr
from srkd_plugin.images.matlab_resize import downscale
from srkd_plugin.utils.files import sha256_of_file

Kind = Union[str, int]
"""``HR``, or the scale of an LR image."""
HR = "HR"


@dataclass(frozen=True)
class CutJob:
    """One photograph to be cut, sent to a worker."""

    stem: str
    hr: Path
    lr: dict[int, Path]
    """The official LR image by scale; where a scale is not there, LR is computed."""
    scales: tuple[int, ...]
    size: int
    step: int
    compression: int


class SubImages(NamedTuple):
    """What a photograph was cut into."""

    sha256: str
    """That of its files (:func:`sha256_of_sources`)."""
    pieces: dict[Kind, list[tuple[str, bytes]]]
    """Keys (``<stem>_s001`` ...) and PNG files, for HR and for each scale."""

    @property
    def bytes(self) -> int:
        """Bytes of the PNG files together."""
        return sum(len(png) for entries in self.pieces.values() for _, png in entries)


def sha256_of_sources(job: CutJob) -> str:
    """The sha256 of the photograph's file and of its official LR images', in hexadecimal, with spaces between."""
    return " ".join(sha256_of_file(path) for path in (job.hr, *(job.lr[scale] for scale in sorted(job.lr))))


def photograph_of(key: str) -> str:
    """The stem of the photograph that a sub-image was cut from.

    Example:
        >>> photograph_of("street_s1_s012")
        'street_s1'
    """
    return key.rpartition("_s")[0]


def cut(job: CutJob) -> SubImages:
    """Cut a photograph.

    HR is cropped to a multiple of all scales, so that all LR images show the same. LR is reduced from the whole
    photograph (:func:`~srkd_plugin.images.matlab_resize.downscale`) and then cut, as BasicSR does.

    Raises:
        InputError: An image cannot be read or is too small, or an official LR image is not of the right size.
    """
    photo = read_bgr(job.hr)
    hr = crop_to_multiple(photo, math.lcm(*job.scales))
    if hr.size == 0:
        problem = f"its size, {photo.shape[:2]}, is less than the scale"
        raise InputError("HR image", str(job.hr), problem, "Remove it from the folder.")
    h, w = hr.shape[:2]
    corners = [(y, x) for y in starts(h, job.size, job.step) for x in starts(w, job.size, job.step)]
    keys = [f"{job.stem}_s{number:03d}" for number in range(1, len(corners) + 1)]
    pieces: dict[Kind, list[tuple[str, bytes]]] = {}
    factors: list[tuple[Kind, int]] = [(HR, 1), *((scale, scale) for scale in job.scales)]
    for kind, scale in factors:
        image = hr if kind == HR else _lr(job, photo, scale)
        size = job.size // scale
        parts = [image[: h // scale, : w // scale][y // scale :, x // scale :][:size, :size] for y, x in corners]
        pieces[kind] = [(key, encode_png(part, job.compression)) for key, part in zip(keys, parts)]
    return SubImages(sha256_of_sources(job), pieces)


def starts(length: int, size: int, step: int) -> list[int]:
    """Where sub-images start along one side: every ``step``, and one that ends at the border.

    A side not longer than ``size`` gives one sub-image, of the side's length.
    """
    if length <= size:
        return [0]
    regular = list(range(0, length - size + 1, step))
    return regular if regular[-1] == length - size else [*regular, length - size]


def _lr(job: CutJob, photo: np.ndarray, scale: int) -> np.ndarray:
    if scale not in job.lr:
        return downscale(np.ascontiguousarray(crop_to_multiple(photo, scale)), scale)
    lr = read_bgr(job.lr[scale])
    expected = tuple(side // scale for side in photo.shape[:2])
    if lr.shape[:2] != expected:
        problem = f"its size is {lr.shape[:2]}, where x{scale} of {job.hr.name} is {expected}"
        raise InputError(
            "LR image", str(job.lr[scale]), problem, "Give the LR folder that belongs to --gt and --scale."
        )
    return lr
