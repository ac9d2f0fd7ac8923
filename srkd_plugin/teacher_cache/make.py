"""Runs the teacher of a training run's options over its LR images, once, and keeps what comes out in a cache."""

from __future__ import annotations

import os
import shutil
from collections.abc import Sequence
from contextlib import nullcontext
from pathlib import Path

from srkd_plugin.errors import InputError
from srkd_plugin.images.changes import Changes
from srkd_plugin.images.listing import say
from srkd_plugin.teacher_cache.cache_job import CacheJob
from srkd_plugin.teacher_cache.entry_kinds import KINDS, kinds_of
from srkd_plugin.teacher_cache.image_entries import RunningTeacher, entries_of
from srkd_plugin.teacher_cache.info import CacheInfo
from srkd_plugin.teacher_cache.measure import measure
from srkd_plugin.teacher_cache.stale_entries import compare_entries
from srkd_plugin.teacher_cache.store import CacheReader, CacheWriter, unfinished
from srkd_plugin.utils.owner import owned
from srkd_plugin.utils.terminal import progress_bar


def make_caches(jobs: Sequence[CacheJob]) -> list[CacheInfo]:
    """Make the cache of LR, then those of other inputs that lie in it.

    Args:
        jobs: In this order; what they take together is compared with the free space before the first.

    Returns:
        As :func:`make_cache`.

    Raises:
        OptionsError: As there.
        InputError: As there.
    """
    _check_space(jobs)
    return [make_cache(job) for job in jobs]


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
    with owned("--out", job.owned) if job.processes.is_first else nullcontext():
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


def _with_what_is_kept(job: CacheJob, writer: CacheWriter, error: InputError) -> InputError:
    """The error, with how much is done; if nothing is, nothing is left."""
    done = len(writer.keys(*KINDS))
    if done:
        wanted = sum(bool(kinds_of(job.info, key)) for key in job.source.keys)
        kept = f"{done:,} of {wanted:,} images are done and kept in {writer.folder}"
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
    say(job.source.images.notes())
    print(f"{job.folder}: {_what(job)}, {_gb(job.bytes)}; {_gb(_free(job))} are free", flush=True)
    _check_space([job])
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


def _check_space(jobs: Sequence[CacheJob]) -> None:
    """Refuse what does not fit on the disk, before anything is written."""
    there = [path.stat().st_size for job in jobs for path in _files(job) if path.exists()]
    missing, free = sum(job.bytes for job in jobs) - sum(there), _free(jobs[0])
    if missing > free:
        problem = f"the cache takes {_gb(missing)} more, and {_gb(free)} are free"
        remedy = "Give a larger disk, or --storage uint8 (half, with an error)."
        if jobs[-1].zoom is not None:
            remedy = "Give a larger disk, or a larger number to --zoom-in."
        raise InputError("--out", str(jobs[0].owned), problem, remedy)


def _files(job: CacheJob) -> list[Path]:
    return [folder / "data.mdb" for folder in (job.folder, unfinished(job.folder))]


def _free(job: CacheJob) -> int:
    return shutil.disk_usage(next(path for path in job.folder.absolute().parents if path.exists())).free


def _fill(job: CacheJob, writer: CacheWriter, teacher: RunningTeacher) -> None:
    """Compute and store what is missing, this process's share of it; an image is one transaction."""
    done = writer.keys(*KINDS)
    left = [index for index, key in enumerate(job.source.keys) if key not in done and kinds_of(job.info, key)]
    job.processes.wait()  # all have seen the same before anybody writes
    own = left[job.processes.rank :: job.processes.count]
    total = len(own) + len(done) if job.processes.count == 1 else len(own)
    begun, hidden = total - len(own), not job.processes.is_first
    with progress_bar(total=total, initial=begun, desc="teacher", unit="image", in_logs=True, hidden=hidden) as bar:
        for index in own:
            writer.put(entries_of(job, teacher, index))
            bar.update()


def _finish(job: CacheJob, teacher: RunningTeacher) -> None:
    """Measure the cache, say so in it, and give it its name."""
    folder = unfinished(job.folder)
    cache = CacheReader("--out", folder)
    figures = {}
    if job.zoom is None:
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
    found = {} if teacher.recognised_as is None else {"architecture": teacher.recognised_as}
    made_by = {**cache.info.made_by, **found}
    writer.state(cache.info.model_copy(update={"measured": figures, "clipped": clipped, "made_by": made_by}))
    writer.close()
    os.replace(folder, job.folder)


def _what(job: CacheJob) -> str:
    count = sum(bool(kinds_of(job.info, key)) for key in job.source.keys)
    return f"{count:,} images{'' if job.zoom is None else f', {job.zoom}'}"


def _gb(count: int) -> str:
    return f"{count / 1e9:,.2f} GB"
