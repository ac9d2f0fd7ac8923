"""The HR and LR images of a training set's options, as BasicSR's PairedImageDataset pairs them: keys, sizes, pixels."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Optional

import numpy as np
from basicsr.data.paired_image_dataset import PairedImageDataset

from srkd_plugin.errors import InputError
from srkd_plugin.images.decode import ImageFault, decode_as_basicsr
from srkd_plugin.images.find_pairs import BACKENDS, pairs_of_section
from srkd_plugin.images.lmdb_store import LmdbImages
from srkd_plugin.images.pairs import GT, ImagePairs, Pair
from srkd_plugin.images.sizes import Size
from srkd_plugin.teacher_cache.info import SourceIdentity
from srkd_plugin.utils.files import sha256_of_lines

WHERE = "datasets.train"
SIDES = {"hr": "gt", "lr": "lq"}
"""How BasicSR calls HR and LR."""


class PairSource:
    """The pairs of a training set, in PairedImageDataset's order.

    Args:
        images: The pairs.
        scale: HR pixels per LR pixel.
        color: ``datasets.train.color`` of the options.

    Attributes:
        keys: A name for each pair: HR's LMDB key, or its path below ``dataroot_gt`` without the extension.

    Raises:
        InputError: Two images have one key.
    """

    def __init__(self, images: ImagePairs, scale: int, color: Optional[str]) -> None:
        self.images, self._scale, self._color = images, scale, color
        names = [images.name(index) for index in range(len(images))]
        self.keys = names if images.lmdbs is not None else [os.path.splitext(name)[0] for name in names]
        named_by: dict[str, str] = {}
        for key, name in zip(self.keys, names):
            if named_by.setdefault(key, name) != name:
                problem = f"{named_by[key]} and {name} have the same name but for the extension, and one key in a cache"
                raise InputError(option("hr"), str(images.folders[GT]), problem, "Rename or remove one of them.")

    def sizes(self, side: str) -> list[Size]:
        """Height and width of every image of ``hr`` or ``lr``, from the headers.

        Raises:
            InputError: A file is no image.
        """
        return self.images.sizes(SIDES[side])

    def identity(self) -> SourceIdentity:
        """What tells this set from others: its keys and sizes."""
        hashes = {
            side: sha256_of_lines(sorted(f"{key} {h} {w}" for key, (h, w) in zip(self.keys, self.sizes(side))))
            for side in SIDES
        }
        return SourceIdentity(
            scale=self._scale,
            color=self._color,
            images=len(self.keys),
            hr_sha256=hashes["hr"],
            lr_sha256=hashes["lr"],
        )

    def read(self, side: str, index: int) -> np.ndarray:
        """Decode an image: ``(h, w, 3)`` BGR uint8, the pixels that PairedImageDataset sees.

        Raises:
            InputError: The image is damaged or not there.
        """
        try:
            return decode_as_basicsr(self.images.read(SIDES[side], index))
        except ImageFault as error:
            path = self.images.path(SIDES[side], index)
            remedy = "Run srkd prepare verify on the set."
            raise InputError(option(side), path, f"this image of it: {error}", remedy) from error

    def part(self, indices: Sequence[int]) -> PairSource:
        """Some of the pairs, in their order here."""
        pairs = [self.images.pairs[index] for index in indices]
        return PairSource(dataclasses.replace(self.images, pairs=pairs), self._scale, self._color)

    def check_sizes(self) -> None:
        """Check that every HR image is ``scale`` times its LR image.

        Raises:
            InputError: One is not; it is named.
        """
        for key, (h, w), (h_lr, w_lr) in zip(self.keys, self.sizes("hr"), self.sizes("lr")):
            if (h, w) != (h_lr * self._scale, w_lr * self._scale):
                problem = f"HR is {h}x{w} and LR {h_lr}x{w_lr}, which is not x{self._scale}"
                raise InputError(f"{WHERE}: image", key, problem, "Run srkd prepare verify on the set.")


def open_pairs(section: Mapping[str, Any], scale: int) -> PairSource:
    """The pairs that a run's ``datasets.train`` names, whatever its type.

    Raises:
        InputError: The sets are not there, or are not pairs.
    """
    return PairSource(pairs_of_section(WHERE, section), scale, section.get("color"))


def pairs_of_dataset(dataset: PairedImageDataset) -> PairSource:
    """The pairs that a data set has listed.

    Raises:
        InputError: An LMDB is not whole, or the images are kept in a way that cannot be read here.
    """
    # stock takes `type` out of these options when it reads its first image; this is called before
    kind = dataset.io_backend_opt["type"]
    if kind not in BACKENDS:
        raise InputError(f"{WHERE}.io_backend.type", kind, "a teacher cache needs lmdb or disk", "Write one.")
    folders = {"gt": Path(dataset.gt_folder), "lq": Path(dataset.lq_folder)}
    options = {side: option(own) for own, side in SIDES.items()}
    lmdbs = {side: LmdbImages(options[side], folders[side]) for side in folders} if kind == "lmdb" else None
    pairs = [Pair(pair["gt_path"], pair["lq_path"]) for pair in dataset.paths]
    return PairSource(ImagePairs(options, folders, pairs, lmdbs), dataset.opt["scale"], dataset.opt.get("color"))


def option(side: str) -> str:
    """The key of the options that names a side's images."""
    return f"{WHERE}.dataroot_{SIDES[side]}"
