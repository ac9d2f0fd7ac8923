"""What tests that kill processes ask; without heavy imports, as their workers import it."""

from __future__ import annotations

import os
from pathlib import Path


def is_running(pid: int) -> bool:
    """Whether a process is there and has not ended."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    status = Path(f"/proc/{pid}/stat")  # where nobody collects orphans, they stay as zombies
    return not (status.exists() and status.read_text().rsplit(")", 1)[1].split()[0] == "Z")
