"""Comparison of what several systems made of the same test images: a table of PSNR, and a sheet of crops."""

from __future__ import annotations

import textwrap
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from srkd_plugin._autoload import import_basicsr

import_basicsr()

from basicsr.metrics import calculate_psnr  # noqa: E402

from srkd_plugin.errors import InputError  # noqa: E402
from srkd_plugin.evaluate.open_set import OpenSet  # noqa: E402
from srkd_plugin.images.decode import read_bgr  # noqa: E402
from srkd_plugin.images.listing import list_folder, named  # noqa: E402
from srkd_plugin.utils import markdown  # noqa: E402
from srkd_plugin.utils.figures import plain, save_figure  # noqa: E402

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
        hr_folder: HR images, a folder or an LMDB.
        lq_folder: LR images of the same names.
        systems: Folder of SR images by system; see :func:`find_results`.
        scale: SR factor; also the number of pixels cropped from each border.

    Raises:
        InputError: The images are not pairs, a system has the name of the baseline, lacks an image, or has one of
            another size.
    """
    if BICUBIC in systems:
        raise InputError("--system", BICUBIC, "it is the name of the baseline's row", "Give the system another name.")
    test_set = OpenSet(hr_folder, lq_folder, scale)
    lq = {name: test_set.lq(name) for name in test_set.names}
    hr = {name: test_set.hr(name, small) for name, small in lq.items()}
    images = {BICUBIC: {name: test_set.bicubic(small) for name, small in lq.items()}}
    for system, folder in systems.items():
        images[system] = {name: read_bgr(path) for name, path in find_results(system, folder, list(hr)).items()}
    psnr = {
        system: {name: _psnr(system, name, made[name], hr[name], scale) for name in hr}
        for system, made in images.items()
    }
    return Comparison(hr, images, psnr)


def by_system(given: Iterable[tuple[str, Path]]) -> dict[str, Path]:
    """Folders by system, of what a command line lists.

    Raises:
        InputError: A system is there twice.
    """
    systems: dict[str, Path] = {}
    for system, folder in given:
        if system in systems:
            problem = f"it is given twice, as {systems[system]} and {folder}"
            raise InputError("--system", system, problem, "Give each system a name of its own.")
        systems[system] = folder
    return systems


def find_results(system: str, folder: Path, names: Sequence[str]) -> dict[str, Path]:
    """Find the SR images of one run of ``basicsr/test.py`` by the names of the LR images.

    BasicSR names them ``<image>_<run>.png``, or ``<image>_<val.suffix>.png``: what follows the image's name is the same
    for all images of a run. By it ``cat_1_run.png`` is known to be the image ``cat_1`` and not ``cat``.

    Args:
        system: The run's name in the comparison, for errors.
        folder: ``results/<run>/visualization/<set>``, or a copy of it.
        names: The images, without extensions; more of them may be in the folder.

    Raises:
        InputError: An image is not there, or the folder has more than one run's.
    """
    option = f"--system {system}"
    files = {name for name in list_folder(option, folder).files if name.endswith(".png")}
    endings = [{file[len(name) :] for file in files if file.startswith(f"{name}_")} for name in names]
    common = set.intersection(*endings)
    by_folder = f"_{folder.absolute().parent.parent.name}.png"
    if by_folder in common:  # the others that end in this are of images with a longer name
        common = {ending for ending in common if ending == by_folder or not ending.endswith(by_folder)}
    if len(common) > 1:
        problem = f"images of {len(common)} runs are in it, or could be: {named(f'{names[0]}{e}' for e in common)}"
        raise InputError(option, str(folder), problem, "Give a folder with the images of one run.")
    if not common:
        frequent = Counter(ending for found in endings for ending in found).most_common(1)
        ending = frequent[0][0] if frequent else "_*.png"
        missing = next(name for name, found in zip(names, endings) if ending not in found)
        remedy = "Was basicsr/test.py run with val.save_img: true?"
        raise InputError(option, str(folder), f"it has no image {missing}{ending}", remedy)
    (ending,) = common
    return {name: folder / f"{name}{ending}" for name in names}


def draw_crops(comparison: Comparison, file: Path, side: int = 48) -> None:
    """Draw a sheet of enlarged crops: a row per image, a column per system, HR first.

    Each crop is where bicubic is furthest from HR, on a grid of half crops, so that nobody chooses it. An image smaller
    than a crop is shown as far as it goes.

    Args:
        comparison: What to draw.
        file: The picture.
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
            axis.set_title(plain(f"{textwrap.fill(column, 18)}\n{below}"), fontsize=9)
    save_figure(figure, file)


def _hardest_crop(hr: np.ndarray, bicubic: np.ndarray, side: int) -> tuple[int, int]:
    error = np.square(hr.astype(np.float64) - bicubic).sum(axis=2)
    rows, columns = (range(0, max(length - side, 0) + 1, side // 2) for length in hr.shape[:2])
    corners = [(y, x) for y in rows for x in columns]
    return max(corners, key=lambda corner: error[corner[0] : corner[0] + side, corner[1] : corner[1] + side].sum())


def _psnr(system: str, name: str, made: np.ndarray, hr: np.ndarray, scale: int) -> float:
    if made.shape != hr.shape:
        problem = f"its image of {name} is {made.shape[:2]}, and HR {hr.shape[:2]}"
        raise InputError("--system", system, problem, "Give results of --lq at this --scale.")
    return calculate_psnr(made, hr, crop_border=scale, test_y_channel=True)


def _mean(values: Mapping[str, float]) -> float:
    return sum(values.values()) / len(values)
