"""Process groups on the CPU: joined with a limit of time, left before Python is torn down."""

from __future__ import annotations

import atexit
import os
import threading
import time
from pathlib import Path
from typing import Any

LONGEST_DRAIN = 10.0  # seconds
TASKS = Path("/proc/self/task")  # Linux's; elsewhere nothing tells what a thread does


def begin(**arguments: Any) -> None:
    """Join the other processes through gloo, and leave them when this one ends.

    A process whose gloo threads are at work while Python is torn down may abort: exit code -6 after a fine run.
    Destroying the group does not end its threads where DDP has it as well, since torch never frees a DDP module; so
    these threads are given the time that they need.

    Args:
        **arguments: Those of ``torch.distributed.init_process_group`` without ``backend``.
    """
    import torch.distributed as dist

    dist.init_process_group(backend="gloo", **arguments)
    atexit.register(_leave)


def _leave() -> None:
    import torch.distributed as dist

    if dist.is_initialized():
        dist.destroy_process_group()
    wait_for_threads()


def wait_for_threads(longest: float = LONGEST_DRAIN) -> bool:
    """Wait until no other thread of this process has anything to do.

    Args:
        longest: After this many seconds, the wait ends anyway.

    Returns:
        Whether all were seen at rest; where the system does not tell, True after a moment.
    """
    end = time.monotonic() + longest
    while time.monotonic() < end:
        time.sleep(0.01)  # without the interpreter's lock, so that threads that want it get it
        if not any(_is_running(task) for task in _other_tasks()):
            return True
    return False


def _other_tasks() -> list[Path]:
    if not TASKS.is_dir():
        return []
    own = str(threading.get_native_id())
    return [TASKS / name for name in os.listdir(TASKS) if name != own]


def _is_running(task: Path) -> bool:
    """Whether a thread has a processor or waits for one."""
    try:
        state = (task / "stat").read_text().rpartition(")")[2].split()[0]
    except OSError:  # it has ended since
        return False
    return state == "R"
