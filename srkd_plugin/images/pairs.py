"""Pairs of GT (HR) and LQ (LR) images: which names belong together, and access to the images.

The one rule of pairing is that of BasicSR's PairedImageDataset: LQ's file is named as ``filename_tmpl`` makes it of the
name of GT without extension, with GT's extension; in LMDBs both have the same key.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple, Optional

from srkd_plugin.errors import InputError
from srkd_plugin.images.decode import PNG_HEADER, Fault, ImageFault, has_16_bits
from srkd_plugin.images.listing import named
from srkd_plugin.images.lmdb_check import compare_keys
from srkd_plugin.images.lmdb_store import LmdbImages
from srkd_plugin.images.sizes import Size, size_of_file

SIDES = GT, LQ = ("gt", "lq")


class Pair(NamedTuple):
    """GT and LQ of one pair: names of files, paths, or LMDB keys."""

    gt: str
    lq: str


@dataclass(frozen=True)
class Matched:
    """What belongs together of two lists of names."""

    pairs: list[Pair]
    """Pairs in the order of the GT names."""
    gt_alone: list[Pair]
    """GT names, each with that of the LQ image that is not there."""
    lq_alone: list[str]

    @property
    def is_complete(self) -> bool:
        """Every image has its partner."""
        return not (self.gt_alone or self.lq_alone)

    def faults(self, gt: str, lq: str) -> list[Fault]:
        """What each side lacks, as file names without extensions, at most one fault per side.

        Args:
            gt: How the user named the GT images.
            lq: How the user named the LQ images.
        """
        return compare_keys(gt, [_stem(pair.lq) for pair in self.gt_alone], lq, [_stem(name) for name in self.lq_alone])


def match(gt: Iterable[str], lq: Iterable[str], template: Optional[str] = "{}") -> Matched:
    """Pair names.

    Args:
        gt: Names of GT images; folders in names of files do not matter to LQ's names.
        lq: Names of LQ images.
        template: BasicSR's ``filename_tmpl``; None: both have the same name, as in LMDBs.
    """
    there = dict.fromkeys(lq)
    wanted = [Pair(name, name if template is None else partner(name, template)) for name in gt]
    pairs = [pair for pair in wanted if pair.lq in there]
    used = {pair.lq for pair in pairs}
    alone = [pair for pair in wanted if pair.lq not in there]
    return Matched(pairs, alone, [name for name in there if name not in used])


def partner(name: str, template: str) -> str:
    """The name of the LQ file that belongs to a GT file."""
    stem, extension = os.path.splitext(os.path.basename(name))
    return template.format(stem) + extension


@dataclass
class ImagePairs:
    """The pairs of a data set, and access to their images. It may be sent to other processes."""

    options: Mapping[str, str]
    """How the user named the images of each side, for errors, e.g. ``datasets.train.dataroot_gt``."""
    folders: Mapping[str, Path]
    """The folders, or the LMDBs."""
    pairs: list[Pair]
    """Paths or LMDB keys, in BasicSR's order."""
    lmdbs: Optional[Mapping[str, LmdbImages]] = None
    left_out: list[str] = field(default_factory=list)
    """Lines that name what is in the folders and not among the pairs."""

    def __len__(self) -> int:
        """Pairs."""
        return len(self.pairs)

    def path(self, side: str, index: int) -> str:
        """Path or LMDB key of an image."""
        return getattr(self.pairs[index], side)

    def name(self, index: int) -> str:
        """The LMDB key of a pair, or the path of its GT image in the folder."""
        gt = self.pairs[index].gt
        return gt if self.lmdbs is not None else os.path.relpath(gt, self.folders[GT])

    def size(self, side: str, index: int) -> Size:
        """Height and width of an image as BasicSR decodes it, as its header or the LMDB states.

        Raises:
            InputError: It is no whole image.
        """
        path = self.path(side, index)
        if self.lmdbs is not None:
            return self.lmdbs[side].shapes[path][:2]
        try:
            return size_of_file(path)
        except ImageFault as fault:
            raise InputError(self.options[side], path, str(fault), "Remove or replace the file.") from fault

    def sizes(self, side: str) -> list[Size]:
        """The sizes of all images of a side; see :meth:`size`."""
        return [self.size(side, index) for index in range(len(self))]

    def notes(self) -> list[str]:
        """What whoever trains on the pairs should know: what is left out, and images that are read with fewer bits."""
        notes = list(self.left_out)
        for side in SIDES:
            deep = [self.path(side, index) for index in range(len(self)) if self._has_16_bits(side, index)]
            if deep:
                names = named(_stem(path) for path in deep)
                count = f"{len(deep)} images have" if self.lmdbs is None else "images have"
                notes.append(f"{self.options[side]}: {count} 16 bits per sample ({names}); BasicSR reads the upper 8")
        return notes

    def _has_16_bits(self, side: str, index: int) -> bool:
        """Whether an image is a PNG of 16 bits per sample; of an LMDB, the first one stands for all."""
        try:
            if self.lmdbs is not None:
                return index == 0 and has_16_bits(self.read(side, index)[:PNG_HEADER])
            with open(self.path(side, index), "rb") as file:
                return has_16_bits(file.read(PNG_HEADER))
        except (OSError, ImageFault):
            return False  # said where its size or its pixels are looked at

    def read(self, side: str, index: int) -> bytes:
        """The image file.

        Raises:
            ImageFault: It is not there, or cannot be read.
        """
        path = self.path(side, index)
        if self.lmdbs is not None:
            return self.lmdbs[side].read(path)
        try:
            return Path(path).read_bytes()
        except OSError as error:
            raise ImageFault(f"it cannot be read ({error.strerror})") from error


def _stem(name: str) -> str:
    return os.path.splitext(os.path.basename(name))[0]
