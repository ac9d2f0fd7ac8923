"""Doing several things at a time, in threads, until one of them fails."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor


def for_each(items: Sequence[str], do: Callable[[str], None], at_a_time: int) -> dict[str, BaseException]:
    """Do something for each item. After a failure no further one is taken up; those under way are waited for.

    Args:
        items: What it is done for, each once, in this order.
        do: What is done.
        at_a_time: Threads.

    Returns:
        What was raised, by item, in the order of the items.

    Example:
        >>> for_each(["1", "x", "2"], lambda text: print(int(text)), 1)
        1
        {'x': ValueError("invalid literal for int() with base 10: 'x'")}
    """
    stopped = threading.Event()
    failed: dict[str, BaseException] = {}

    def attempt(item: str) -> None:
        if stopped.is_set():
            return
        try:
            do(item)
        except BaseException as error:  # the caller raises it, when the others have ended
            failed[item] = error
            stopped.set()

    with ThreadPoolExecutor(at_a_time) as pool:
        list(pool.map(attempt, items))
    return {item: failed[item] for item in items if item in failed}
