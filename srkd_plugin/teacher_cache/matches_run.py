"""What the options of a run say of its teacher, and whether a cache is of it."""

from __future__ import annotations

import hashlib
import inspect
import json
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from basicsr.utils.registry import ARCH_REGISTRY
from torch import Tensor

from srkd_plugin.errors import OptionsError
from srkd_plugin.images.decode import ImageFault
from srkd_plugin.images.pairs import ImagePairs
from srkd_plugin.networks.teacher import teacher_weights
from srkd_plugin.options.registered_names import find_class
from srkd_plugin.options.sections import PluginOptions
from srkd_plugin.teacher_cache.entry_kinds import kinds_of, made_from
from srkd_plugin.teacher_cache.info import TeacherIdentity, differences
from srkd_plugin.teacher_cache.shards import Folders, OpenCache
from srkd_plugin.teacher_cache.source_pairs import PairSource
from srkd_plugin.teacher_cache.store import fingerprint

OPTION = "datasets.train.dataroot_teacher"
SAMPLES = 8
"""How many entries of a large cache are checked before a run."""
CHECKED_WHOLE = 1 << 28
"""Bytes up to which a cache is checked whole: a second at most."""


def weights_sha256(weights: Mapping[str, Tensor]) -> str:
    """The sha256 of tensors: of their names, types, shapes and values, sorted by name."""
    digest = hashlib.sha256()
    for name in sorted(weights):
        values = weights[name].detach().cpu().contiguous()
        digest.update(f"{name} {values.dtype} {tuple(values.shape)}\n".encode())
        digest.update(values.reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()


def teacher_identity(ours: PluginOptions) -> TeacherIdentity:
    """The teacher that a run's options name.

    Raises:
        OptionsError: It has no weights file, or the file cannot be read.
    """
    if ours.path.pretrain_network_t is None:
        problem = "a cache is made of a teacher with weights from a file"
        raise OptionsError("path.pretrain_network_t", None, problem, "Give the path of its .pth file.")
    return TeacherIdentity(
        weights_sha256=weights_sha256(teacher_weights(ours).read()),
        network_t=_with_defaults(ours.network_t),
        precision=ours.teacher.precision,
    )


def _with_defaults(network: Mapping[str, Any]) -> dict[str, Any]:
    """A network's section with the defaults of its class, as JSON keeps it."""
    parameters = inspect.signature(find_class(ARCH_REGISTRY, "network_t", network)).parameters.values()
    defaults = {p.name: p.default for p in parameters if p.default is not p.empty}
    return json.loads(json.dumps({**defaults, **network}, default=str))


def check_cache(opt: Mapping[str, Any], ours: PluginOptions, folders: Folders, images: ImagePairs) -> None:
    """Check that the cache that a run's options name is that of their teacher and their images.

    Keys, sizes and the teacher are compared in full. Of a few entries, spread over the set, the checksum and the pixels
    of the LR image are compared; of a small cache, all checksums.

    Args:
        opt: The options as BasicSR's ``parse_options`` returns them.
        ours: The plugin's sections.
        folders: The cache, or all its shards.
        images: The training images, as they have been listed.

    Raises:
        OptionsError: It is not there, not complete, damaged, or of something else; all differences in one line.
    """
    source = PairSource(images, opt["scale"], opt["datasets"]["train"].get("color"))
    cache = OpenCache(OPTION, folders)
    different = differences(cache.info.teacher, teacher_identity(ours))
    different += differences(cache.info.source, source.identity())
    if different:
        problem = f"it is the cache of something else: {'; '.join(different)}"
        remedy = "Name the teacher and the sets that it was made of, or make another with srkd cache make."
        raise OptionsError(OPTION, str(cache), problem, remedy)
    for each in (cache, *cache.all_zoomed(ours.samples.kinds)):
        each.require_keys(source.keys)
        indices = [index for index, key in enumerate(source.keys) if kinds_of(each.info, key)]
        _check_values(each, [source.keys[index] for index in indices])
        _check_pixels(each, source, [indices[at] for at in _spread(len(indices))])


def _check_values(cache: OpenCache, keys: Sequence[str]) -> None:
    """Checksums: of all entries of a small cache, of a few of a large one."""
    small = sum((part.folder / "data.mdb").stat().st_size for part in cache.parts) <= CHECKED_WHOLE
    for index in range(len(keys)) if small else _spread(len(keys)):
        part = cache.part_of(keys[index])
        for kind in kinds_of(cache.info, keys[index]):
            try:
                part.check(kind, keys[index])
            except ImageFault as fault:
                problem, remedy = (
                    f"image {keys[index]} ({kind}): {fault}",
                    "Run srkd cache repair.",
                )
                raise OptionsError(OPTION, str(part.folder), problem, remedy) from fault


def _check_pixels(cache: OpenCache, source: PairSource, indices: Sequence[int]) -> None:
    """Whether a few entries were made from the images that the options name."""
    for index in indices:
        part = cache.part_of(source.keys[index])
        for kind in kinds_of(cache.info, source.keys[index]):
            side = made_from(kind)
            if part.check(kind, source.keys[index]) != fingerprint(source.read(side, index)):
                problem = f"image {source.keys[index]} was made from another {side.upper()} image of its name and size"
                raise OptionsError(OPTION, str(part.folder), problem, "Run srkd cache repair.")


def _spread(count: int) -> list[int]:
    return sorted({i * (count - 1) // (SAMPLES - 1) for i in range(SAMPLES)})
