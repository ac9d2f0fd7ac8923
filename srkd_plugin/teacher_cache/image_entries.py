"""What a cache stores of one image: computed by the teacher, or decoded."""

from __future__ import annotations

import functools

import numpy as np
import torch
from basicsr.data.paired_image_dataset import bgr2ycbcr
from basicsr.utils import img2tensor

from srkd_plugin.errors import InputError
from srkd_plugin.images.matlab_resize import downscale
from srkd_plugin.networks.padding import size_multiple
from srkd_plugin.networks.spandrel_arch import SpandrelModel
from srkd_plugin.networks.teacher import build_teacher, check_outputs
from srkd_plugin.networks.tiling import WholeImages
from srkd_plugin.teacher_cache.cache_job import CacheJob
from srkd_plugin.teacher_cache.encoding import Encoded, encode
from srkd_plugin.teacher_cache.entry_kinds import (
    HR,
    LR,
    TEACHER,
    ZOOM_IN_TEACHER,
    ZOOM_OUT_LQ,
    ZOOM_OUT_TEACHER,
    kinds_of,
    made_from,
)
from srkd_plugin.teacher_cache.store import Entry, fingerprint

PROBE = 16
"""Side of the image that the teacher is tried on, in multiples of what it takes."""


class RunningTeacher:
    """The teacher of a job, from decoded images to decoded images.

    Attributes:
        recognised_as: Its architecture, where that is told from its weights.
    """

    def __init__(self, job: CacheJob) -> None:
        self._device, self._color = job.device, job.color
        teacher = build_teacher(job.ours, job.device)
        self.recognised_as = teacher.net.recognised_as if isinstance(teacher.net, SpandrelModel) else None
        channels = 1 if job.color == "y" else 3
        side = PROBE * (size_multiple(teacher.net, channels, job.scale) or 1)
        probe = torch.rand(1, channels, side, side, device=job.device)
        expected = torch.Size((1, channels, side * job.scale, side * job.scale))
        check_outputs({"network_t": teacher.net}, probe, expected)
        making = job.making
        upscale = functools.partial(teacher.upscale, scale=job.scale)
        self._as_cached = WholeImages(upscale, job.scale, making.tile, making.overlap, making.self_ensemble)
        self._live = WholeImages(upscale, job.scale, None, 0, False)

    def as_cached(self, lr: np.ndarray) -> np.ndarray:
        """``(h, w, 3)`` BGR uint8 to ``(H, W, C)`` BGR float32, in the way that the cache is made."""
        return self._run(self._as_cached, lr)

    def live(self, lr: np.ndarray) -> np.ndarray:
        """The same in one pass, as a run without a cache does it."""
        return self._run(self._live, lr)

    def _run(self, run: WholeImages, lr: np.ndarray) -> np.ndarray:
        image = lr.astype(np.float32) / 255.0
        if self._color == "y":
            image = bgr2ycbcr(image, y_only=True)[..., None]
        tensor = img2tensor(image, bgr2rgb=True, float32=True)
        sr = run(tensor[None].to(self._device))[0].float().cpu().numpy()
        return np.ascontiguousarray(sr[::-1].transpose(1, 2, 0))


def entries_of(job: CacheJob, teacher: RunningTeacher, index: int) -> list[Entry]:
    """What is stored of an image.

    Raises:
        InputError: The image is damaged, or the teacher's output is no image.
    """
    key = job.source.keys[index]
    kinds = kinds_of(job.info, key)
    images = {side: job.source.read(side, index) for side in sorted({made_from(kind) for kind in kinds})}
    prints = {side: fingerprint(image) for side, image in images.items()}
    if not {ZOOM_OUT_LQ, ZOOM_OUT_TEACHER}.isdisjoint(kinds):
        images[ZOOM_OUT_LQ] = _shrunk(images[LR], job.scale)
    inputs = {TEACHER: LR, ZOOM_IN_TEACHER: HR, ZOOM_OUT_TEACHER: ZOOM_OUT_LQ}
    entries = []
    for kind in kinds:
        values, clipped = images.get(kind), 0
        if values is None:
            values, clipped = _encoded(job, teacher, key, images[inputs[kind]])
        entries.append(Entry(kind, key, values, prints[made_from(kind)], clipped))
    return entries


def _encoded(job: CacheJob, teacher: RunningTeacher, key: str, image: np.ndarray) -> Encoded:
    """The teacher's image as it is stored."""
    try:
        return encode(teacher.as_cached(image), job.making.storage)
    except ValueError as error:
        raise InputError("the teacher's output for image", key, str(error), "Use --storage float16?") from error


def _shrunk(lr: np.ndarray, scale: int) -> np.ndarray:
    """An LR image shrunk by the scale as it was itself; without the rows and columns that leave no whole pixel."""
    h, w = (length // scale * scale for length in lr.shape[:2])
    return downscale(lr[:h, :w], scale)
