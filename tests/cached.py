"""A teacher cache of the tiny data, made in this process."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Optional, Union

import lmdb
import pytest
import tiny
import torch

from srkd_plugin.teacher_cache import make as make_module
from srkd_plugin.teacher_cache.cache_job import CacheJob
from srkd_plugin.teacher_cache.image_entries import RunningTeacher
from srkd_plugin.teacher_cache.info import CacheInfo, Making, Shard, Zoom
from srkd_plugin.teacher_cache.make import make_cache, make_caches
from srkd_plugin.teacher_cache.store import Entry


def job(opt: dict[str, Any], out: Optional[Path], shard: Optional[Shard] = None, **making: Any) -> CacheJob:
    """The making of a cache, or of a shard of it, for a run's options."""
    return CacheJob(opt, out, Making(**making), torch.device("cpu"), shard=shard)


def job_of(opt: dict[str, Any], out: Path, zoom: str, every: int = 1, **given: Any) -> CacheJob:
    """The making of what is added to a cache, ``zoom_in`` or ``zoom_out``."""
    shard = given.pop("shard", None)
    return CacheJob(opt, out, Making(**given), torch.device("cpu"), shard=shard, zoom=Zoom(kind=zoom, every=every))


def make_with_zooms(opt: dict[str, Any], out: Path, zoom_in: int = 1, shard: Optional[Shard] = None, **making: Any):
    """A cache with all that ``train.samples`` can ask for."""
    zooms = {"zoom_in": zoom_in, "zoom_out": 1}
    added = [job_of(opt, out, kind, every, shard=shard, **making) for kind, every in zooms.items()]
    make_caches([job(opt, out, shard, **making), *added])
    return out


def make(data: Path, teacher: Path, out: Path, **making: Any) -> CacheInfo:
    """A cache of the tiny teacher."""
    return make_cache(job(tiny.distill_options(data, teacher), out, **making))


def make_shards(opt: dict[str, Any], folder: Path, count: int, **making: Any) -> list[str]:
    """All shards of a cache; their folders."""
    folders = [folder / f"teacher_{index}.lmdb" for index in range(1, count + 1)]
    for index, out in enumerate(folders, 1):
        make_cache(job(opt, out, Shard(index=index, count=count), **making))
    return list(map(str, folders))


def stop_at(monkeypatch: pytest.MonkeyPatch, number: int) -> list[str]:
    """Interrupt the making of a cache before its so-many-th image, once; the keys of all images that are begun."""
    real, begun = make_module.entries_of, []

    def entries_of(job: CacheJob, teacher: RunningTeacher, index: int) -> list[Entry]:
        begun.append(job.source.keys[index])
        if len(begun) == number:
            raise KeyboardInterrupt
        return real(job, teacher, index)

    monkeypatch.setattr(make_module, "entries_of", entries_of)
    return begun


def stored(folder: Path) -> dict[bytes, bytes]:
    """All that a cache holds."""
    env = lmdb.open(str(folder), readonly=True, lock=False)
    with env.begin() as transaction:
        content = {bytes(key): bytes(value) for key, value in transaction.cursor()}
    env.close()
    return content


def options(
    data: Path, teacher: Path, cache: Union[Path, list[str]], name: str = "tiny_cached", iters: int = 4
) -> dict[str, Any]:
    """A distillation that reads the teacher's images from a cache, or from the shards of one."""
    opt = tiny.distill_options(data, teacher, name, iters)
    given = cache if isinstance(cache, list) else str(cache)
    opt["datasets"]["train"].update(type="TeacherCacheDataset", dataroot_teacher=given)
    return opt
