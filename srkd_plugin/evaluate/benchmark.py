"""Benchmark sets: their pairs of LR and HR, and what a model's SR images of them measure, as BasicSR measures it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import fmean
from typing import Callable, NamedTuple

import numpy as np
import torch
from basicsr.metrics import calculate_psnr, calculate_ssim
from basicsr.utils import img2tensor, tensor2img
from torch import Tensor

from srkd_plugin.errors import InputError
from srkd_plugin.images.decode import ImageFault, decode_bgr
from srkd_plugin.images.find_pairs import find_pairs
from srkd_plugin.images.listing import say
from srkd_plugin.images.pairs import GT, LQ, ImagePairs
from srkd_plugin.runtimes.upscaler import Upscaler
from srkd_plugin.utils.files import require_folder
from srkd_plugin.utils.terminal import progress_bar

OPTIONS: Mapping[str, str] = {GT: "--gt", LQ: "--lq"}


class Images(NamedTuple):
    """One pair, BGR uint8."""

    lr: np.ndarray
    hr: np.ndarray
    """Cropped to the size of SR."""


class PairSet:
    """LR and HR of a set in the order of their names, which are checked to pair before anything is read.

    Args:
        hr: Folder or LMDB of HR images.
        lr: Folder or LMDB of LR images.
        scale: SR factor.
        filename_tmpl: BasicSR's option: the name of an LR file made from that of its HR file.
        options: How the user named them, for errors.

    Raises:
        InputError: They are not there, or do not pair.
    """

    def __init__(
        self, hr: Path, lr: Path, scale: int, filename_tmpl: str = "{}", options: Mapping[str, str] = OPTIONS
    ) -> None:
        self._images: ImagePairs = find_pairs(options, {GT: hr, LQ: lr}, filename_tmpl)
        self._scale = scale
        self._order = sorted(range(len(self._images)), key=self._images.name)
        say(self._images.left_out)

    @property
    def names(self) -> list[str]:
        """The images' names, as :meth:`__iter__` gives the images."""
        return [Path(self._images.name(index)).stem for index in self._order]

    def __len__(self) -> int:
        """Pairs."""
        return len(self._images)

    def __iter__(self) -> Iterator[Images]:
        """Read the pairs one by one.

        Raises:
            InputError: An image cannot be read, or is not of this scale.
        """
        return map(self._read, self._order)

    def smallest(self) -> Images:
        """The pair with the fewest pixels."""
        return min(self, key=lambda pair: pair.lr.size)

    def _read(self, index: int) -> Images:
        name = self._images.name(index)
        try:
            lr, hr = (decode_bgr(self._images.read(side, index)) for side in (LQ, GT))
        except ImageFault as fault:
            raise InputError("image", name, str(fault), "Run srkd prepare verify on the set.") from fault
        h, w = (side * self._scale for side in lr.shape[:2])
        if any(not 0 <= side - wanted < self._scale for side, wanted in zip(hr.shape[:2], (h, w))):
            problem = f"LR is {lr.shape[:2]} and HR {hr.shape[:2]}, which is not x{self._scale}"
            raise InputError("image", name, problem, "Run srkd prepare verify on the set.")
        return Images(lr, np.ascontiguousarray(hr[:h, :w]))


@dataclass(frozen=True)
class Benchmark:
    """A named set."""

    name: str
    pairs: PairSet
    hr: Path
    """Folder or LMDB of HR images."""
    folder: Path = Path()
    """What it is named after, absolute, where it was found by :func:`find_benchmark`."""


@dataclass(frozen=True)
class Figures:
    """Figures of a model on a set: Y channel, ``scale`` border pixels cropped, SR rounded to 8 bits."""

    psnr: dict[str, float]
    """Decibels, by image."""
    ssim: dict[str, float]

    @property
    def mean_psnr(self) -> float:
        """Mean over the images, in dB."""
        return fmean(self.psnr.values())

    @property
    def mean_ssim(self) -> float:
        """Mean over the images."""
        return fmean(self.ssim.values())


def find_benchmark(given: str, scale: int, option: str = "--test") -> Benchmark:
    """Find a benchmark set.

    Args:
        given: A folder as ``srkd prepare benchmark`` makes it (``HR`` and ``LR_bicubic/X<scale>``), or ``GT:LQ``: two
            folders or LMDBs.
        scale: SR factor.
        option: Flag that names it, for errors.

    Raises:
        InputError: It is neither, or its images do not pair.
    """
    gt, colon, lq = given.rpartition(":")
    if colon and not Path(given).exists():
        hr, lr = Path(gt), Path(lq)
    else:
        hr, lr = Path(given) / "HR", Path(given) / f"LR_bicubic/X{scale}"
        require_folder(option, Path(given))
    for folder in (hr, lr):
        if not folder.is_dir():
            problem = f"there is no folder {folder}"
            remedy = "Give a folder that srkd prepare benchmark made, or GT:LQ."
            raise InputError(option, given, problem, remedy)
    named = hr.absolute().parent if hr.name == "HR" else hr.absolute()
    options = {GT: f"{option} (HR)", LQ: f"{option} (LR)"}
    return Benchmark(named.name, PairSet(hr, lr, scale, options=options), hr, named)


def named_apart(found: Sequence[Benchmark], option: str = "--test") -> list[Benchmark]:
    """Sets with as much of their folders in their names as tells them apart, e.g. ``clean/Set5`` and ``noisy/Set5``.

    Raises:
        InputError: Two are named after the same folder.
    """
    named = []
    for one in found:
        others = [other.folder for other in found if other is not one]
        if one.folder in others:
            raise InputError(option, one.name, "two sets have this name", "Give each once, in folders of their names.")
        parts, count = one.folder.parts, 1
        while any(other.parts[-count:] == parts[-count:] for other in others):
            count += 1
        named.append(replace(one, name=Path(*parts[-count:]).as_posix()))
    return named


def measure(upscaler: Upscaler, benchmark: Benchmark) -> Figures:
    """Measure a model of RGB images on a set.

    Raises:
        InputError: An image cannot be read or upscaled.
    """
    psnr, ssim, border = {}, {}, upscaler.scale
    names = benchmark.pairs.names
    title = f"{benchmark.name}, {upscaler.name}"
    progress = progress_bar(benchmark.pairs, total=len(names), desc=title, leave=False)
    for name, (lr, hr) in zip(names, progress):
        sr = super_resolve(lambda image: torch.from_numpy(upscaler(image.numpy())), lr)
        psnr[name] = float(calculate_psnr(sr, hr, crop_border=border, test_y_channel=True))
        ssim[name] = float(calculate_ssim(sr, hr, crop_border=border, test_y_channel=True))
    return Figures(psnr, ssim)


def super_resolve(network: Callable[[Tensor], Tensor], lr: np.ndarray) -> np.ndarray:
    """Super-resolve an image as BasicSR's validation does it.

    Args:
        network: From ``(1, 3, h, w)`` float32 RGB in 0..1 on the CPU to SR, on any device.
        lr: BGR uint8.

    Returns:
        BGR uint8.
    """
    tensor = img2tensor(lr.astype(np.float32) / 255.0, bgr2rgb=True, float32=True)
    return tensor2img(network(tensor[None]).cpu())
