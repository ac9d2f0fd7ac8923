"""Runs the teacher of a training run's options over its LR images, once, and keeps what comes out in a cache."""

from __future__ import annotations

import functools
import os
import shutil
from collections.abc import Mapping
from contextlib import nullcontext
from dataclasses import InitVar, dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, Optional

import numpy as np
import torch
from basicsr.data.paired_image_dataset import bgr2ycbcr
from basicsr.utils import img2tensor
from tqdm import tqdm

import srkd_plugin
from srkd_plugin.errors import InputError
from srkd_plugin.images.listing import say
from srkd_plugin.networks.padding import size_multiple
from srkd_plugin.networks.teacher import build_teacher, check_outputs
from srkd_plugin.networks.tiling import WholeImages
from srkd_plugin.options import reader
from srkd_plugin.parallel.torchrun import Processes
from srkd_plugin.teacher_cache.encoding import DTYPES, encode
from srkd_plugin.teacher_cache.info import CacheInfo, Making
from srkd_plugin.teacher_cache.matches_run import teacher_identity
from srkd_plugin.teacher_cache.measure import measure
from srkd_plugin.teacher_cache.source_pairs import PairSource, open_pairs
from srkd_plugin.teacher_cache.store import (
    HR,
    LR,
    TEACHER,
    CacheReader,
    CacheWriter,
    Entry,
    fingerprint,
    stored_bytes,
    unfinished,
)
from srkd_plugin.utils.owner import owned

PROBE = 16
"""Side of the image that the teacher is tried on, in multiples of what it takes."""


@dataclass
class CacheJob:
    """A cache to make.

    Args:
        opt: The options of the training run.
        out: The cache; None: where the options say.
        making: How to make it.
        device: Where the teacher runs.
        processes: Who makes it.

    Attributes:
        folder: Where the cache is when it is complete.
    """

    opt: Mapping[str, Any]
    out: InitVar[Optional[Path]]
    making: Making
    device: torch.device
    processes: Processes = field(default_factory=Processes)

    def __post_init__(self, out: Optional[Path]) -> None:
        """Read the options.

        Raises:
            OptionsError: The options, the weights or the images are not what is needed.
        """
        self.ours = reader.read_plugin_sections(self.opt)
        reader.require_network_t(self.opt)
        self.folder = cache_folder(self.opt, out)
        self.scale: int = self.opt["scale"]
        train_set = self.opt["datasets"]["train"]
        self.crop: int = train_set["gt_size"]
        self.color: Optional[str] = train_set.get("color")
        roots = {k: os.path.expanduser(train_set[k]).rstrip(os.sep) for k in ("dataroot_gt", "dataroot_lq")}
        self.source: PairSource = open_pairs({**train_set, **roots}, self.scale)
        self.source.check_sizes()

    @cached_property
    def info(self) -> CacheInfo:
        """What the cache will say of itself before it is measured."""
        weights = Path(self.ours.path.pretrain_network_t or "").name
        return CacheInfo(
            teacher=teacher_identity(self.ours),
            source=self.source.identity(),
            making=self.making,
            made_by={"srkd_plugin": srkd_plugin.__version__, "torch": torch.__version__, "weights": weights},
        )

    @cached_property
    def bytes(self) -> int:
        """What the cache takes on the disk, to a few percent."""
        channels = 1 if self.color == "y" else 3
        value = DTYPES[self.making.storage].itemsize * channels
        total = sum(stored_bytes(h * w * value) for h, w in self.source.sizes("hr"))
        if self.making.with_images:
            total += sum(stored_bytes(h * w * 3) for side in ("hr", "lr") for h, w in self.source.sizes(side))
        return total


def cache_folder(opt: Mapping[str, Any], out: Optional[Path]) -> Path:
    """The cache's folder: ``out`` or, if that is not given, where the options say.

    Raises:
        InputError: Neither says it.
    """
    if out is not None:
        return out
    if not reader.reads_cache(opt):
        problem = f"the options have no {reader.CACHE_DATASET} to say where the cache belongs"
        raise InputError("--out", None, problem, "Give --out.")
    return Path(reader.read_cache_section(opt["datasets"]["train"]).dataroot_teacher)


def make_cache(job: CacheJob) -> CacheInfo:
    """Make a cache, or continue one; one that is complete is left alone.

    Returns:
        What the cache says of itself, with the figures that were measured.

    Raises:
        OptionsError: The options, weights or images are wrong.
        InputError: There is another cache in its place, the disk is too small, an output is no image, or another
            process makes this cache.
    """
    if job.folder.exists():
        return _same_cache(job)
    with owned("--out", job.folder) if job.processes.is_first else nullcontext():
        return _make(job)


def _make(job: CacheJob) -> CacheInfo:
    if job.processes.is_first:
        _prepare(job)
    job.processes.wait()
    writer = CacheWriter(unfinished(job.folder), job.bytes)
    try:
        teacher = RunningTeacher(job)
        _fill(job, writer, teacher)
        job.processes.wait()
    finally:
        writer.close()
    if job.processes.is_first:
        _finish(job, teacher)
    job.processes.wait()
    return CacheReader("--out", job.folder).info


class RunningTeacher:
    """The teacher of a job, from decoded images to decoded images."""

    def __init__(self, job: CacheJob) -> None:
        self._device, self._color = job.device, job.color
        teacher = build_teacher(job.ours, job.device)
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


def _same_cache(job: CacheJob) -> CacheInfo:
    found = CacheReader("--out", job.folder).info
    refuse_another(found, job, job.folder)
    return found


def refuse_another(found: CacheInfo, job: CacheJob, folder: Path) -> None:
    """Refuse a cache that is not the job's.

    Raises:
        InputError: It says what differs.
    """
    different = found.differences(job.info)
    if different:
        problem = f"there is the cache of something else: {'; '.join(different)}"
        raise InputError("--out", str(folder), problem, "Give another --out, or delete it.")


def _prepare(job: CacheJob) -> None:
    """Make the unfinished cache, or check that the one that is there is this one."""
    folder = unfinished(job.folder)
    there = (folder / "data.mdb").stat().st_size if (folder / "data.mdb").exists() else 0
    parent = next(path for path in folder.absolute().parents if path.exists())
    free = shutil.disk_usage(parent).free
    say(job.source.images.left_out)
    print(f"{job.folder}: {len(job.source.keys):,} images, {_gb(job.bytes)}; {_gb(free)} are free", flush=True)
    if job.bytes - there > free:
        problem = f"the cache takes {_gb(job.bytes - there)} more, and {_gb(free)} are free"
        raise InputError(
            "--out", str(job.folder), problem, "Give a larger disk, or --storage uint8 (half, with an error)."
        )
    writer = CacheWriter(folder, job.bytes)
    try:
        found = writer.info()
        if found is None:
            writer.state(job.info)
        else:
            refuse_another(found, job, folder)
    finally:
        writer.close()


def _fill(job: CacheJob, writer: CacheWriter, teacher: RunningTeacher) -> None:
    """Compute and store what is missing, this process's share of it; an image is one transaction."""
    done = writer.keys(TEACHER)
    left = [index for index, key in enumerate(job.source.keys) if key not in done]
    job.processes.wait()  # all have seen the same before anybody writes
    own = left[job.processes.rank :: job.processes.count]
    total = len(own) + len(done) if job.processes.count == 1 else len(own)
    hidden = not job.processes.is_first
    with tqdm(total=total, initial=total - len(own), desc="teacher", unit="image", disable=hidden) as bar:
        for index in own:
            writer.put(entries_of(job, teacher, index))
            bar.update()


def entries_of(job: CacheJob, teacher: RunningTeacher, index: int) -> list[Entry]:
    """What is stored of an image.

    Raises:
        InputError: The image is damaged, or the teacher's output is no image.
    """
    key, lr = job.source.keys[index], job.source.read("lr", index)
    of_lr = fingerprint(lr)
    try:
        encoded = encode(teacher.as_cached(lr), job.making.storage)
    except ValueError as error:
        raise InputError("the teacher's output for image", key, str(error), "Use --storage float16?") from error
    entries = [Entry(TEACHER, key, encoded.values, of_lr, encoded.clipped)]
    if job.making.with_images:
        hr = job.source.read("hr", index)
        entries += [Entry(HR, key, hr, fingerprint(hr)), Entry(LR, key, lr, of_lr)]
    return entries


def _finish(job: CacheJob, teacher: RunningTeacher) -> None:
    """Measure the cache, say so in it, and give it its name."""
    folder = unfinished(job.folder)
    cache = CacheReader("--out", folder)
    figures = measure(
        cache,
        job.source.keys,
        lambda index: job.source.read("lr", index),
        teacher.as_cached,
        teacher.live,
        job.crop,
        job.scale,
    )
    clipped = cache.clipped(job.source.keys)
    cache.close()
    writer = CacheWriter(folder, job.bytes)
    writer.state(cache.info.model_copy(update={"measured": figures, "clipped": clipped}))
    writer.close()
    os.replace(folder, job.folder)


def _gb(count: int) -> str:
    return f"{count / 1e9:,.2f} GB"
