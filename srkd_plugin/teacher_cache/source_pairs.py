"""The HR and LR images of a training set's options, as BasicSR's PairedImageDataset pairs them: keys, sizes, pixels."""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from basicsr.data.paired_image_dataset import PairedImageDataset
from PIL import Image, UnidentifiedImageError

from srkd_plugin.errors import InputError
from srkd_plugin.images.decode import ImageFault, decode_bgr
from srkd_plugin.images.lmdb_store import LmdbImages, read_meta_info
from srkd_plugin.teacher_cache.info import SourceIdentity
from srkd_plugin.utils.files import sha256_of_lines

Size = tuple[int, int]
"""Height and width."""
WHERE = "datasets.train"
SIDES = {"hr": "gt", "lr": "lq"}
"""How BasicSR calls HR and LR."""


class PairSource:
    """The pairs of a training set, in PairedImageDataset's order.

    Args:
        dataset: Says which file or LMDB key is paired with which.

    Attributes:
        keys: A name for each pair: HR's LMDB key, or its path below ``dataroot_gt`` without the extension.

    Raises:
        InputError: An LMDB is not whole, or the images are kept in a way that cannot be read here.
    """

    def __init__(self, dataset: PairedImageDataset) -> None:
        self._folders = {"hr": Path(dataset.gt_folder), "lr": Path(dataset.lq_folder)}
        self._paths = {side: [pair[f"{stock}_path"] for pair in dataset.paths] for side, stock in SIDES.items()}
        self._color = dataset.opt.get("color")
        self._scale = dataset.opt["scale"]
        # stock takes `type` out of these options when it reads its first image; PairSource is made before
        kind = dataset.io_backend_opt["type"]
        if kind not in ("lmdb", "disk"):
            raise InputError(f"{WHERE}.io_backend.type", kind, "a teacher cache needs lmdb or disk", "Write one.")
        self._lmdbs: dict[str, LmdbImages] = {}
        self._in_lmdb = kind == "lmdb"
        hr = self._folders["hr"]
        self.keys = [path if self._in_lmdb else _key(path, hr) for path in self._paths["hr"]]

    def sizes(self, side: str) -> list[Size]:
        """Height and width of every image of ``hr`` or ``lr``, from the headers.

        Raises:
            InputError: A file is no image.
        """
        if self._in_lmdb:
            shapes = read_meta_info(option(side), self._folders[side])
            return [shapes[path][:2] for path in self._paths[side]]
        return [_size_of_file(option(side), path) for path in self._paths[side]]

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
        path = self._paths[side][index]
        try:
            return decode_bgr(self._lmdb(side).read(path) if self._in_lmdb else Path(path).read_bytes())
        except OSError as error:
            raise InputError(option(side), path, f"it cannot be read ({error.strerror})", "Mend the set.") from error
        except ImageFault as error:
            remedy = "Run prepare_data.py verify on the set."
            raise InputError(option(side), path, f"this image of it: {error}", remedy) from error

    def _lmdb(self, side: str) -> LmdbImages:
        if side not in self._lmdbs:
            self._lmdbs[side] = LmdbImages(option(side), self._folders[side])
        return self._lmdbs[side]

    def check_sizes(self) -> None:
        """Check that every HR image is ``scale`` times its LR image.

        Raises:
            InputError: One is not; it is named.
        """
        for key, (h, w), (h_lr, w_lr) in zip(self.keys, self.sizes("hr"), self.sizes("lr")):
            if (h, w) != (h_lr * self._scale, w_lr * self._scale):
                problem = f"HR is {h}x{w} and LR {h_lr}x{w_lr}, which is not x{self._scale}"
                raise InputError(f"{WHERE}: image", key, problem, "Run prepare_data.py verify on the set.")


def open_pairs(section: Mapping[str, Any]) -> PairSource:
    """The pairs that a run's ``datasets.train`` names, whatever its type.

    Raises:
        InputError: The sets are not there, or are not pairs.
    """
    own = {**section, "io_backend": dict(section["io_backend"])}
    try:
        return PairSource(PairedImageDataset(own))
    except InputError:
        raise
    except (AssertionError, ValueError, OSError) as error:
        problem = f"BasicSR cannot pair it with dataroot_lq ({' '.join(str(error).split())[:300]})"
        raise InputError(f"{WHERE}.dataroot_gt", section.get("dataroot_gt"), problem, "Mend the sets.") from error


def option(side: str) -> str:
    """The key of the options that names a side's images."""
    return f"{WHERE}.dataroot_{SIDES[side]}"


def _key(path: str, folder: Path) -> str:
    return Path(path).relative_to(folder).with_suffix("").as_posix()


@lru_cache(maxsize=1 << 17)
def _size_of_file(name: str, path: str) -> Size:
    try:
        with Image.open(path) as image:  # reads the header alone
            return image.height, image.width
    except (OSError, UnidentifiedImageError) as error:
        raise InputError(name, path, f"it cannot be read as an image ({error})", "Mend the set.") from error
