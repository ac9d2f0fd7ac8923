"""Work on many images in several processes, with a progress bar."""

from __future__ import annotations

import multiprocessing
import os
import signal
from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from typing import Callable, Optional, TypeVar

import cv2

from srkd_plugin.errors import InputError
from srkd_plugin.parallel.parent import end_with_parent
from srkd_plugin.utils.terminal import progress_bar

Item = TypeVar("Item")
Result = TypeVar("Result")
AHEAD = 4
"""Results that may wait per worker: they hold whole images, so memory is bounded by this."""

ITEMS_A_WORKER = 16
"""A worker takes seconds to start, for its imports; it is not started for fewer items than this."""


class WorkerKilled(InputError):
    """A worker process ended without a word: killed by the system, or crashed in native code."""


def default_workers() -> int:
    """Processors that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def map_images(
    function: Callable[[Item], Result],
    items: Sequence[Item],
    workers: int,
    title: str,
    total: Optional[int] = None,
    isolated: bool = False,
) -> Iterator[Result]:
    """Apply a function to items, in order, showing a progress bar.

    The workers do not inherit anything from this process: an LMDB environment, OpenCV's or torch's threads do not
    survive a fork.

    Args:
        function: Function of a module's top level, as it is sent to other processes.
        items: What it is applied to.
        workers: Processes, at most; with one, or for few items, the work is done in this one.
        title: Title of the progress bar.
        total: Length of the bar, if more than the items (of work done earlier).
        isolated: Use another process even for one worker, so that a crash of native code does not end this one.

    Yields:
        The results, in the order of the items.

    Raises:
        WorkerKilled: A worker was killed, or crashed.
        Exception: What the function raises; work that was not begun is given up.
    """
    total = len(items) if total is None else total
    with progress_bar(total=total, initial=total - len(items), desc=title, hidden=total <= 1) as bar:
        workers = min(workers, len(items) // ITEMS_A_WORKER)
        here = workers < 2 and not isolated
        results = map(function, items) if here else _in_processes(function, items, max(workers, 1))
        for result in results:
            bar.update()
            yield result


def _in_processes(function: Callable[[Item], Result], items: Sequence[Item], workers: int) -> Iterator[Result]:
    method = "forkserver" if "forkserver" in multiprocessing.get_all_start_methods() else "spawn"
    context = multiprocessing.get_context(method)
    if method == "forkserver":
        home = getattr(function, "func", function).__module__  # a functools.partial has none before Python 3.10
        context.set_forkserver_preload([__name__, home])  # imported once, not by each worker
    pool = ProcessPoolExecutor(workers, mp_context=context, initializer=_prepare_worker)
    waiting: deque[Future[Result]] = deque()
    todo = iter(items)
    try:
        for item in todo:
            waiting.append(pool.submit(function, item))
            if len(waiting) >= AHEAD * workers:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
    except BrokenProcessPool as error:
        problem = "a worker was killed, perhaps for want of memory"
        raise WorkerKilled("--workers", workers, problem, "Rerun with fewer; what is done is kept.") from error
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


def _prepare_worker() -> None:
    cv2.setNumThreads(1)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the parent, which then ends the workers
    end_with_parent()  # it would wait for work forever
