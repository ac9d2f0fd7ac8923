"""Comparison of what several systems made of the same test images: a table of PSNR, and a sheet of crops."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from srkd_plugin._autoload import import_basicsr

import_basicsr()

from basicsr.metrics import calculate_psnr  # noqa: E402

from srkd_plugin.images.matlab_resize import upscale  # noqa: E402
from srkd_plugin.utils import markdown  # noqa: E402

BICUBIC = "bicubic"


@dataclass(frozen=True)
class Comparison:
    """The images of a test set by system, and their PSNR.

    Attributes:
        images: ``images[system][name]``, BGR uint8 HWC; the systems begin with bicubic.
        hr: ``hr[name]``, BGR uint8 HWC.
        psnr: ``psnr[system][name]`` in dB, Y channel, ``scale`` pixels cropped.
    """

    hr: Mapping[str, np.ndarray]
    images: Mapping[str, Mapping[str, np.ndarray]]
    psnr: Mapping[str, Mapping[str, float]]

    def table(self) -> str:
        """A Markdown table: a row per system, a column per image, their mean and the gain over bicubic."""
        names = list(self.hr)
        base = _mean(self.psnr[BICUBIC])
        rows = []
        for system, values in self.psnr.items():
            mean = _mean(values)
            rows.append([system, *(f"{values[name]:.3f}" for name in names), f"{mean:.3f}", f"{mean - base:+.3f}"])
        return markdown.table(["PSNR, dB (Y)", *names, "mean", "over bicubic"], rows)

    def only(self, names: Sequence[str]) -> Comparison:
        """The same of some of the images."""
        images = {system: {name: made[name] for name in names} for system, made in self.images.items()}
        psnr = {system: {name: values[name] for name in names} for system, values in self.psnr.items()}
        return Comparison({name: self.hr[name] for name in names}, images, psnr)

    def joined(self, *others: Comparison) -> Comparison:
        """This and comparisons of the same systems on other images, whose names must differ."""
        all_of_them = (self, *others)
        images = {system: {k: v for c in all_of_them for k, v in c.images[system].items()} for system in self.images}
        psnr = {system: {k: v for c in all_of_them for k, v in c.psnr[system].items()} for system in self.psnr}
        return Comparison({k: v for c in all_of_them for k, v in c.hr.items()}, images, psnr)


def compare(hr_folder: Path, lq_folder: Path, systems: Mapping[str, Path], scale: int) -> Comparison:
    """Read a test set and every system's SR images, as ``basicsr/test.py`` writes them, and measure them.

    Args:
        hr_folder: HR images.
        lq_folder: LR images of the same names.
        systems: Folder of SR images by system; the files are named ``<image>_<anything>.png``.
        scale: SR factor; also the number of pixels cropped from each border.

    Raises:
        FileNotFoundError: A folder has no images, or a system lacks one.
    """
    files = sorted(hr_folder.glob("*.png"))
    if not files:
        raise FileNotFoundError(f"there are no .png images in {hr_folder}")
    lq = {file.stem: _read(lq_folder / file.name) for file in files}
    hr = {file.stem: _mod_crop(_read(file), lq[file.stem], scale) for file in files}
    images = {BICUBIC: {name: upscale(lq[name], scale) for name in hr}}
    for system, folder in systems.items():
        images[system] = {name: _read(_find(folder, name)) for name in hr}
    psnr = {
        system: {name: calculate_psnr(made[name], hr[name], crop_border=scale, test_y_channel=True) for name in hr}
        for system, made in images.items()
    }
    return Comparison(hr, images, psnr)


def draw_crops(comparison: Comparison, file: Path, side: int = 48) -> None:
    """Draw a sheet of enlarged crops: a row per image, a column per system, HR first.

    Each crop is where bicubic is furthest from HR, on a grid of half crops, so that nobody chooses it. An image smaller
    than a crop is shown as far as it goes.

    Args:
        comparison: What to draw.
        file: The picture; its folder must exist.
        side: Side of a crop, in HR pixels.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    columns = ["HR", *comparison.images]
    rows = list(comparison.hr)
    figure = Figure(figsize=(2.0 * len(columns), 2.2 * len(rows)), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots(len(rows), len(columns), squeeze=False)
    for name, row in zip(rows, axes):
        y, x = _hardest_crop(comparison.hr[name], comparison.images[BICUBIC][name], side)
        for column, axis in zip(columns, row):
            image = comparison.hr[name] if column == "HR" else comparison.images[column][name]
            axis.imshow(image[y : y + side, x : x + side, ::-1], interpolation="nearest")
            axis.set_axis_off()
            below = f"{name} ({x}, {y})" if column == "HR" else f"{comparison.psnr[column][name]:.2f} dB"
            axis.set_title(f"{textwrap.fill(column, 18)}\n{below}", fontsize=9)
    figure.savefig(file, dpi=110)


def _hardest_crop(hr: np.ndarray, bicubic: np.ndarray, side: int) -> tuple[int, int]:
    error = np.square(hr.astype(np.float64) - bicubic).sum(axis=2)
    rows, columns = (range(0, max(length - side, 0) + 1, side // 2) for length in hr.shape[:2])
    corners = [(y, x) for y in rows for x in columns]
    return max(corners, key=lambda corner: error[corner[0] : corner[0] + side, corner[1] : corner[1] + side].sum())


def _mod_crop(hr: np.ndarray, lq: np.ndarray, scale: int) -> np.ndarray:
    return hr[: lq.shape[0] * scale, : lq.shape[1] * scale]


def _find(folder: Path, name: str) -> Path:
    found = sorted(folder.glob(f"{name}_*.png"))
    if not found:
        raise FileNotFoundError(f"{folder} has no image {name}_*.png; was basicsr/test.py run with val.save_img: true?")
    return found[0]


def _read(file: Path) -> np.ndarray:
    image = cv2.imread(str(file), cv2.IMREAD_COLOR)
    if image is None:
        raise FileNotFoundError(f"{file} is not there or is no image")
    return image


def _mean(values: Mapping[str, float]) -> float:
    return sum(values.values()) / len(values)
