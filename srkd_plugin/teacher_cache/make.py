"""Runs the teacher of a training run's options over its LR images, once, and keeps what comes out in a cache."""

from __future__ import annotations

import functools
import os
import shutil
from contextlib import nullcontext
from pathlib import Path

import numpy as np
import torch
from basicsr.data.paired_image_dataset import bgr2ycbcr
from basicsr.utils import img2tensor
from tqdm import tqdm

from srkd_plugin.errors import InputError
from srkd_plugin.images.changes import Changes
from srkd_plugin.images.listing import say
from srkd_plugin.networks.padding import size_multiple
from srkd_plugin.networks.teacher import build_teacher, check_outputs
from srkd_plugin.networks.tiling import WholeImages
from srkd_plugin.teacher_cache.cache_job import CacheJob
from srkd_plugin.teacher_cache.encoding import encode
from srkd_plugin.teacher_cache.info import CacheInfo
from srkd_plugin.teacher_cache.measure import measure
from srkd_plugin.teacher_cache.stale_entries import compare_entries
from srkd_plugin.teacher_cache.store import (
    HR,
    LR,
    TEACHER,
    CacheReader,
    CacheWriter,
    Entry,
    fingerprint,
    unfinished,
)
from srkd_plugin.utils.owner import owned

PROBE = 16
"""Side of the image that the teacher is tried on, in multiples of what it takes."""


def make_cache(job: CacheJob) -> CacheInfo:
    """Make a cache, or continue one; one that is complete is left alone.

    Where images have changed, are gone or new since, what is unchanged is kept; a complete cache is unfinished until
    the rest is made.

    Returns:
        What the cache says of itself, with the figures that were measured.

    Raises:
        OptionsError: The options, weights or images are wrong.
        InputError: There is another cache in its place, the disk is too small, an image is damaged, an output is no
            image, or another process makes this cache. It says what is done and kept, if anything is.
    """
    is_there, wanted = job.folder.exists(), job.info
    if is_there:
        found = CacheReader("--out", job.folder).info
        if not found.differences(wanted):
            return found
    teacher = RunningTeacher(job)  # what is wrong with it is said before anything is written
    job.processes.wait()
    with owned("--out", job.folder) if job.processes.is_first else nullcontext():
        if is_there and job.processes.is_first:
            _reopen(job, found)
        return _make(job, teacher)


def _make(job: CacheJob, teacher: RunningTeacher) -> CacheInfo:
    if job.processes.is_first:
        _prepare(job)
    job.processes.wait()
    writer = CacheWriter(unfinished(job.folder), job.bytes)
    try:
        _fill(job, writer, teacher)
        job.processes.wait()
    except InputError as error:
        raise _with_what_is_kept(job, writer, error) from error
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


def _with_what_is_kept(job: CacheJob, writer: CacheWriter, error: InputError) -> InputError:
    """The error, with how much is done; if nothing is, nothing is left."""
    done = len(writer.keys(TEACHER))
    if done:
        kept = f"{done:,} of {len(job.source.keys):,} images are done and kept in {writer.folder}"
        return error.with_more(f"{kept}; the same command goes on.")
    if job.processes.count == 1:
        writer.close()
        shutil.rmtree(writer.folder)
    return error


def _reopen(job: CacheJob, found: CacheInfo) -> None:
    """Make a complete cache of other images an unfinished one of those that are there."""
    refuse_another(found.with_images_of(job.info), job, job.folder)
    if unfinished(job.folder).exists():
        problem = f"it is of other images, and there is {unfinished(job.folder).name}, too"
        raise InputError("--out", str(job.folder), problem, "Delete one of them.")
    changes = _compare_images(job, found, job.folder, finished=True)
    say([f"{job.folder.name}: {changes.describe()}"])
    os.replace(job.folder, unfinished(job.folder))
    _restate(job, unfinished(job.folder), changes)


def _compare_images(job: CacheJob, found: CacheInfo, folder: Path, finished: bool) -> Changes:
    changes = compare_entries(folder, job.source, finished)
    if changes.another_set is not None:
        different = "; ".join([*found.differences(job.info), changes.another_set])
        problem = f"there is the cache of something else: {different}"
        raise InputError("--out", str(folder), problem, "Give another --out, or delete it.")
    return changes


def _restate(job: CacheJob, folder: Path, changes: Changes) -> None:
    """Drop what is not of the images that are there, and say of which images the cache will be."""
    writer = CacheWriter(folder, job.bytes)
    try:
        writer.remove([*changes.changed, *changes.removed])
        writer.state(job.info)
    finally:
        writer.close()


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
    say(job.source.images.notes())
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
    finally:
        writer.close()
    if found is not None:
        refuse_another(found.with_images_of(job.info), job, folder)
        changes = _compare_images(job, found, folder, finished=False)
        if changes.some:
            say([f"{folder.name}: {changes.describe()}"])
        if changes.some or found.differences(job.info):
            _restate(job, folder, changes)


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
