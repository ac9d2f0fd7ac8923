"""Reading PyTorch files, with the faults named, and without running what is in them."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Optional, Union

import torch
from torch import Tensor

from srkd_plugin.errors import InputError
from srkd_plugin.utils.files import require_file

WRAPPERS = ("module.", "_orig_mod.")
"""What DDP and torch.compile put before the names of a state dict."""
REFUSED = re.compile(
    r"(?:unsupported (?:global:? global|global|class)) ([\w.]+)|reduce for unrecognized function", re.IGNORECASE
)
"""What torch's unpickler says of a file that holds more than tensors; versions differ."""


def load_weights_file(option: str, file: Union[str, Path], trust: Optional[bool] = None) -> Any:
    """The content of a file of :func:`torch.save`, in host memory.

    Unpickling runs code that the file names. Only tensors and plain values are read (``weights_only``, also where it is
    not torch's default), unless the user says that the file is to be trusted.

    Args:
        option: The key or flag that names the file, for the error.
        file: Its path.
        trust: The options' ``trust_weights``: whether to read any file. None where there is no such way out.

    Raises:
        InputError: The file is not there, not readable, or holds more than tensors and is not trusted.
    """
    require_file(option, file)
    try:
        return torch.load(file, map_location="cpu", weights_only=not trust)
    except Exception as error:  # pickle, zip and torch each have their own
        what = _refused(error)
        if what is not None:
            problem = f"it holds more than tensors ({what}), and reading it all would run code that is in the file"
            remedy = "Save the tensors alone."
            if trust is not None:
                remedy = "If you trust the file, write trust_weights: true at the top level; or save the tensors alone."
            raise InputError(option, str(file), problem, remedy) from error
        lines = str(error).splitlines() or [type(error).__name__]
        problem = f"it cannot be read as PyTorch weights ({lines[0]})"
        raise InputError(option, str(file), problem, "Is the download complete?") from error


def _refused(error: Exception) -> Optional[str]:
    found = REFUSED.search(str(error))
    return None if found is None else found.group(1) or "a call"


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
