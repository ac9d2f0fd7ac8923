"""Options files of a table's runs: read, and merged with what the table changes in them.

A section that is merged in goes key by key, but for one that names another ``type``, which replaces what was there: its
other keys belong to the old type. (Not so in ``datasets``: there TeacherCacheDataset takes all keys of
PairedImageDataset.)
"""

from __future__ import annotations

import copy
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from srkd_plugin.errors import MISSING, InputError
from srkd_plugin.options import reader, safe_yaml

TRAINING_SECTIONS = ("train", "network_g", "datasets", "datasets.train")
"""What the options of a training must have for a table."""


def read_yaml(file: Path) -> dict[str, Any]:
    """The content of a table's file.

    Raises:
        OptionsError: It is not there, not YAML, has a key twice, or a tag that makes it a program.
    """
    return safe_yaml.read(file, "file")


def merge(base: Any, change: Any, key: str, replace_types: bool = True) -> Any:
    """``change`` merged into ``base``, as the module says; neither is altered.

    Args:
        base: The options, or a part of them.
        change: What to change in it.
        key: Where the change is in the table's file, for errors.
        replace_types: Whether a section of another ``type`` replaces the one that was there.

    Raises:
        InputError: A section would become a value (``~`` is allowed: it takes an optional section away).
    """
    if isinstance(base, Mapping) and not isinstance(change, Mapping) and change is not None:
        raise InputError(key, change, "the options have a section of keys here", "Write the keys that change.")
    if not (isinstance(base, Mapping) and isinstance(change, Mapping)):
        return copy.deepcopy(change)
    if replace_types and "type" in change and change["type"] != base.get("type"):
        return copy.deepcopy(dict(change))
    merged = copy.deepcopy(dict(base))
    for name, value in change.items():
        merged[name] = merge(base.get(name), value, f"{key}.{name}", replace_types and name != "datasets")
    return merged


def without_cache(options: Mapping[str, Any]) -> Mapping[str, Any]:
    """Options without the teacher cache that they name: a table's images, or its teacher, are others."""
    datasets = options.get("datasets")
    if not isinstance(datasets, Mapping):
        return options
    section = datasets.get("train")
    if not isinstance(section, Mapping) or "dataroot_teacher" not in section:
        return options
    bare = {name: value for name, value in section.items() if name != "dataroot_teacher"}
    return {**options, "datasets": {**datasets, "train": bare}}


def require_training(key: str, file: str, options: Mapping[str, Any]) -> None:
    """Refuse merged options that lack what a table needs of a training.

    Args:
        key: The row, e.g. ``methods.fakd``.
        file: The options file that they come from.
        options: Merged options, with all that the table changes.

    Raises:
        InputError: A section or the path of a teacher cache is missing, or ``ema_decay`` is no number.
    """
    for path in TRAINING_SECTIONS:
        section: Any = options
        for name in path.split("."):
            section = section.get(name, MISSING)
        if not isinstance(section, Mapping):
            problem = f"the options of this row, from {file}, must have this section"
            raise InputError(f"{key}: {path}", section, problem, "Name a training's file, and do not set it to ~.")
    images = options["datasets"]["train"]
    if reader.is_cache(images) and not images.get("dataroot_teacher"):
        problem = f"{file} takes the teacher's images from a cache, and the one that it names is not this table's"
        remedy = "Give the row cache: NAME, and the table caches: {NAME: [--with-images]}; or write a cache of yours "
        remedy += "into set, or type: PairedImageDataset for a teacher that runs live."
        where = f"{key}: datasets.train.dataroot_teacher"
        raise InputError(where, images.get("dataroot_teacher", MISSING), problem, remedy)
    decay = options["train"].get("ema_decay", 0)
    if isinstance(decay, bool) or not isinstance(decay, (int, float)):
        raise InputError(f"{key}: train.ema_decay", decay, "a number is expected", "Write e.g. 0.999, or 0 for none.")
