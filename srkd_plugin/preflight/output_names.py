"""Checks that a run of ours writes where BasicSR writes, and nowhere else: names that become folders, and ``path``."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from srkd_plugin.errors import MISSING, OptionsError, nearest
from srkd_plugin.options.key_names import own_keys, stock_keys
from srkd_plugin.utils.names import require_plain_name

FOLDERLESS = ("pretrain_network", "param_key", "strict_load", "resume")
"""BasicSR makes a folder of every value in ``path``, but of those whose key has one of these in it."""
OTHER_KIND = {True: ("results_root",), False: ("experiments_root", "models", "training_states")}
"""Keys of ``path`` that BasicSR sets in a test (True: refused in a training), and in a training."""


def check_output_names(opt: Mapping[str, Any]) -> None:
    """Check every name of a training or test that becomes a file or folder, and the keys of ``path``.

    Args:
        opt: The options as BasicSR's ``parse_options`` returns them.

    Raises:
        OptionsError: A name is not one plain name, or BasicSR would make a folder of a key of ``path``.
    """
    require_plain_name("name", opt["name"], "the experiment's folder")
    for phase, section in opt["datasets"].items():
        if not str(phase).startswith("train"):  # the training set's name is only logged
            require_plain_name(f"datasets.{phase}.name", section.get("name", MISSING), "a folder of images")
    validation = opt.get("val")
    if isinstance(validation, Mapping) and validation.get("suffix") is not None:
        require_plain_name("val.suffix", str(validation["suffix"]), "the end of images' names", whole=False)
    _check_path(opt["path"], opt["is_train"])


def _check_path(path: Mapping[str, Any], training: bool) -> None:
    known = {*own_keys("path"), *stock_keys("path")} - set(OTHER_KIND[training])
    for key, value in path.items():
        if key not in known and not any(part in key for part in FOLDERLESS):
            problem = "unknown key, of which BasicSR would make a folder"
            if key in OTHER_KIND[training]:
                kind = "a training" if training else "a test"
                problem = f"{kind} does not use it, and BasicSR would make a folder of it"
            raise OptionsError(f"path.{key}", value, problem, f"Remove it. {nearest(key, known)}")
