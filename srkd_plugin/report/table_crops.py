"""Crops for the page of a table: of the SR images that the tests of its finished runs wrote."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Optional

import numpy as np

from srkd_plugin.errors import InputError
from srkd_plugin.images.decode import read_bgr
from srkd_plugin.report.crops import Crop, Read, SetImages, make_crops
from srkd_plugin.report.source import Source
from srkd_plugin.tables.plan import Run
from srkd_plugin.tables.results import BICUBIC


def table_crops(
    source: Source, runs: Sequence[Run], pair: Optional[tuple[str, str]], limit: int
) -> tuple[list[Crop], str]:
    """Crops of every set for all rows whose first seed has its SR images, or none and why.

    Args:
        source: The table and its results.
        runs: The runs that it asks for.
        pair: The two systems whose difference chooses the crops.
        limit: Bytes that the pictures may take together.
    """
    if source.machine is None:
        return [], "The page was made from stored results (CSV), which have no images."
    if pair is None:
        return [], "No row has results yet."
    finished = {(image.method, image.seed) for image in source.results.images}
    first: dict[str, Run] = {}
    for run in runs:
        if (run.method, run.seed) in finished:
            first.setdefault(run.method, run)
    try:
        sets = [_open(source, first, name, set(pair)) for name in source.table.sets]
        crops = make_crops(sets, *pair, limit)
    except InputError as error:
        return [], f"The images cannot be read: {error}"
    return crops, "" if crops else "The crops of all systems together would make the page too large."


def _open(source: Source, first: dict[str, Run], name: str, needed: set[str]) -> SetImages:
    """A set with bicubic and all rows that have its images; those that the crops are chosen by must have them."""
    from srkd_plugin.evaluate.compare_images import find_results
    from srkd_plugin.evaluate.open_set import OpenSet

    assert source.machine is not None
    root, section = source.machine.root, source.table.sets[name]
    scale = next(iter(first.values())).scale
    images = OpenSet(root / section.dataroot_gt, root / section.dataroot_lq, scale)
    systems: dict[str, Read] = {BICUBIC: lambda image: images.bicubic(images.lq(image))}
    for method, run in first.items():
        folder = root / "results" / run.test["name"] / "visualization" / name
        try:
            systems[method] = _reader(find_results(method, folder, images.names))
        except InputError:
            if method in needed:
                raise
    return SetImages(name, images.names, lambda image: images.hr(image, images.lq(image)), systems)


def _reader(files: dict[str, Path]) -> Read:
    def read(image: str) -> np.ndarray:
        return read_bgr(files[image])

    return read
