"""SIGTERM and Ctrl-C ask a training run to save and end; its loader workers go on until it does."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Optional

STOPPED = 75
"""Exit code of a run that saved because it was asked to end (EX_TEMPFAIL of sysexits.h: try again later)."""

PATIENCE = 3.0
"""Seconds after which a second Ctrl-C ends the run at once. torchrun passes a terminal's Ctrl-C on, so that a process
gets it twice within a moment."""

_first: Optional[float] = None


def listen() -> None:
    """Let SIGTERM and SIGINT only note that they came, from now on; :func:`requested` says whether one did."""
    if threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGTERM, _note)
        signal.signal(signal.SIGINT, _note)


def requested() -> bool:
    """Whether a signal came."""
    return _first is not None


def forget() -> None:
    """Go back to the defaults, as before :func:`listen`."""
    global _first
    _first = None
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    signal.signal(signal.SIGINT, signal.default_int_handler)


@contextmanager
def sigterm_as_interrupt() -> Iterator[None]:
    """Let SIGTERM raise KeyboardInterrupt in the block, as Ctrl-C does, so that what was started can be ended, too."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def _note(number: int, frame: Optional[FrameType]) -> None:
    global _first
    if _first is None:
        _first = time.monotonic()
        text = b"srkd_plugin: asked to end; saving after this iteration (Ctrl-C again ends at once, without saving)\n"
        os.write(2, text)  # print is not safe in a handler: it may have interrupted a print
    elif number == signal.SIGINT and time.monotonic() - _first > PATIENCE:
        forget()
        raise KeyboardInterrupt


def outlast_group_signals() -> None:
    """Let a loader worker end with its parent, and not on a signal that a terminal or SLURM sends to all processes.

    A worker that ended first would make the parent fail before it has saved. Where a signal's sender can be told
    (Linux), SIGTERM from the parent still ends the worker; elsewhere SIGTERM stays as torch has it.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    if hasattr(signal, "sigwaitinfo"):
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
        threading.Thread(target=_end_if_the_parent_says_so, args=(os.getppid(),), daemon=True).start()


def _end_if_the_parent_says_so(parent: int) -> None:
    while signal.sigwaitinfo({signal.SIGTERM}).si_pid != parent:
        pass
    os._exit(0)
