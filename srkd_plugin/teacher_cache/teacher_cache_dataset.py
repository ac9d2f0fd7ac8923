"""BasicSR's PairedImageDataset with the teacher's image in every item, read from a cache."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any, Optional

import numpy as np
from basicsr.data.paired_image_dataset import PairedImageDataset, bgr2ycbcr
from basicsr.data.transforms import augment, paired_random_crop
from basicsr.utils import FileClient, get_root_logger, imfrombytes, img2tensor
from basicsr.utils.registry import DATASET_REGISTRY

from srkd_plugin.errors import OptionsError
from srkd_plugin.images.decode import ImageFault
from srkd_plugin.options import reader
from srkd_plugin.options.step_sections import ZoomKind
from srkd_plugin.teacher_cache.encoding import decode
from srkd_plugin.teacher_cache.entry_kinds import (
    HR,
    LR,
    OF_TEACHER,
    TEACHER,
    ZOOM_IN_TEACHER,
    ZOOM_OUT_LQ,
    ZOOM_OUT_TEACHER,
)
from srkd_plugin.teacher_cache.info import differences
from srkd_plugin.teacher_cache.shards import Folders, OpenCache
from srkd_plugin.teacher_cache.source_pairs import PairSource, pairs_of_dataset
from srkd_plugin.teacher_cache.store import CacheReader, View
from srkd_plugin.teacher_cache.zoom_crops import CropPlace, ZoomInImages

OPTION = "datasets.train.dataroot_teacher"


@DATASET_REGISTRY.register()
class TeacherCacheDataset(PairedImageDataset):
    """Items of PairedImageDataset, and ``teacher``: float32 ``(C, gt_size, gt_size)``, RGB, in about 0..1.

    With a cache for each of several names, there is ``teacher_<name>`` for each of them instead, all of the same crop.

    It draws from Python's ``random`` what PairedImageDataset draws, through the same functions: with a seed, a run has
    the same crops and augmentations with a cache as without. ``teacher`` is cropped and augmented like ``gt``.

    Where a cache has the decoded images too, LR and HR are read from it, and the sets that the options name serve for
    comparison only.

    Where all caches have the teacher's images of zoomed inputs (``train.samples``), an item has them too, turned like
    all its images; those of several teachers under names that go on, e.g. ``zoom_in_teacher_edsr``:

    - ``zoom_in_teacher``: the teacher's image of the crop of HR, ``(C, scale * gt_size, scale * gt_size)``. Where a
      cache has those of some HR images alone, ``zoom_in_gt`` is the crop of HR that it belongs to;
    - ``zoom_out_lq``, ``zoom_out_gt`` and ``zoom_out_teacher``: the crop of LR shrunk by the scale, whose sides are
      ``gt_size / scale / scale``; the LR pixels that belong to it; and the teacher's image of it.

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
        self._zoom_in, self._zoom_out = (self._zoomed(kind) for kind in ("zoom_in", "zoom_out"))
        zooms = {cache.info.zoom for cache in self._zoom_in.values()}
        self._taken: Optional[ZoomInImages] = None
        if len(zooms) == 1 and (zoom := zooms.pop()) is not None:
            self._taken = ZoomInImages(zoom, self._keys)

    def _zoomed(self, kind: ZoomKind) -> dict[str, OpenCache]:
        """The caches of other inputs by name, if all have one."""
        found = {name: cache.zoomed(kind) for name, cache in self._caches.items()}
        return {name: zoomed for name, zoomed in found.items() if zoomed is not None and None not in found.values()}

    def __getitem__(self, index: int) -> dict[str, Any]:
        """One item; see the class."""
        with ExitStack() as views:
            images = self._crops(views, index)
        turned = augment(list(images.values()), self.opt["use_hflip"], self.opt["use_rot"])
        if self.opt.get("color") == "y":  # the teachers' images are Y already
            of_teacher = ["teacher" in name for name in images]
            turned = [
                image if is_y else bgr2ycbcr(image, y_only=True)[..., None] for is_y, image in zip(of_teacher, turned)
            ]
        tensors = img2tensor(turned, bgr2rgb=True, float32=True)
        return {**dict(zip(images, tensors)), **self.paths[index]}

    def _crops(self, views: ExitStack, index: int) -> dict[str, np.ndarray]:
        """One random crop of HR, LR and each teacher's image, and the zoomed inputs that belong to it, float32."""
        scale, size = self.opt["scale"], self.opt["gt_size"]
        hr, lr = self._pair(views, index)
        wholes = [self._teacher(views, cache, index, hr.shape[:2]) for cache in self._caches.values()]
        h, w = lr.shape[:2]
        rows, columns = np.broadcast_arrays(*np.ogrid[:h, :w])  # cropped too: it is not said where the crop is
        (hr, *crops), (crop, rows, columns) = paired_random_crop(
            [hr, *wholes], [lr, rows, columns], size, scale, self.paths[index]["gt_path"]
        )
        place = CropPlace(int(rows[0, 0]), int(columns[0, 0]), size // scale)
        images = {"gt": _decoded(hr), "lq": _decoded(crop)}
        for (name, cache), crop in zip(self._caches.items(), crops):
            images[_item("teacher", name)] = decode(crop, cache.info.making.storage)
        if self._taken is not None:
            images.update(self._zoomed_in(views, self._taken, index, place))
        if self._zoom_out:
            images.update(self._zoomed_out(views, index, place, lr))
        return images

    def _zoomed_in(self, views: ExitStack, chosen: ZoomInImages, index: int, place: CropPlace) -> dict[str, np.ndarray]:
        """The teacher's images of a crop of HR; and that crop, where it may be another image's."""
        scale, images, of = self.opt["scale"], {}, chosen.of(index)
        if not chosen.are_all:
            hr, lr = self._pair(views, of)
            place = place.inside(lr.shape[:2])
            images["zoom_in_gt"] = _decoded(place.enlarged(scale).cut(hr))
        for name, cache in self._zoom_in.items():
            cut = place.enlarged(scale * scale)
            images[_item("zoom_in_teacher", name)] = self._cut(views, cache, ZOOM_IN_TEACHER, of, cut)
        return images

    def _zoomed_out(self, views: ExitStack, index: int, place: CropPlace, lr: np.ndarray) -> dict[str, np.ndarray]:
        """The crop of shrunk LR, the LR pixels that it was made of, and the teacher's images of it."""
        scale, shrunk = self.opt["scale"], place.shrunk(self.opt["scale"])
        first = next(iter(self._zoom_out.values()))  # all have shrunk it alike
        images = {
            "zoom_out_lq": self._cut(views, first, ZOOM_OUT_LQ, index, shrunk),
            "zoom_out_gt": _decoded(shrunk.enlarged(scale).cut(lr)),
        }
        for name, cache in self._zoom_out.items():
            cut = shrunk.enlarged(scale)
            images[_item("zoom_out_teacher", name)] = self._cut(views, cache, ZOOM_OUT_TEACHER, index, cut)
        return images

    def _teacher(self, views: ExitStack, cache: OpenCache, index: int, size: tuple[int, ...]) -> np.ndarray:
        """A teacher's image whole, as it is stored."""
        part, view = self._view(views, cache, index)
        with self._named_errors(part, index):
            image = view(TEACHER, self._keys[index])
            if image.shape[:2] != size:
                raise ImageFault(f"it is {image.shape[:2]}, and HR {size}")
            return image

    def _cut(self, views: ExitStack, cache: OpenCache, kind: str, index: int, place: CropPlace) -> np.ndarray:
        """A crop of one of a cache's arrays, float32."""
        part, view = self._view(views, cache, index)
        with self._named_errors(part, index):
            crop = place.cut(view(kind, self._keys[index]))
        return decode(crop, part.info.making.storage) if kind in OF_TEACHER else _decoded(crop)

    def _view(self, views: ExitStack, cache: OpenCache, index: int) -> tuple[CacheReader, View]:
        """The part of a cache that has an image, open until the item is made."""
        part = cache.part_of(self._keys[index])
        return part, views.enter_context(part.views())

    @contextmanager
    def _named_errors(self, cache: CacheReader, index: int) -> Iterator[None]:
        try:
            yield
        except ImageFault as error:
            problem, remedy = f"image {self._keys[index]}: {error}", "Run srkd cache repair."
            raise OptionsError(cache.option, str(cache.folder), problem, remedy) from error

    def _pair(self, views: ExitStack, index: int) -> tuple[np.ndarray, np.ndarray]:
        """HR and LR whole, uint8."""
        if self._with_images is not None:
            part, view = self._view(views, self._with_images, index)
            with self._named_errors(part, index):
                return view(HR, self._keys[index]), view(LR, self._keys[index])
        if self.file_client is None:  # as PairedImageDataset does it, in the process that reads
            self.file_client = FileClient(self.io_backend_opt.pop("type"), **self.io_backend_opt)
        gt, lq = (self.file_client.get(self.paths[index][f"{side}_path"], side) for side in ("gt", "lq"))
        return imfrombytes(gt), imfrombytes(lq)


def _decoded(image: np.ndarray) -> np.ndarray:
    """Decoded pixels, uint8, as BasicSR's ``imfrombytes`` gives them to its data sets."""
    return image.astype(np.float32) / 255.0


def _item(key: str, name: str) -> str:
    return f"{key}_{name}" if name else key


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
