"""What is exported, and what an exporter gives back."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, Callable, Optional

from torch import nn

from srkd_plugin.networks.receptive_field import receptive_field
from srkd_plugin.networks.student_file import StudentFile
from srkd_plugin.runtimes.upscaler import Upscaler

Size = tuple[int, int]
"""Height and width."""


@dataclass(frozen=True)
class Int8Wish:
    """How an INT8 file is made."""

    calibrate: Optional[Path] = None
    """Folder or LMDB of LR images that the student was trained on; None for a student that was trained in INT8."""
    crops: int = 64
    """How many crops it is calibrated on."""
    float_layers: Sequence[str] = ()
    """Layers that stay float32, by name, or ``auto``."""
    weight_bits: int = 8
    """Bits of weights, 8 or 7; see :func:`srkd_plugin.quantization.fake_quant.weight_scales`."""
    tested: Sequence[Path] = ()
    """Folders of images that the student is tested on, which may not be among those that calibrate it."""


@dataclass(frozen=True)
class Wishes:
    """What a command asks for beyond the formats that are always written."""

    fixed: Optional[Size] = None
    """Size of an additional ONNX file that takes this one only."""
    fp16: bool = False
    int8: Optional[Int8Wish] = None
    without: Sequence[str] = ()
    """Names of formats that are left out; see :data:`srkd_plugin.export.formats.FORMATS`."""


@dataclass(frozen=True)
class Written:
    """A file that an exporter has written to the staging folder, and how it was verified there."""

    format: str
    """Its name in tables, e.g. ``ONNX float32``."""
    files: tuple[Path, ...]
    """Files in the staging folder; several where they belong together."""
    verified: str
    """What was done, for people, e.g. ``onnx.checker, 6 sizes in onnxruntime``."""
    max_error: float
    """Largest absolute difference of an output value (0..1) from torch's."""
    notes: tuple[str, ...] = ()
    """What a user of the file must know."""
    open: Optional[Callable[[Path], Upscaler]] = None
    """Opens the first of the files, also after it was moved; None where nothing here runs it on images of any size."""


@dataclass(frozen=True)
class ExportJob:
    """One student on its way to all formats."""

    student: StudentFile
    name: str
    """What the names of its files begin with, e.g. ``edsr-x2``."""
    folder: Path
    """The staging folder."""
    multiple: int = 1
    """What its input's sides must be multiples of; see :func:`srkd_plugin.networks.padding.size_multiple`."""
    wishes: Wishes = field(default_factory=Wishes)
    made: dict[Any, Any] = field(default_factory=dict)
    """What exporters share, e.g. the float32 graph, by a key of theirs."""

    @cached_property
    def net(self) -> nn.Module:
        """The network with its weights, in eval mode on the CPU; exporters leave it as it is."""
        return self.student.build()

    @cached_property
    def receptive_field(self) -> Optional[int]:
        """LQ pixels to each side that tiles must overlap by; None if the network sees the whole image."""
        return receptive_field(self.net, self.student.channels, self.student.scale)

    def path(self, ending: str) -> Path:
        """Where a file goes, e.g. with ``.onnx`` or ``-fp16.onnx``."""
        return self.folder / f"{self.name}{ending}"
