"""Reading files of weights, PyTorch's and safetensors, with the faults named, and without running what is in them."""

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
NOT_WEIGHTS = (
    (
        b"version https://git-lfs",
        "it is a git-lfs pointer, and not the file itself",
        "Run git lfs pull, or download it.",
    ),
    (b"<", "it is a web page, and not weights", "Download the file itself: the link led to a page."),
    (b"{", "it is JSON, and not weights", "Give the file of the weights themselves."),
)
"""How files begin that are often found in the place of weights; what they are, and what to do."""
REFUSED = re.compile(
    r"(?:unsupported (?:global:? global|global|class)) ([\w.]+)|reduce for unrecognized function", re.IGNORECASE
)
"""What torch's unpickler says of a file that holds more than tensors; versions differ."""


def load_weights_file(option: str, file: Union[str, Path], trust: Optional[bool] = None) -> Any:
    """Load the content of a file of :func:`torch.save`, or of a ``.safetensors`` file, to host memory.

    Unpickling runs code that the file names. Only tensors and plain values are read (``weights_only``, also where it is
    not torch's default), unless the user says that the file can be trusted.

    Args:
        option: The key or flag that names the file, for the error.
        file: Path of the file.
        trust: The options' ``trust_weights``: whether to read any file. None where there is no such way out.

    Raises:
        InputError: The file is not there, not readable, or holds more than tensors and is not trusted.
    """
    require_file(option, file)
    _refuse_what_is_no_weights(option, Path(file))
    if Path(file).suffix == ".safetensors":
        return _load_safetensors(option, file)
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
        problem = f"it cannot be read as PyTorch weights ({_reason(error)})"
        raise InputError(option, str(file), problem, "Is the download complete?") from error


def _refuse_what_is_no_weights(option: str, file: Path) -> None:
    with open(file, "rb") as opened:
        start = opened.read(64).lstrip(b"\xef\xbb\xbf \t\r\n")  # a byte order mark and white space
    for known, problem, remedy in NOT_WEIGHTS:
        if start.startswith(known):
            raise InputError(option, str(file), problem, remedy)


def _load_safetensors(option: str, file: Union[str, Path]) -> dict[str, Tensor]:
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        return load_file(file)
    except (SafetensorError, OSError) as error:
        problem = f"it cannot be read as safetensors ({_reason(error)})"
        raise InputError(option, str(file), problem, "Is the download complete?") from error


def _reason(error: Exception) -> str:
    """The first line of an error, without torch's advice to read with ``weights_only=False``, which runs the file."""
    lines = str(error).splitlines() or [type(error).__name__]
    return "torch's unpickler refuses it" if "weights_only" in lines[0] else lines[0]


def _refused(error: Exception) -> Optional[str]:
    found = REFUSED.search(str(error))
    return None if found is None else found.group(1) or "a call"


def is_state_dict(content: Any) -> bool:
    """Whether it is a dictionary of tensors, and of nothing else."""
    return isinstance(content, Mapping) and len(content) > 0 and all(isinstance(v, Tensor) for v in content.values())


def without_wrappers(weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Name the entries of a state dict as the bare network does."""
    return {_bare(name): value for name, value in weights.items()}


def without_prefix(weights: Mapping[str, Tensor], prefix: str) -> dict[str, Tensor]:
    """Keep the entries whose names begin with ``prefix``, under the names that follow it."""
    return {name[len(prefix) :]: value for name, value in weights.items() if name.startswith(prefix)}


def first_nonfinite(weights: Mapping[str, Tensor]) -> Optional[str]:
    """Name of the first tensor with a NaN or an infinity in it; None if there is none."""
    for name, value in weights.items():
        if value.is_floating_point() and not torch.isfinite(value).all():
            return name
    return None


def _bare(name: str) -> str:
    while name.startswith(WRAPPERS):
        name = name.split(".", 1)[1]
    return name
