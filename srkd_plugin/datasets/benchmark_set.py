"""Makes a benchmark set: a folder of HR images becomes a folder of cropped HR and one of LR for each scale, as PNG.

    <out>/HR/<stem>.png                  BGR of 8 bits; sides are multiples of all scales
    <out>/LR_bicubic/X<scale>/<stem>.png
    <out>/info.json                      counts, sizes and sha256 of the names

Every file is written whole or not at all, so that an interrupted run is continued by the same command.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from srkd_plugin import __version__
from srkd_plugin.errors import InputError
from srkd_plugin.images.decode import ImageFault, crop_to_multiple, decode, encode_png, read_bgr
from srkd_plugin.images.listing import list_folder, say_left_out
from srkd_plugin.images.matlab_resize import downscale
from srkd_plugin.images.worker_pool import map_images
from srkd_plugin.utils.files import sha256_of_lines, write_atomically, write_json
from srkd_plugin.utils.owner import owned

COMPRESSION = 3
"""PNG compression level: OpenCV's and BasicSR's default for image files."""


@dataclass(frozen=True)
class PairJob:
    """One HR image, sent to a worker."""

    source: Path
    hr: Path
    """Where the cropped HR goes."""
    lr: dict[int, Path]
    """Where LR goes, by scale."""
    write: bool
    """Write what is not as it should be; otherwise only compare what is there."""


def make_benchmark_set(
    hr: Path, out: Path, scales: tuple[int, ...], workers: int = 1, force: bool = False
) -> dict[str, Any]:
    """Make the HR and LR folders of a benchmark set; what is there already is compared and kept.

    HR is cropped to a multiple of all scales: of 2 for x2 alone, of 12 for x2, x3 and x4 together. Gray images become
    three equal channels.

    Args:
        hr: Folder of HR images.
        out: Folder to write to.
        scales: Factors of LR.
        workers: Processes.
        force: Replace images that are there and differ.

    Returns:
        What ``info.json`` holds: for each folder ``images``, ``bytes`` and ``sha256 of keys``.

    Raises:
        InputError: Something given is not as expected; files that are there differ, or do not belong to the set, and
            ``force`` is off; another process makes this set. Nothing is written then.
    """
    listing = list_folder("--gt", hr)
    sources = listing.images("--gt")
    say_left_out([listing])
    with owned("--out", out):
        return _make(hr, out, sources, scales, workers, force)


def _make(
    hr: Path, out: Path, sources: Mapping[str, Path], scales: tuple[int, ...], workers: int, force: bool
) -> dict[str, Any]:
    folders = {scale: out / f"LR_bicubic/X{scale}" for scale in scales}
    for folder in (out / "HR", *folders.values()):
        _refuse_strangers(folder, sources)
    jobs = [
        PairJob(path, out / "HR" / f"{stem}.png", {s: f / f"{stem}.png" for s, f in folders.items()}, write=False)
        for stem, path in sources.items()
    ]
    if (out / "HR").exists() or any(folder.exists() for folder in folders.values()):
        differing = [path for found in map_images(_make_pair, jobs, workers, "comparing") for path in found]
        _refuse_overwriting(hr, out, differing, force)
    jobs = [PairJob(job.source, job.hr, job.lr, write=True) for job in jobs]
    try:
        for _ in map_images(_make_pair, jobs, workers, out.name):
            pass
    except InputError as error:
        written = (out / "HR").exists()
        raise (error.with_more("What is written is kept; the same command goes on.") if written else error) from error
    return _write_info(out)


def _refuse_strangers(folder: Path, sources: Mapping[str, Path]) -> None:
    for path in sorted(folder.glob("[!.]*")):
        if path.stem not in sources or path.suffix != ".png":
            problem = "it is there, and is not one of the images that would be written"
            raise InputError("output", str(path), problem, "Use another --out, or remove it.")


def _refuse_overwriting(hr: Path, out: Path, differing: list[Path], force: bool) -> None:
    if not differing:
        return
    if (out / "HR").exists() and (out / "HR").samefile(hr):
        problem = f"its HR folder is --gt itself, and e.g. {differing[0].name} would be changed"
        raise InputError("--out", str(out), problem, "Use another --out.")
    if not force:
        problem = f"{len(differing)} images are there and differ, e.g. {differing[0]}"
        remedy = "Use another --out, give all scales at once, or --force to replace them."
        raise InputError("--out", str(out), problem, remedy)


def _make_pair(job: PairJob) -> list[Path]:
    """Write the files of one image, or say which are there and differ."""
    photo = read_bgr(job.source)
    hr = np.ascontiguousarray(crop_to_multiple(photo, math.lcm(*job.lr)))
    if hr.size == 0:
        problem = f"its size, {photo.shape[:2]}, is less than the scale"
        raise InputError("HR image", str(job.source), problem, "Remove it from the folder.")
    differing = []
    for path, scale in ((job.hr, 1), *((path, scale) for scale, path in job.lr.items())):
        image = hr if scale == 1 else downscale(hr, scale)
        if path.exists():
            if _holds(path, image):
                continue
            differing.append(path)
        if job.write:
            write_atomically(path, encode_png(image, COMPRESSION))
    return differing


def _holds(path: Path, image: np.ndarray) -> bool:
    try:
        return np.array_equal(decode(path.read_bytes()), image)
    except ImageFault:
        return False


def _write_info(out: Path) -> dict[str, Any]:
    folders = {}
    for folder in (out / "HR", *sorted(out.glob("LR_bicubic/X*"))):
        files = sorted(folder.glob("*.png"))
        folders[folder.relative_to(out).as_posix()] = {
            "images": len(files),
            "bytes": sum(path.stat().st_size for path in files),
            "sha256 of keys": sha256_of_lines(path.stem for path in files),
        }
    info = {"made by": f"srkd_plugin {__version__}", "folders": folders}
    write_json(out / "info.json", info)
    return info
