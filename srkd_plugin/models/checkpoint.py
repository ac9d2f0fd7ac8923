"""Writing training states so that a crash leaves the old one or the new one, never half of one."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from srkd_plugin.utils.files import open_atomically


def save_atomically(content: Any, path: str) -> None:
    """:func:`torch.save`, whole or not at all.

    Raises:
        OSError: It cannot be written; an earlier file of that name is untouched.
    """
    with open_atomically(Path(path)) as file:
        torch.save(content, file)
