"""A teacher cache of the tiny data, made in this process."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Optional

import lmdb
import tiny
import torch

from srkd_plugin.teacher_cache.cache_job import CacheJob
from srkd_plugin.teacher_cache.info import CacheInfo, Making
from srkd_plugin.teacher_cache.make import make_cache


def job(opt: dict[str, Any], out: Optional[Path], **making: Any) -> CacheJob:
    """The making of a cache for a run's options."""
    return CacheJob(opt, out, Making(**making), torch.device("cpu"))


def make(data: Path, teacher: Path, out: Path, **making: Any) -> CacheInfo:
    """A cache of the tiny teacher."""
    return make_cache(job(tiny.distill_options(data, teacher), out, **making))


def stored(folder: Path) -> dict[bytes, bytes]:
    """All that a cache holds."""
    env = lmdb.open(str(folder), readonly=True, lock=False)
    with env.begin() as transaction:
        content = {bytes(key): bytes(value) for key, value in transaction.cursor()}
    env.close()
    return content


def options(data: Path, teacher: Path, cache: Path, name: str = "tiny_cached", iters: int = 4) -> dict[str, Any]:
    """A distillation that reads the teacher's images from a cache."""
    opt = tiny.distill_options(data, teacher, name, iters)
    opt["datasets"]["train"].update(type="TeacherCacheDataset", dataroot_teacher=str(cache))
    return opt
