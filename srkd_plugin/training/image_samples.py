"""Image samples for TensorBoard: what the student makes of the centres of a validation set's first images."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Optional

import torch
from basicsr.models.sr_model import SRModel
from torch import Tensor
from torch.nn import functional as F
from torch.utils.data import DataLoader

from srkd_plugin.training import random_state

LEAST_SIDE = 64
"""LQ pixels from which a sample's sides are large enough to look at."""
GAP = 4
"""White pixels between the images of a sample."""


class ImageSamples:
    """Gives TensorBoard one picture for each of the first images of a validation set: ``samples/<set>/<image>``.

    From left to right: the LQ crop, its pixels enlarged; the student's image (its average's, where there is one); the
    teacher's, where one runs; GT, where there is one. Crops are of the centre, and the same at every validation.

    Args:
        count: Images of each set; 0: none.
        unit: LQ pixels of a training crop's side. A sample's sides are multiples of it, which student and teacher take.
        scale: SR factor.
    """

    def __init__(self, count: int, unit: int, scale: int) -> None:
        self.count, self._unit, self._scale = count, unit, scale
        self._side = -(-LEAST_SIDE // unit) * unit

    def show(self, model: SRModel, loader: DataLoader, iteration: int, tb_logger: Any) -> None:
        """Add the pictures of a set; the model's training and the random state are as they were.

        Args:
            model: A :class:`~srkd_plugin.training.resumable.ResumableModel`, on one rank; between two steps.
            loader: The set's loader, as BasicSR builds it.
            iteration: The iteration that was validated.
            tb_logger: BasicSR's TensorBoard logger.
        """
        images: Any = loader.dataset
        before = random_state.capture()
        wrapped, was_training = model.net_g, model.is_train
        model.net_g = model.get_bare_model(wrapped)  # DDP would wait for the other ranks
        model.is_train = False  # a model that degrades what it is given takes these images as they are
        try:
            for index in _by_name(images)[: self.count]:
                image = images[index]
                name = Path(str(image["lq_path"])).stem
                tb_logger.add_image(f"samples/{images.opt['name']}/{name}", self._picture(model, image), iteration)
        finally:
            model.net_g, model.is_train = wrapped, was_training
            for name in ("lq", "gt", "output"):  # as after a validation
                if name in vars(model):
                    delattr(model, name)
            random_state.restore(before)

    def _picture(self, model: SRModel, image: Mapping[str, Any]) -> Tensor:
        """``(C, H, W)`` in 0..1, on the CPU."""
        crops = self._crops(image)
        model.feed_data({**image, **crops})
        model.test()
        lq, sr, gt = model.lq, model.output, crops.get("gt")
        fits = all(side % self._unit == 0 for side in lq.shape[-2:])
        teachers = model.teachers_image(lq, None if gt is None else gt.to(lq)) if fits else None
        enlarged = F.interpolate(lq, scale_factor=self._scale, mode="nearest")
        columns = [part.float().cpu().clamp(0, 1) for part in (enlarged, sr, teachers, gt) if part is not None]
        gap = torch.ones(*columns[0].shape[:-1], GAP)
        row = [part for column in columns for part in (column, gap)][:-1]
        return torch.cat(row, dim=-1)[0]

    def _crops(self, image: Mapping[str, Any]) -> dict[str, Tensor]:
        """The centre of LQ ``(1, C, h, w)``, and the same place of GT where there is one."""
        spans = [self._span(length) for length in image["lq"].shape[-2:]]
        factors = {"lq": 1, "gt": self._scale}
        return {key: _cut(image[key], spans, factor)[None] for key, factor in factors.items() if key in image}

    def _span(self, length: int) -> tuple[int, int]:
        """Begin and end of the crop along a side; all of one that is shorter than a training crop's."""
        side = min(self._side, length // self._unit * self._unit) or length
        begin = (length - side) // 2
        return begin, begin + side


def _by_name(images: Any) -> list[int]:
    """Indices in the order of the file names: BasicSR lists folders in an order that each machine has of its own."""
    paths = getattr(images, "paths", None)
    if not isinstance(paths, list) or len(paths) != len(images):
        return list(range(len(images)))
    names = [str(path["lq_path"] if isinstance(path, Mapping) else path) for path in paths]
    return sorted(range(len(images)), key=names.__getitem__)


def _cut(image: Tensor, spans: list[tuple[int, int]], factor: int) -> Tensor:
    (top, bottom), (left, right) = spans
    return image[..., top * factor : bottom * factor, left * factor : right * factor]


def why_none(count: int, name: str, use_tb_logger: bool, validates: bool) -> Optional[str]:
    """Why samples that are asked for will not be there, in one line; None where they will, or are not asked for."""
    if not count:
        return None
    if not validates:
        return f"logger.image_samples = {count}: the run has no validation (val), after which samples are made."
    if not use_tb_logger or "debug" in name:
        what = (
            "logger.use_tb_logger is false" if not use_tb_logger else "BasicSR logs no run whose name has debug in it"
        )
        return f"logger.image_samples = {count}: there will be none, as TensorBoard is off ({what})."
    return None
