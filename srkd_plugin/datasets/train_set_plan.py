"""What a training set is made of, and where it goes."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from srkd_plugin.datasets.official_lr import pair_official_lr
from srkd_plugin.datasets.sub_images import HR, CutJob, Kind
from srkd_plugin.errors import InputError
from srkd_plugin.images.listing import Listing, list_folder
from srkd_plugin.images.lmdb_store import check_key
from srkd_plugin.utils.files import UNFINISHED, sha256_of_lines


@dataclass(frozen=True)
class TrainSet:
    """What a training set is made of, and where it goes.

    Raises:
        InputError: The settings do not fit each other, or the folders are not as expected.
    """

    hr: tuple[Path, ...]
    """Folders of photographs; together they are one set."""
    out: Path
    """Folder to write to."""
    name: str
    """Start of the names of what is written, e.g. ``DIV2K_train``."""
    scales: tuple[int, ...]
    lr: dict[int, Path] = field(default_factory=dict)
    """Folder of official LR images by scale; LR of other scales is computed."""
    size: int = 480
    """Side of the sub-images, in HR pixels."""
    step: int = 240
    """Distance from one sub-image to the next, in HR pixels."""
    compression: int = 1
    """PNG compression level, 0 to 9; BasicSR uses 1."""

    def __post_init__(self) -> None:
        """Check the settings."""
        for scale in self.scales:
            for option, value in (("--size", self.size), ("--step", self.step)):
                if value < 1 or value % scale:
                    problem = f"it is not a multiple of the scale, {scale}"
                    raise InputError(option, value, problem, f"Write e.g. {max(value // scale, 1) * scale}.")
        check_key(f"{self.name}_")
        if os.sep in self.name:
            raise InputError("--name", self.name, "it is a path", "Give a name; the folder is --out.")

    @cached_property
    def listings(self) -> dict[Path, Listing]:
        """What the folders of HR and of official LR hold."""
        named = [("--gt", folder) for folder in self.hr] + [("--lq", folder) for folder in self.lr.values()]
        return {folder: list_folder(option, folder) for option, folder in named}

    @cached_property
    def photographs(self) -> dict[str, Path]:
        """HR files by stem, sorted."""
        photographs: dict[str, Path] = {}
        for folder in self.hr:
            for stem, path in self.listings[folder].images("--gt").items():
                check_key(stem)
                if stem in photographs:
                    problem = f"{stem} is in {photographs[stem].parent} too"
                    raise InputError("--gt", str(folder), problem, "Remove or rename one of them.")
                photographs[stem] = path
        return dict(sorted(photographs.items()))

    @cached_property
    def official_lr(self) -> dict[int, dict[str, Path]]:
        """LR files by scale and stem of the photograph; DIV2K's ``0001x2.png`` belongs to ``0001.png``."""
        files = {scale: self.listings[folder].images("--lq") for scale, folder in self.lr.items()}
        return {scale: pair_official_lr(list(self.photographs), files[scale], scale, self.lr[scale]) for scale in files}

    @cached_property
    def recipe(self) -> dict[str, Any]:
        """What tells this set from another one; sources are known by name and size."""
        return {
            "size": self.size,
            "step": self.step,
            "scales": list(self.scales),
            "compression": self.compression,
            "photographs": len(self.photographs),
            "sha256 of their names and sizes": _fingerprint(self.photographs),
            "official LR": {f"X{scale}": _fingerprint(files) for scale, files in self.official_lr.items()},
        }

    @property
    def lmdbs(self) -> dict[Kind, Path]:
        """The LMDBs, named as in BasicSR's options files."""
        lr: dict[Kind, Path] = {scale: self.out / f"{self.name}_LR_bicubic_X{scale}_sub.lmdb" for scale in self.scales}
        return {HR: self.out / f"{self.name}_HR_sub.lmdb", **lr}

    @property
    def meta_info(self) -> Path:
        """Names and sizes of the HR sub-images, as BasicSR's ``meta_info_file``."""
        return self.out / f"meta_info_{self.name}_sub_GT.txt"

    @property
    def info(self) -> Path:
        """What was made: recipe, counts, sizes, and sha256 of the keys. It is there only if the set is complete."""
        return self.out / f"{self.name}_info.json"

    @property
    def work(self) -> Path:
        """The work folder."""
        return self.out / f".{self.name}{UNFINISHED}"

    def job(self, stem: str) -> CutJob:
        """A photograph's part of the work."""
        lr = {scale: files[stem] for scale, files in self.official_lr.items()}
        return CutJob(stem, self.photographs[stem], lr, self.scales, self.size, self.step, self.compression)


def _fingerprint(files: dict[str, Path]) -> str:
    return sha256_of_lines(f"{stem} {path.stat().st_size}" for stem, path in files.items())
