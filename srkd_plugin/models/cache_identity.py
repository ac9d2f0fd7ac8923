"""What the options of a run say of its teacher, and whether a cache is of it."""

from __future__ import annotations

import hashlib
import inspect
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from basicsr.utils.registry import ARCH_REGISTRY
from torch import Tensor

from srkd_plugin.data.cache_info import TeacherIdentity, differences
from srkd_plugin.data.cache_store import HR, KINDS, LR, TEACHER, CacheReader, fingerprint
from srkd_plugin.data.images import ImageFault
from srkd_plugin.data.pair_source import PairSource, open_pairs
from srkd_plugin.errors import OptionsError
from srkd_plugin.models.teacher import read_weights
from srkd_plugin.options import Distillation

OPTION = "datasets.train.dataroot_teacher"
SAMPLES = 8
"""So many entries are checked whole before a run."""


def weights_sha256(weights: Mapping[str, Tensor]) -> str:
    """The sha256 of tensors: of their names, types, shapes and values, sorted by name."""
    digest = hashlib.sha256()
    for name in sorted(weights):
        values = weights[name].detach().cpu().contiguous()
        digest.update(f"{name} {values.dtype} {tuple(values.shape)}\n".encode())
        digest.update(values.reshape(-1).view(torch.uint8).numpy())
    return digest.hexdigest()


def teacher_identity(distillation: Distillation) -> TeacherIdentity:
    """The teacher that a run's options name.

    Raises:
        OptionsError: It has no weights file, or the file cannot be read.
    """
    if distillation.path.pretrain_network_t is None:
        problem = "a cache is made of a teacher with weights from a file"
        raise OptionsError("path.pretrain_network_t", None, problem, "Give the path of its .pth file.")
    return TeacherIdentity(
        weights_sha256=weights_sha256(read_weights(distillation.path)),
        network_t=_with_defaults(distillation.network_t),
        precision=distillation.teacher.precision,
    )


def _with_defaults(network: Mapping[str, Any]) -> dict[str, Any]:
    """A network's section with the defaults of its class, as JSON keeps it."""
    parameters = inspect.signature(ARCH_REGISTRY.get(network["type"])).parameters.values()
    defaults = {p.name: p.default for p in parameters if p.default is not p.empty}
    return json.loads(json.dumps({**defaults, **network}, default=str))


def check_cache(opt: Mapping[str, Any], distillation: Distillation) -> None:
    """Check that the cache that a run's options name is that of their teacher and their images.

    Keys, sizes and the teacher are compared in full; the values of a few entries, spread over the set, are checked
    against their checksums and their LR images.

    Raises:
        OptionsError: It is not there, not complete, damaged, or of something else; all differences in one line.
    """
    source = open_pairs(opt["datasets"]["train"])
    cache = CacheReader(OPTION, Path(distillation.cache.dataroot_teacher))
    different = differences(cache.info.teacher, teacher_identity(distillation))
    different += differences(cache.info.source, source.identity())
    if different:
        problem = f"it is the cache of something else: {'; '.join(different)}"
        remedy = "Name the teacher and the sets that it was made of, or make another with scripts/cache_teacher.py."
        raise OptionsError(OPTION, distillation.cache.dataroot_teacher, problem, remedy)
    _check_samples(cache, source)


def _check_samples(cache: CacheReader, source: PairSource) -> None:
    count = len(source.keys)
    for index in sorted({i * (count - 1) // max(SAMPLES - 1, 1) for i in range(SAMPLES)}):
        key = source.keys[index]
        pixels = {LR: fingerprint(source.read("lr", index))}
        kinds = KINDS if cache.info.making.with_images else (TEACHER,)
        if HR in kinds:
            pixels[HR] = fingerprint(source.read("hr", index))
        for kind in kinds:
            try:
                made_from = cache.check(kind, key)
            except ImageFault as fault:
                remedy = "Run scripts/cache_teacher.py with --repair."
                raise OptionsError(OPTION, str(cache.folder), f"image {key} ({kind}): {fault}", remedy) from fault
            if made_from != pixels[HR if kind == HR else LR]:
                name = "HR" if kind == HR else "LR"
                problem = f"image {key} was made from another {name} image of the same name and size"
                raise OptionsError(OPTION, str(cache.folder), problem, "Make the cache again.")
