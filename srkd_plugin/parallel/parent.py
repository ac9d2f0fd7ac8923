"""A worker process that ends when its parent does, whatever the parent died of."""

from __future__ import annotations

import multiprocessing
import os
import threading
from multiprocessing import connection


def end_with_parent() -> None:
    """Let this process end when the one that asked for it is gone, also if it is gone already.

    ``multiprocessing`` gives every child a pipe that its parent holds open: it is at its end when the parent is,
    whatever started the child (fork, spawn, forkserver). torch's loader workers watch the id of their parent instead,
    which they look up when they begin to work: a parent that was killed while they started is never missed.
    """
    parent = multiprocessing.parent_process()
    if parent is not None:
        threading.Thread(target=_wait_for_the_end, args=(parent.sentinel,), daemon=True).start()


def _wait_for_the_end(sentinel: int) -> None:
    connection.wait([sentinel])
    os._exit(1)
