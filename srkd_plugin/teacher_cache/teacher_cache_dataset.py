"""BasicSR's PairedImageDataset with the teacher's image in every item, read from a cache."""

from __future__ import annotations

from pathlib import Path
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
from srkd_plugin.teacher_cache.source_pairs import pairs_of_dataset
from srkd_plugin.teacher_cache.store import HR, LR, TEACHER, CacheReader, View

OPTION = "datasets.train.dataroot_teacher"


@DATASET_REGISTRY.register()
class TeacherCacheDataset(PairedImageDataset):
    """Items of PairedImageDataset, and ``teacher``: float32 ``(C, gt_size, gt_size)``, RGB, in about 0..1.

    It draws from Python's ``random`` what PairedImageDataset draws, through the same functions: with a seed, a run has
    the same crops and augmentations with a cache as without. ``teacher`` is cropped and augmented like ``gt``.

    Where the cache has the decoded images too, LR and HR are read from it, and the sets that the options name serve for
    comparison only.

    Args:
        opt: PairedImageDataset's keys, and ``dataroot_teacher``, the cache.

    Raises:
        OptionsError: The cache is not there or not complete, or is of other images.
    """

    file_client: Any
    """BasicSR's; None until the process that reads opens it."""

    def __init__(self, opt: dict[str, Any]) -> None:
        super().__init__(opt)
        section = reader.read_cache_section(opt)
        source = pairs_of_dataset(self)
        self._keys = source.keys
        self._cache = CacheReader(OPTION, Path(section.dataroot_teacher))
        different = differences(self._cache.info.source, source.identity())
        if different:
            remedy = "Name the sets that it was made of, or make it again."
            raise OptionsError(
                OPTION, section.dataroot_teacher, f"it is of other images: {'; '.join(different)}", remedy
            )
        making = self._cache.info.making
        get_root_logger().info(
            f"Teacher cache {section.dataroot_teacher}: {making.storage}, "
            f"{'self-ensemble' if making.self_ensemble else 'single pass'}, LR and HR from "
            f"{'the cache' if making.with_images else 'their own sets'}."
        )

    def __getitem__(self, index: int) -> dict[str, Any]:
        """One item; see the class."""
        hr, lr, teacher = self._crops(index)
        hr, teacher, lr = augment([hr, teacher, lr], self.opt["use_hflip"], self.opt["use_rot"])
        if self.opt.get("color") == "y":  # the teacher's image is Y already
            hr, lr = (bgr2ycbcr(image, y_only=True)[..., None] for image in (hr, lr))
        gt, lq, target = img2tensor([hr, lr, teacher], bgr2rgb=True, float32=True)
        return {"lq": lq, "gt": gt, "teacher": target, **self.paths[index]}

    def _crops(self, index: int) -> list[np.ndarray]:
        """HR, LR and teacher of one random crop, float32."""
        key = self._keys[index]
        try:
            with self._cache.views() as view:
                hr, lr = self._pair(view, index)
                teacher = view(TEACHER, key)
                if teacher.shape[:2] != hr.shape[:2]:
                    raise ImageFault(f"it is {teacher.shape[:2]}, and HR {hr.shape[:2]}")
                (hr, teacher), lr = paired_random_crop(
                    [hr, teacher], lr, self.opt["gt_size"], self.opt["scale"], self.paths[index]["gt_path"]
                )
                images = [image.astype(np.float32) / 255.0 for image in (hr, lr)]
                return [*images, decode(teacher, self._cache.info.making.storage)]
        except ImageFault as error:
            remedy = "Run srkd cache repair."
            raise OptionsError(OPTION, self.opt["dataroot_teacher"], f"image {key}: {error}", remedy) from error

    def _pair(self, view: View, index: int) -> tuple[np.ndarray, np.ndarray]:
        """HR and LR whole, uint8."""
        if self._cache.info.making.with_images:
            return view(HR, self._keys[index]), view(LR, self._keys[index])
        if self.file_client is None:  # as PairedImageDataset does it, in the process that reads
            self.file_client = FileClient(self.io_backend_opt.pop("type"), **self.io_backend_opt)
        gt, lq = (self.file_client.get(self.paths[index][f"{side}_path"], side) for side in ("gt", "lq"))
        return imfrombytes(gt), imfrombytes(lq)
