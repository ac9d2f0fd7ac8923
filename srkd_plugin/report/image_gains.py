"""Differences image by image: where a system gains the most over another, and where it loses."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import Any

from srkd_plugin.tables.results import BICUBIC, ImageResult
from srkd_plugin.tables.table_sections import TEACHER

WITHOUT_SEEDS = (BICUBIC, TEACHER)
"""What is there once, whatever seed it is stored with: the methods are compared with it in all of theirs."""
ByImage = Mapping[str, Mapping[str, float]]
"""PSNR in dB, ``[set][image]``."""


@dataclass(frozen=True)
class Extremes:
    """What a system gains over another on a set: the best and the worst image, and how many gain at all."""

    set: str
    best: tuple[str, float]
    worst: tuple[str, float]
    gaining: int
    count: int


def means_by_image(images: Sequence[ImageResult]) -> dict[str, dict[str, dict[str, float]]]:
    """PSNR of each image in dB, the mean over a method's seeds: ``[method][set][image]``."""
    values: dict[str, dict[str, dict[str, list[float]]]] = {}
    for one in images:
        values.setdefault(one.method, {}).setdefault(one.set, {}).setdefault(one.image, []).append(one.psnr)
    return {
        method: {name: {image: fmean(found) for image, found in by_image.items()} for name, by_image in sets.items()}
        for method, sets in values.items()
    }


def paired_means(images: Sequence[ImageResult], method: str, other: str) -> tuple[ByImage, ByImage]:
    """PSNR of each image of two methods, the mean over the seeds that both have on a set.

    A method is compared with :data:`WITHOUT_SEEDS` in all of its seeds.
    """
    seeds: dict[tuple[str, str], set[int]] = {}
    for one in images:
        seeds.setdefault((one.method, one.set), set()).add(one.seed)

    paired = method not in WITHOUT_SEEDS and other not in WITHOUT_SEEDS

    def keep(ours: str, theirs: str) -> list[ImageResult]:
        kept = []
        for row in images:
            common = seeds.get((ours, row.set), set()) & seeds.get((theirs, row.set), set()) if paired else set()
            if row.method == ours and (row.seed in common or not common):
                kept.append(row)
        return kept

    a, b = means_by_image(keep(method, other)), means_by_image(keep(other, method))
    return a.get(method, {}), b.get(other, {})


def gains(ours: ByImage, theirs: ByImage) -> dict[str, list[tuple[str, float]]]:
    """``(image, gain in dB)`` of each set that both have, the largest gain first.

    Images that one of the two has exactly as HR, whose PSNR is infinite, are left out.
    """
    found = {}
    for name, images in ours.items():
        others = theirs.get(name, {})
        common = [(image, psnr - others[image]) for image, psnr in images.items() if image in others]
        common = [(image, gain) for image, gain in common if math.isfinite(gain)]
        if common:
            found[name] = sorted(common, key=lambda one: (-one[1], one[0]))
    return found


def extremes(found: Mapping[str, Sequence[tuple[str, float]]]) -> list[Extremes]:
    """Best and worst image of each set of :func:`gains`."""
    return [
        Extremes(name, images[0], images[-1], sum(gain > 0 for _, gain in images), len(images))
        for name, images in found.items()
    ]


def for_script(systems: Mapping[str, str], images: Sequence[ImageResult], sets: Sequence[str]) -> dict[str, Any]:
    """What the script of the page compares any two systems with.

    Args:
        systems: Label by method, in the order of the page.
        images: All results.
        sets: Names of the sets, in the order of the page.

    Returns:
        ``sets``: names of the images by set; ``systems``: ``label``, whether it has seeds that others have, too
        (``paired``), and ``psnr[set]``, a list over the seeds of ``seeds[set]`` of lists in the order of the images
        (None where there is none).
    """
    names: dict[str, dict[str, None]] = {name: {} for name in sets}
    table: dict[tuple[str, str], dict[int, dict[str, float]]] = {}
    for one in images:
        if one.set in names:
            names[one.set].setdefault(one.image)
            if math.isfinite(one.psnr):  # JSON has no infinity
                table.setdefault((one.method, one.set), {}).setdefault(one.seed, {})[one.image] = one.psnr
    found = []
    for method, label in systems.items():
        seeds = {name: sorted(table.get((method, name), {})) for name in names}
        psnr = {
            name: [[table[method, name][seed].get(image) for image in names[name]] for seed in seeds[name]]
            for name in names
        }
        if any(seeds.values()):
            paired = method not in WITHOUT_SEEDS
            found.append({"key": method, "label": label, "paired": paired, "seeds": seeds, "psnr": psnr})
    return {"sets": {name: list(found) for name, found in names.items()}, "systems": found}
