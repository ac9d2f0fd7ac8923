"""Verifies a set of HR and LR images: that each pair is one, and that the set is the one it is called."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from statistics import fmean, median
from typing import Optional

from srkd_plugin.datasets import published_figures
from srkd_plugin.datasets.duplicates import Compared, find_near_duplicates
from srkd_plugin.datasets.pair_check import Pair, check_pair
from srkd_plugin.errors import InputError
from srkd_plugin.images.decode import Fault
from srkd_plugin.images.find_pairs import check_template, require_one_kind
from srkd_plugin.images.image_sets import FolderImages, ImageSet, open_images
from srkd_plugin.images.listing import named
from srkd_plugin.images.lmdb_check import find_lmdb_faults
from srkd_plugin.images.lmdb_store import is_lmdb
from srkd_plugin.images.pairs import GT, LQ, match
from srkd_plugin.images.worker_pool import map_images
from srkd_plugin.utils.files import sha256_of_lines

BICUBIC_SET = 40.0
"""dB. LR images this near to MATLAB's reduction of HR, in the median, are bicubic of some kind; then all must be."""
LEAST_IN_BICUBIC_SET, LEAST_IN_OTHER_SET = 35.0, 20.0
"""dB. LR images farther from the reduction of HR than this belong to another HR image."""
BASELINE_UP_TO = 1000
"""Images; for larger sets, the training sets, the bicubic baseline is not computed: there is no figure to compare."""

OPTIONS = {GT: "--gt", LQ: "--lq"}
"""How the user names the images of each side."""


@dataclass
class Report:
    """What was found."""

    pairs: int
    keys_sha256: str
    """The sha256 of the HR keys, one per line, in hexadecimal."""
    faults: list[Fault] = field(default_factory=list)
    exact: int = 0
    """Pairs whose LR is MATLAB's bicubic reduction of HR, bit for bit, but for the border."""
    gray: list[str] = field(default_factory=list)
    """Pairs of which both images are gray files; BasicSR reads them as three equal channels."""
    bicubic_y: Optional[float] = None
    """Mean PSNR in dB of the bicubic baseline: Y channel, ``scale`` border pixels cropped."""
    known_set: Optional[str] = None
    published_y: Optional[float] = None
    left_out: list[str] = field(default_factory=list)
    """Lines that name what is in the folders and is no image, or was not compared."""

    def describe(self) -> str:
        """What was found, for people: a line for each fact, then a line for each fault."""
        lines = [f"{self.pairs:,} HR images; sha256 of the keys: {self.keys_sha256}"]
        lines.append(f"LR is MATLAB's bicubic, bit for bit: {self.exact:,} of {self.pairs:,}")
        if self.gray:
            lines.append(f"gray, read by BasicSR as three equal channels: {', '.join(self.gray)}")
        if self.bicubic_y is not None:
            known = f", published for {self.known_set}: {self.published_y:.2f} dB" if self.published_y else ""
            lines.append(f"bicubic PSNR (Y, crop = scale): {self.bicubic_y:.3f} dB{known}")
        lines += self.left_out
        lines += [f"FAULT {fault}" for fault in self.faults]
        lines.append(f"faults: {len(self.faults)}" if self.faults else "nothing wrong")
        return "\n".join(lines)


def verify(
    hr: Path,
    lr: Path,
    scale: int,
    known_set: Optional[str] = None,
    filename_tmpl: str = "{}",
    against: Sequence[Path] = (),
    workers: int = 1,
) -> Report:
    """Verify a pair of folders or LMDBs.

    Checked are: same keys; files that are whole; sizes that fit the scale; colour in both or in none; LR that is a
    reduction of its HR; no image twice; for a known set the number of images and the bicubic baseline's PSNR; and that
    no image is in a training set, of which each image that cannot be decoded is a fault.

    Args:
        hr: HR images.
        lr: LR images.
        scale: HR pixels per LR pixel.
        known_set: Name of a set in ``published_figures``; by default as the path of ``hr`` says.
        filename_tmpl: BasicSR's option: the name of an LR file made from that of its HR file, e.g. ``{}x2``.
        against: Training sets that must not have the images of ``hr``.
        workers: Processes.

    Raises:
        InputError: A set cannot be read at all, or an argument is wrong.
    """
    known_set = _known_set(hr, known_set)
    folders = {GT: hr, LQ: lr}
    images = {side: open_images(OPTIONS[side], folders[side]) for side in OPTIONS}
    training = [_open_training_set(folder) for folder in against]
    require_one_kind(OPTIONS, folders)
    check_template("--filename-tmpl", filename_tmpl)
    if is_lmdb(hr) and filename_tmpl != "{}":
        problem = "BasicSR does not use it for LMDBs: HR and LR have the same keys"
        raise InputError("--filename-tmpl", filename_tmpl, problem, "Leave it out, or make the LMDB of LR again.")
    faults = [fault for side in OPTIONS for fault in _check_container(OPTIONS[side], images[side], workers)]
    tasks, found = _match(images, filename_tmpl, scale)
    hr_keys = images[GT].keys()
    report = Report(len(hr_keys), sha256_of_lines(hr_keys), faults + found, known_set=known_set)
    report.left_out = [line for side in OPTIONS if (line := _left_out(images[side])) is not None]
    gray = published_figures.GRAY_FILES.get(known_set or "", ())
    check = partial(check_pair, images[GT], images[LQ], scale, len(tasks) <= BASELINE_UP_TO, gray)
    pairs = list(map_images(check, tasks, workers, "pairs", isolated=is_lmdb(hr)))
    _judge_pairs(report, pairs)
    _judge_set(report, pairs, scale)
    if training:
        _judge_against(report, find_near_duplicates(training, images[GT], workers))
    return report


def _open_training_set(folder: Path) -> ImageSet:
    images = open_images("--against", folder)
    if not images.keys():
        raise InputError("--against", str(folder), "there are no images in it", "Give the folder that has them.")
    return images


def _known_set(hr: Path, name: Optional[str]) -> Optional[str]:
    if name is None:
        return published_figures.guess_set(hr.absolute())
    name = published_figures.ALIASES.get(name, name)
    if name not in published_figures.IMAGES:
        raise InputError(
            "--set",
            name,
            "there are no published figures for it here",
            f"Known: {', '.join(published_figures.IMAGES)}.",
        )
    return name


def _check_container(option: str, images: ImageSet, workers: int) -> Iterable[Fault]:
    if not isinstance(images, FolderImages):
        return find_lmdb_faults(option, images.folder, workers)
    problem = "is no image, but BasicSR takes every file of the folder for one"
    return [Fault(f"{option} {name}", problem) for name in images.listing.strangers]


def _left_out(images: ImageSet) -> Optional[str]:
    return images.listing.left_out(strangers=False) if isinstance(images, FolderImages) else None


def _match(images: Mapping[str, ImageSet], template: str, scale: int) -> tuple[list[tuple[str, str]], list[Fault]]:
    """Keys of HR and LR that are to be compared, and what is wrong with the names."""
    gt, lq = images[GT], images[LQ]
    if not (isinstance(gt, FolderImages) and isinstance(lq, FolderImages)):
        found = match(gt.keys(), lq.keys(), template=None)
        return list(found.pairs), found.faults(OPTIONS[GT], OPTIONS[LQ])
    gt_names, lq_names = ([path.name for path in folder.files.values()] for folder in (gt, lq))
    found = match(gt_names, lq_names, template)
    faults = found.faults(OPTIONS[GT], OPTIONS[LQ])
    if faults and template == "{}" and match(gt_names, lq_names, f"{{}}x{scale}").is_complete:
        faults = [Fault(OPTIONS[LQ], f"its names end in x{scale}: say --filename-tmpl '{{}}x{scale}'")]
    keys = [(Path(pair.gt).stem, Path(pair.lq).stem) for pair in found.pairs]
    by_stem = {Path(name).stem: name for name in found.lq_alone}
    for pair in found.gt_alone:
        key, lq_key = Path(pair.gt).stem, Path(pair.lq).stem
        if lq_key in by_stem:
            problem = f"HR is {pair.gt} and LR {by_stem[lq_key]}; BasicSR needs one extension"
            faults.append(Fault(key, problem))
            keys.append((key, lq_key))
    return keys, faults


def _judge_pairs(report: Report, pairs: Sequence[Pair]) -> None:
    """Judge each pair beside the others, and look for images that come twice."""
    near = [pair.reduction_psnr for pair in pairs if pair.reduction_psnr is not None]
    bicubic = bool(near) and median(near) >= BICUBIC_SET
    least = LEAST_IN_BICUBIC_SET if bicubic else LEAST_IN_OTHER_SET
    seen: dict[str, list[str]] = defaultdict(list)
    for pair in pairs:
        report.faults += [Fault(pair.key, problem) for problem in pair.problems]
        if pair.reduction_psnr is not None and pair.reduction_psnr < least:
            problem = f"LR is not a reduction of this HR: it differs from one by {pair.reduction_psnr:.1f} dB PSNR"
            report.faults.append(Fault(pair.key, problem))
        for digest in pair.digests:
            seen[digest].append(pair.key)
        if pair.gray:
            report.gray.append(pair.key)
    report.faults += [Fault(", ".join(keys), "are the same image") for keys in seen.values() if len(keys) > 1]
    report.exact = sum(pair.exact for pair in pairs)


def _judge_against(report: Report, compared: Compared) -> None:
    """Report images that are in a training set, and those of which that cannot be told."""
    report.faults += [Fault("leak", str(twin)) for twin in compared.twins]
    problem = "it was not compared by --against"
    report.faults += [Fault(name, f"{fault}: {problem}") for name, fault in compared.unread]
    if compared.plain:
        report.left_out.append(f"of one colour, and so not compared by --against: {named(compared.plain)}")


def _judge_set(report: Report, pairs: Sequence[Pair], scale: int) -> None:
    """Compare with what is published of the set."""
    figures = [pair.bicubic_y for pair in pairs if pair.bicubic_y is not None]
    report.bicubic_y = fmean(figures) if figures else None
    name = report.known_set
    if name is None:
        return
    report.published_y = published_figures.BICUBIC_Y[name].get(scale)
    if report.pairs != published_figures.IMAGES[name]:
        report.faults.append(Fault(name, f"has {published_figures.IMAGES[name]} images, and here are {report.pairs}"))
    elif report.bicubic_y is not None and len(figures) == report.pairs:
        problem = published_figures.judge_bicubic(name, scale, report.bicubic_y)
        if problem is not None:
            report.faults.append(Fault(name, problem))
