"""The page of ``srkd compare``: what several systems made of one test set."""

from __future__ import annotations

import hashlib
import math
import shlex
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from statistics import fmean
from typing import TYPE_CHECKING, Any, Optional

import numpy as np

from srkd_plugin.errors import MISSING, InputError
from srkd_plugin.report import image_gains
from srkd_plugin.report.crops import HR, SetImages, make_crops
from srkd_plugin.report.provenance import versions
from srkd_plugin.report.render import LARGEST, REST, beyond_bound, render, require_page, write_page
from srkd_plugin.report.table_page import crop_labels
from srkd_plugin.tables.paired_stats import Interval, interval
from srkd_plugin.tables.results import BICUBIC, ImageResult

if TYPE_CHECKING:
    from srkd_plugin.evaluate.compare_images import Comparison

TEMPLATE = "compare.html.j2"


def require_systems(file: Path, systems: Mapping[str, Path]) -> None:
    """Refuse a page that could not be made, before images are read.

    Args:
        file: The page.
        systems: Folders of SR images by system.

    Raises:
        InputError: There is no system, one has the name of HR, or see :func:`require_page`.
    """
    require_page(file)
    if not systems:
        raise InputError("--system", MISSING, "a page compares systems", "Give --system NAME=DIR, one or more.")
    if HR in systems:
        raise InputError("--system", HR, "it is the name of the originals", "Give the system another name.")


def write_compare_page(
    comparison: Comparison, folders: Mapping[str, Path], systems: Mapping[str, Path], scale: int, file: Path
) -> int:
    """Write the page of a comparison.

    Args:
        comparison: The images and their PSNR.
        folders: The test set's folders by the flag that names them, HR's first.
        systems: Folder of SR images by system, in the order in which they were named.
        scale: SR factor.
        file: The page.

    Returns:
        Its size in bytes.

    Raises:
        InputError: jinja2 is not installed, or the file cannot be written.
    """
    name = str(next(iter(folders.values())))
    results = [
        ImageResult(system, 0, name, image, psnr)
        for system, by in comparison.psnr.items()
        for image, psnr in by.items()
    ]
    first, ours = ([BICUBIC, *systems] if len(systems) == 1 else list(systems))[:2]
    labels = {system: system for system in comparison.psnr}
    command = ["srkd", "compare", *(word for flag, at in folders.items() for word in (flag, str(at)))]
    command += ["--scale", str(scale)]
    command += [word for system, folder in systems.items() for word in ("--system", f"{system}={folder}")]
    content: dict[str, Any] = {
        "set": name,
        "count": len(comparison.hr),
        "scale": scale,
        "labels": labels,
        "base": first,
        "pair": (ours, first),
        "rows": [_row(comparison, system, first) for system in labels],
        "images": image_gains.for_script(labels, results, [name]),
        "pair_gains": image_gains.gains(*image_gains.paired_means(results, ours, first)),
        "psnr": image_gains.means_by_image(results),
        "command": shlex.join([*command, "--html", str(file)]),
        "folders": {**{flag: str(at) for flag, at in folders.items()}, **{s: str(at) for s, at in systems.items()}},
        "hashes": {HR: _sha256(comparison.hr), **{s: _sha256(comparison.images[s]) for s in systems}},
        "versions": versions(),
        "too_large": "",
        "crops": [],
        "crop_labels": {},
    }
    readers = {system: partial(_get, images) for system, images in comparison.images.items()}
    images = SetImages(name, list(comparison.hr), partial(_get, comparison.hr), readers)
    size = len(render(TEMPLATE, content).encode(errors="replace"))
    content["too_large"], rest = beyond_bound(size), LARGEST - REST - size
    content["crops"] = make_crops([images], ours, first, rest)
    content["crop_labels"] = crop_labels(labels, content["crops"])
    return write_page(TEMPLATE, content, file)


def _get(images: Mapping[str, np.ndarray], name: str) -> np.ndarray:
    return images[name]


def _row(comparison: Comparison, system: str, first: str) -> dict[str, Any]:
    values = comparison.psnr[system]

    def over(other: str) -> Optional[Interval]:
        differences = [values[name] - comparison.psnr[other][name] for name in values]
        finite = [one for one in differences if math.isfinite(one)]  # not so where an image is exactly HR
        return interval(finite) if finite and system != other else None

    row = {"system": system, "mean": fmean(values.values()), "images": list(values.values())}
    return {**row, "over_bicubic": over(BICUBIC), "over_first": None if first == BICUBIC else over(first)}


def _sha256(images: Mapping[str, np.ndarray]) -> str:
    """sha256 of the pixels of all images in the order of their names, BGR."""
    digest = hashlib.sha256()
    for name in sorted(images):
        digest.update(np.ascontiguousarray(images[name]).tobytes())
    return digest.hexdigest()
