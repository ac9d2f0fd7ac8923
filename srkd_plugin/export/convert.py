"""Converts a file of EDSR's weights from the official format to BasicSR's, or back."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Optional

import torch

from srkd_plugin.errors import InputError
from srkd_plugin.export.edsr_format import (
    Architecture,
    StateDict,
    describe,
    read_file,
    to_basicsr,
    to_bytes,
    to_official,
)
from srkd_plugin.utils.files import sha256_of_file, write_atomically


@dataclass(frozen=True)
class Conversion:
    """What a weights file is, and what became of it."""

    official: bool
    """The file is in the official format; otherwise in BasicSR's."""
    architecture: Architecture
    sha256: str
    named_sha256: Optional[str]
    """What the file's name says that its sha256 begins with, e.g. ``1bc95232``."""
    out: Optional[Path] = None
    out_sha256: Optional[str] = None
    written: bool = False
    """False if ``out`` was there and is the same."""
    exact_round_trip: bool = True
    """Converted back, the result is the file, tensor for tensor and bit for bit."""

    @property
    def as_named(self) -> bool:
        """Whether the sha256 is the one in the name, if there is one."""
        return self.named_sha256 is None or self.sha256.startswith(self.named_sha256)


def convert_file(
    path: Path, out: Optional[Path] = None, param_key: Optional[str] = None, force: bool = False, prefix: str = ""
) -> Conversion:
    """Convert a weights file to the other format; which it is in, is told from its keys.

    Args:
        path: Official ``.pt`` or BasicSR ``.pth``.
        out: Where to write; None: only look.
        param_key: See :func:`~srkd_plugin.export.edsr_format.read_file`.
        force: Replace a file that is there and has other weights.
        prefix: See :func:`~srkd_plugin.export.edsr_format.read_file`.

    Raises:
        InputError: The file is not EDSR's, or ``out`` is there and has other weights.
    """
    weights, official = read_file(path, param_key, prefix)
    architecture = describe(weights)
    named = re.search(r"-([0-9a-f]{8})$", path.stem)
    found = (official, architecture, sha256_of_file(path), named and named[1])
    if out is None:
        return Conversion(*found)
    converted = to_basicsr(weights) if official else to_official(weights)
    back = to_official(converted) if official else to_basicsr(converted)
    written = _write(out, converted, not official, force)
    return Conversion(*found, out, sha256_of_file(out), written, equal(back, weights))


def equal(weights: StateDict, other: StateDict) -> bool:
    """Whether two state dicts have the same names and the same tensors, bit for bit."""
    return weights.keys() == other.keys() and all(
        value.dtype == other[name].dtype and torch.equal(value, other[name]) for name, value in weights.items()
    )


def _write(out: Path, weights: StateDict, official: bool, force: bool) -> bool:
    if out.exists() and not force:
        try:
            same = equal(read_file(out)[0], weights)
        except InputError:
            same = False
        if same:
            return False
        problem = "it is there, and has other weights"
        raise InputError("--out", str(out), problem, "Choose another name, or --force to replace it.")
    write_atomically(out, to_bytes(weights, official))
    return True
