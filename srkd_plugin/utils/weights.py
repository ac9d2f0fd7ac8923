"""Reading files of PyTorch weights, with the faults named."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Union

import torch
from torch import Tensor

from srkd_plugin.utils.files import InputError

WRAPPERS = ("module.", "_orig_mod.")
"""What DDP and torch.compile put before the names of a state dict."""


def load_weights_file(option: str, file: Union[str, Path]) -> Any:
    """What :func:`torch.load` reads from a file, on the CPU; only tensors and plain containers (``weights_only``).

    Args:
        option: The key or flag that names the file, for the error.
        file: The file.

    Raises:
        InputError: It is not there or not readable, or holds other objects.
    """
    if not os.path.isfile(file):
        problem = "there is a folder of this name, but no file" if os.path.isdir(file) else "there is no such file"
        remedy = f"Relative paths start at the working directory, {os.getcwd()}."
        raise InputError(option, str(file), problem, remedy)
    try:
        return torch.load(file, map_location="cpu", weights_only=True)
    except Exception as error:  # pickle, zip and torch each have their own
        problem = f"it cannot be read as PyTorch weights ({str(error).splitlines()[0]})"
        raise InputError(option, str(file), problem, "Is the download complete?") from error


def is_state_dict(content: Any) -> bool:
    """Whether it is a dictionary of tensors, and of nothing else."""
    return isinstance(content, Mapping) and len(content) > 0 and all(isinstance(v, Tensor) for v in content.values())


def without_wrappers(weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The state dict under the names of the bare network."""
    return {_bare(name): value for name, value in weights.items()}


def _bare(name: str) -> str:
    while name.startswith(WRAPPERS):
        name = name.split(".", 1)[1]
    return name
