"""Writing files so that a crash leaves the old one or the new one, never half of one."""

from __future__ import annotations

import os
from typing import Any

import torch


def save_atomically(content: Any, path: str) -> None:
    """``torch.save`` to a temporary file beside ``path``, flushed to the disk, then put in its place.

    Raises:
        OSError: It cannot be written; an earlier file of that name is untouched.
    """
    unfinished = f"{path}.unfinished"
    try:
        with open(unfinished, "wb") as file:
            torch.save(content, file)
            file.flush()
            os.fsync(file.fileno())
        os.replace(unfinished, path)
    except BaseException:
        if os.path.exists(unfinished):
            os.unlink(unfinished)
        raise
