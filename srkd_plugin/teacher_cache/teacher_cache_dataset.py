"""BasicSR's PairedImageDataset with the teacher's image in every item, read from a cache."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import numpy as np
from basicsr.data.paired_image_dataset import PairedImageDataset, bgr2ycbcr
from basicsr.data.transforms import augment, paired_random_crop
from basicsr.utils import FileClient, get_root_logger, imfrombytes, img2tensor
from basicsr.utils.registry import DATASET_REGISTRY

from srkd_plugin.errors import OptionsError
from srkd_plugin.images.decode import ImageFault
from srkd_plugin.options import reader
from srkd_plugin.teacher_cache.encoding import decode
from srkd_plugin.teacher_cache.info import differences
from srkd_plugin.teacher_cache.shards import Folders, OpenCache
from srkd_plugin.teacher_cache.source_pairs import PairSource, pairs_of_dataset
from srkd_plugin.teacher_cache.store import HR, LR, TEACHER, CacheReader

OPTION = "datasets.train.dataroot_teacher"


@DATASET_REGISTRY.register()
class TeacherCacheDataset(PairedImageDataset):
    """Items of PairedImageDataset, and ``teacher``: float32 ``(C, gt_size, gt_size)``, RGB, in about 0..1.

    With a cache for each of several names, there is ``teacher_<name>`` for each of them instead, all of the same crop.

    It draws from Python's ``random`` what PairedImageDataset draws, through the same functions: with a seed, a run has
    the same crops and augmentations with a cache as without. ``teacher`` is cropped and augmented like ``gt``.

    Where a cache has the decoded images too, LR and HR are read from it, and the sets that the options name serve for
    comparison only.

    Args:
        opt: PairedImageDataset's keys, and ``dataroot_teacher``: the cache, or all its shards, or those by name.

    Raises:
        OptionsError: A cache is not there or not complete, or is of other images; or shards are not all of one cache.
    """

    file_client: Any
    """BasicSR's; None until the process that reads opens it."""

    def __init__(self, opt: dict[str, Any]) -> None:
        super().__init__(opt)
        given = reader.read_cache_section(opt).dataroot_teacher
        folders = given if isinstance(given, dict) else {"": given}
        source = pairs_of_dataset(self)
        self._keys = source.keys
        self._caches = {name: _open(name, cache, source) for name, cache in folders.items()}
        self._with_images = next((c for c in self._caches.values() if c.info.making.with_images), None)

    def __getitem__(self, index: int) -> dict[str, Any]:
        """One item; see the class."""
        hr, lr, *teachers = self._crops(index)
        hr, *teachers, lr = augment([hr, *teachers, lr], self.opt["use_hflip"], self.opt["use_rot"])
        if self.opt.get("color") == "y":  # the teachers' images are Y already
            hr, lr = (bgr2ycbcr(image, y_only=True)[..., None] for image in (hr, lr))
        gt, lq, *targets = img2tensor([hr, lr, *teachers], bgr2rgb=True, float32=True)
        named = {f"teacher_{name}" if name else "teacher": image for name, image in zip(self._caches, targets)}
        return {"lq": lq, "gt": gt, **named, **self.paths[index]}

    def _crops(self, index: int) -> list[np.ndarray]:
        """HR, LR and each teacher's image of one random crop, float32."""
        with ExitStack() as views:
            hr, lr = self._pair(views, index)
            wholes = [self._teacher(views, name, index, hr.shape[:2]) for name in self._caches]
            (hr, *crops), lr = paired_random_crop(
                [hr, *wholes], lr, self.opt["gt_size"], self.opt["scale"], self.paths[index]["gt_path"]
            )
            images = [image.astype(np.float32) / 255.0 for image in (hr, lr)]
            storages = [cache.info.making.storage for cache in self._caches.values()]
            return [*images, *map(decode, crops, storages)]

    def _teacher(self, views: ExitStack, name: str, index: int, size: tuple[int, ...]) -> np.ndarray:
        """A teacher's image whole, as it is stored."""
        part = self._caches[name].part_of(self._keys[index])
        with self._named_errors(part, name, index):
            image = views.enter_context(part.views())(TEACHER, self._keys[index])
            if image.shape[:2] != size:
                raise ImageFault(f"it is {image.shape[:2]}, and HR {size}")
            return image

    @contextmanager
    def _named_errors(self, cache: CacheReader, name: str, index: int) -> Iterator[None]:
        try:
            yield
        except ImageFault as error:
            problem, remedy = f"image {self._keys[index]}: {error}", "Run srkd cache repair."
            raise OptionsError(_option(name), str(cache.folder), problem, remedy) from error

    def _pair(self, views: ExitStack, index: int) -> tuple[np.ndarray, np.ndarray]:
        """HR and LR whole, uint8."""
        if self._with_images is not None:
            part = self._with_images.part_of(self._keys[index])
            with self._named_errors(part, "", index):
                view = views.enter_context(part.views())
                return view(HR, self._keys[index]), view(LR, self._keys[index])
        if self.file_client is None:  # as PairedImageDataset does it, in the process that reads
            self.file_client = FileClient(self.io_backend_opt.pop("type"), **self.io_backend_opt)
        gt, lq = (self.file_client.get(self.paths[index][f"{side}_path"], side) for side in ("gt", "lq"))
        return imfrombytes(gt), imfrombytes(lq)


def _option(name: str) -> str:
    return f"{OPTION}.{name}" if name else OPTION


def _open(name: str, folders: Folders, source: PairSource) -> OpenCache:
    """Open a cache that must be of these images, and say in the log what it is."""
    cache = OpenCache(_option(name), folders)
    different = differences(cache.info.source, source.identity())
    if different:
        remedy = "Name the sets that it was made of, or make it again."
        raise OptionsError(_option(name), str(cache), f"it is of other images: {'; '.join(different)}", remedy)
    cache.require_keys(source.keys)
    making = cache.info.making
    get_root_logger().info(
        f"Teacher cache {cache}: {making.storage}, "
        f"{'self-ensemble' if making.self_ensemble else 'single pass'}, LR and HR from "
        f"{'the cache' if making.with_images else 'their own sets'}."
    )
    return cache
