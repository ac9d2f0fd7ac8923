"""A cache that is wanted: its teacher, its images, how it is made, and where it goes."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import InitVar, dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, Optional

import torch

import srkd_plugin
from srkd_plugin.errors import MISSING, InputError, OptionsError
from srkd_plugin.options import reader
from srkd_plugin.options.registered_names import makes_lq
from srkd_plugin.parallel.torchrun import Processes
from srkd_plugin.teacher_cache.entry_kinds import OF_TEACHER, dtype_of, is_taken, kinds_of, size_of
from srkd_plugin.teacher_cache.info import CacheInfo, Making, Shard, Zoom
from srkd_plugin.teacher_cache.matches_run import teacher_identity
from srkd_plugin.teacher_cache.source_pairs import PairSource, open_pairs
from srkd_plugin.teacher_cache.store import HEADER

PAGE, PAGE_HEADER = 4096, 16
"""Bytes of LMDB's pages, and what it keeps of the first page of a value."""


@dataclass
class CacheJob:
    """A cache to make.

    Args:
        opt: The options of the training run.
        out: The cache; None: where the options say.
        making: How to make it.
        device: Where the teacher runs.
        processes: Who makes it.
        shard: Which part of it; None: all of it.
        zoom: Of which inputs beside LR; None: of LR. It lies inside of the cache of LR, which has to be there.

    Attributes:
        folder: Where the cache is when it is complete.
        owned: The folder that one process works in at a time: that of the cache of LR.
        source: The images that it is made of: those of the shard.
    """

    opt: Mapping[str, Any]
    out: InitVar[Optional[Path]]
    making: Making
    device: torch.device
    processes: Processes = field(default_factory=Processes)
    shard: Optional[Shard] = None
    zoom: Optional[Zoom] = None

    def __post_init__(self, out: Optional[Path]) -> None:
        """Read the options.

        Raises:
            OptionsError: The options, the weights or the images are not what is needed, or a shard would be empty.
        """
        if makes_lq(self.opt):
            problem = "it makes LQ images anew in every iteration, so that no cache has the teacher's images of them"
            raise OptionsError("model_type", self.opt["model_type"], problem, "Train without a cache.")
        self.ours = reader.read_plugin_sections(self.opt)
        reader.require_network_t(self.opt)
        self.folder = self.owned = cache_folder(self.opt, out, self.shard)
        if self.zoom is not None:
            self.folder = self.owned / self.zoom.kind
            self.making = self.making.model_copy(update={"with_images": False})
        self.scale: int = self.opt["scale"]
        train_set = self.opt["datasets"]["train"]
        self.crop: int = train_set["gt_size"]
        self.color: Optional[str] = train_set.get("color")
        roots = {k: os.path.expanduser(train_set[k]).rstrip(os.sep) for k in ("dataroot_gt", "dataroot_lq")}
        self._all_images: PairSource = open_pairs({**train_set, **roots}, self.scale)
        self._all_images.check_sizes()
        if self.zoom is not None:
            self._check_zoom(self.zoom)
        self.source = self._all_images if self.shard is None else self._images_of(self.shard)

    def _check_zoom(self, zoom: Zoom) -> None:
        if not any(is_taken(zoom, key) for key in self._all_images.keys):
            problem = f"of {len(self._all_images.keys)} images none is chosen, as their names decide"
            raise InputError("--zoom-in", zoom.every, problem, "Give a smaller number; 1 is all of them.")
        side = self.crop // self.scale
        if zoom.kind == "zoom_out" and side % self.scale:
            problem = (
                f"datasets.train.gt_size {self.crop} gives crops of {side} LQ pixels per side, which are not shrunk"
            )
            raise InputError("--zoom-out", True, problem, f"Let gt_size be a multiple of {self.scale**2}.")

    def _images_of(self, shard: Shard) -> PairSource:
        keys = self._all_images.keys
        if shard.count > len(keys):
            problem = f"the set has {len(keys)} images, so that some shards would be empty"
            raise InputError("--shard", str(shard), problem, f"Make at most {len(keys)} shards.")
        return self._all_images.part(shard.indices(keys))

    @cached_property
    def info(self) -> CacheInfo:
        """What the cache will say of itself before it is measured."""
        weights = Path(self.ours.path.pretrain_network_t or "").name
        return CacheInfo(
            teacher=teacher_identity(self.ours),
            source=self._all_images.identity(),
            making=self.making,
            shard=self.shard,
            zoom=self.zoom,
            made_by={"srkd_plugin": srkd_plugin.__version__, "torch": torch.__version__, "weights": weights},
        )

    @cached_property
    def bytes(self) -> int:
        """What the cache takes on the disk, to a few percent."""
        total = 0
        for key, size in zip(self.source.keys, self.source.sizes("hr")):
            for kind in kinds_of(self.info, key):
                channels = 1 if self.color == "y" and kind in OF_TEACHER else 3
                h, w = size_of(kind, size, self.scale)
                total += stored_bytes(h * w * channels * dtype_of(kind, self.making).itemsize)
        return total


def cache_folder(opt: Mapping[str, Any], out: Optional[Path], shard: Optional[Shard] = None) -> Path:
    """The cache's folder: ``out`` or, if that is not given, where the options say.

    Args:
        opt: The options.
        out: What ``--out`` says.
        shard: The part of the cache that is asked for; the options then list as many folders as there are shards.

    Raises:
        InputError: Neither says it, or the options list other shards.
    """
    if out is not None:
        return out
    if not reader.reads_cache(opt):
        problem = f"the options have no {reader.CACHE_DATASET} to say where the cache belongs"
        raise InputError("--out", None, problem, "Give --out.")
    named = reader.read_cache_section(opt["datasets"]["train"]).dataroot_teacher
    if not isinstance(named, list) and shard is not None:
        problem = f"dataroot_teacher of the options is one cache ({named})"
        raise InputError("--shard", str(shard), problem, f"Give --out, or list {shard.count} shards in the options.")
    if not isinstance(named, list):
        return Path(str(named))
    listed = f"dataroot_teacher of the options lists {len(named)} shards"
    if shard is None:
        raise InputError("--shard", MISSING, listed, f"Give e.g. --shard 1/{len(named)}, or --out.")
    if shard.count != len(named):
        raise InputError("--shard", str(shard), listed, f"Give --out, or write e.g. 1/{len(named)}.")
    return Path(named[shard.index - 1])


def stored_bytes(values: int) -> int:
    """What an array takes on the disk.

    Args:
        values: Bytes of the array.
    """
    return -(-(PAGE_HEADER + HEADER + values) // PAGE) * PAGE
