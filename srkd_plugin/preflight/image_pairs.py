"""Looks whether a BasicSR data set section of an options file finds pairs of images that fit its settings.

BasicSR finds out when the experiment's folder has been made, or when it comes to the image. Names are all compared;
sizes are those that an LMDB states, or are read from the headers of some of a folder's images.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Optional

from PIL import Image, UnidentifiedImageError

from srkd_plugin.errors import MISSING, OptionsError
from srkd_plugin.images.lmdb_store import LmdbImages, is_lmdb
from srkd_plugin.utils.files import require_file, require_folder

HEADERS = 64
"""So many images of a folder, evenly spaced, have their size looked at."""
ORIENTATION = 0x0112
"""EXIF tag; from 5 the image is shown, and read by BasicSR, with its sides exchanged."""
BACKENDS = ("disk", "lmdb")

Size = tuple[int, int]
"""Height and width in pixels."""


@dataclass(frozen=True)
class FoundPairs:
    """What a section of ``datasets`` finds."""

    pairs: int
    smallest_gt: Size
    """Height and width of the smallest GT image whose size was looked at."""


@dataclass(frozen=True)
class _Pair:
    name: str
    gt: Size
    lq: Size


def check_pairs(key: str, section: Mapping[str, Any], scale: int, train: bool) -> FoundPairs:
    """Find the pairs of a section of BasicSR's PairedImageDataset, and compare them with its settings.

    Args:
        key: Where the section is, e.g. ``datasets.train``.
        section: The section; ``io_backend``, ``dataroot_gt`` and ``dataroot_lq`` are looked at first.
        scale: GT pixels per LQ pixel.
        train: Crops are cut from the pairs, and sizes must fit exactly; otherwise GT is cropped to LQ's size.

    Raises:
        OptionsError: A folder or file is not there, not of the kind that ``io_backend`` says, or empty; names do not
            pair; sizes do not fit the scale or ``gt_size``.
    """
    backend = _backend(key, section)
    roots = {
        name: _root(f"{key}.{name}", section.get(name, MISSING), backend) for name in ("dataroot_gt", "dataroot_lq")
    }
    count, pairs = _pairs_of_lmdbs(key, roots) if backend == "lmdb" else _pairs_of_folders(key, section, roots)
    smallest = None
    for pair in pairs:
        _check_sizes(key, pair, section, scale, train)
        smallest = pair.gt if smallest is None or min(pair.gt) < min(smallest) else smallest
    return FoundPairs(count, smallest)


def _backend(key: str, section: Mapping[str, Any]) -> str:
    backend = section.get("io_backend", MISSING)
    kind = backend.get("type", MISSING) if isinstance(backend, Mapping) else backend
    where = f"{key}.io_backend" + (".type" if isinstance(backend, Mapping) else "")
    if kind not in BACKENDS:
        raise OptionsError(where, kind, "disk or lmdb is expected", "Write io_backend: {type: disk}, or lmdb.")
    return kind


def _root(key: str, value: Any, backend: str) -> Path:
    if not isinstance(value, str):
        raise OptionsError(
            key, value, "the path of a folder is expected", "Give the folder of the images, or the LMDB."
        )
    path = Path(value)
    require_folder(key, path)
    if backend == "disk" and is_lmdb(path):
        raise OptionsError(key, value, "it is an LMDB, and io_backend is disk", "Write io_backend: {type: lmdb}.")
    if backend == "lmdb" and not value.endswith(".lmdb"):
        remedy = "Write io_backend: {type: disk} for a folder of images; LMDBs are named *.lmdb."
        raise OptionsError(key, value, "it is not named *.lmdb, and io_backend is lmdb", remedy)
    return path


def _pairs_of_lmdbs(key: str, roots: Mapping[str, Path]) -> tuple[int, Iterable[_Pair]]:
    gt, lq = (LmdbImages(f"{key}.{name}", roots[name]).shapes for name in ("dataroot_gt", "dataroot_lq"))
    _require_some(f"{key}.dataroot_gt", roots["dataroot_gt"], gt)
    only_here = sorted(gt.keys() ^ lq.keys())
    if only_here:
        there = "dataroot_gt" if only_here[0] in gt else "dataroot_lq"
        problem = f"{only_here[0]} is in {there} only ({len(only_here)} such keys in all)"
        raise OptionsError(f"{key}.dataroot_lq", str(roots["dataroot_lq"]), problem, "Give LMDBs that belong together.")
    return len(gt), (_Pair(name, gt[name][:2], lq[name][:2]) for name in gt)


def _pairs_of_folders(key: str, section: Mapping[str, Any], roots: Mapping[str, Path]) -> tuple[int, Iterable[_Pair]]:
    template, listed = section.get("filename_tmpl", "{}"), section.get("meta_info_file")
    gt_names, lq_names = (_file_names(roots[name]) for name in ("dataroot_gt", "dataroot_lq"))
    if listed is not None:
        require_file(f"{key}.meta_info_file", listed)
        lines = Path(listed).read_text("utf-8", "replace").splitlines()
        names = [line.split(" ")[0] for line in lines if line.strip()]
        _require_some(f"{key}.meta_info_file", listed, names)
    else:
        names = sorted(gt_names)
        _require_some(f"{key}.dataroot_gt", roots["dataroot_gt"], names)
        if len(lq_names) != len(names):
            problem = f"it has {len(lq_names)} files, and dataroot_gt has {len(names)}: BasicSR wants as many"
            raise OptionsError(f"{key}.dataroot_lq", str(roots["dataroot_lq"]), problem, "Remove what has no partner.")
    pairs = []
    for name in names:
        stem, extension = os.path.splitext(os.path.basename(name))
        partner = _fill(f"{key}.filename_tmpl", template, stem) + extension
        for where, file, there in (("dataroot_gt", name, gt_names), ("dataroot_lq", partner, lq_names)):
            if file not in there and not (roots[where] / file).is_file():
                remedy = "Give folders of the same file names; filename_tmpl: '{}x2' would be for LQ's."
                raise OptionsError(f"{key}.{where}", str(roots[where]), f"there is no {file} in it", remedy)
        pairs.append((name, roots["dataroot_gt"] / name, roots["dataroot_lq"] / partner))
    sample = pairs[:: max(1, len(pairs) // HEADERS)]
    return len(pairs), (
        _Pair(name, _image_size(f"{key}.dataroot_gt", gt), _image_size(f"{key}.dataroot_lq", lq))
        for name, gt, lq in sample
    )


def _file_names(folder: Path) -> set[str]:
    """What BasicSR takes for images: every file that is not hidden."""
    with os.scandir(folder) as entries:
        return {entry.name for entry in entries if not entry.name.startswith(".") and entry.is_file()}


def _fill(key: str, template: Any, stem: str) -> str:
    try:
        return template.format(stem)
    except (AttributeError, IndexError, KeyError, ValueError) as error:
        raise OptionsError(key, template, "it is no template of a name", "Write e.g. '{}x2'.") from error


def _image_size(key: str, path: Path) -> Size:
    try:
        with Image.open(path) as image:
            size = image.height, image.width
            return size[::-1] if image.getexif().get(ORIENTATION, 1) >= 5 else size
    except (OSError, UnidentifiedImageError) as error:
        raise OptionsError(key, str(path), "it cannot be read as an image", "Remove or replace the file.") from error


def _require_some(key: str, where: Any, found: Any) -> None:
    if not found:
        raise OptionsError(key, str(where), "there are no images in it", "Give the folder that has them.")


def _check_sizes(key: str, pair: _Pair, section: Mapping[str, Any], scale: int, train: bool) -> None:
    wanted = tuple(side * scale for side in pair.lq)
    fits = pair.gt == wanted if train else all(gt >= side for gt, side in zip(pair.gt, wanted))
    if not fits:
        problem = f"{pair.name} is {_text(pair.lq)} there and {_text(pair.gt)} in dataroot_gt, which is not x{scale}"
        raise OptionsError(
            f"{key}.dataroot_lq", section["dataroot_lq"], problem, f"Give the LQ images of scale {scale}."
        )
    size: Optional[int] = section.get("gt_size") if train else None
    if size is not None and size > min(pair.gt):
        problem = f"{pair.name} is {_text(pair.gt)}, too small for such crops"
        raise OptionsError(f"{key}.gt_size", size, problem, "Write less, or use larger images.")


def _text(size: Size) -> str:
    return f"{size[0]}x{size[1]}"
