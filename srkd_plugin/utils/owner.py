"""One owner per output: a second process that would write to it is told who does.

A lock file lies beside the output, ``.<name>.lock``, and names its owner. What counts is not the file but the lock that
the owner's process has on it (POSIX's, ``fcntl.lockf``): the operating system takes that away when the process ends,
however it ends, so that a file that a killed process leaves is harmless. Processes that a fork makes, such as loader
workers, do not inherit it. NFS carries such locks between machines; on a file system without them, and on Windows, one
warning says that nothing keeps a second process out.
"""

from __future__ import annotations

import atexit
import errno
import json
import os
import shlex
import socket
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Optional

from srkd_plugin.errors import InputError, printable

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]  # which is what to look for

TRIES, PAUSE = 5, 0.05
"""How often a lock is asked for, and seconds between: a look (:func:`owner_of`) holds one for a moment."""
HELD = (errno.EACCES, errno.EAGAIN)
"""What a lock of another process is reported as."""

_own: dict[Path, int] = {}
"""Open lock files of this process, by path. A second opening, once closed, would take the lock away."""
_own_pid = os.getpid()


def lock_file(output: Path) -> Path:
    """Where the lock of an output is; beside it, so that the output can be renamed."""
    output = Path(os.path.abspath(output))
    return Path(os.path.realpath(output.parent)) / f".{output.name}.lock"


@contextmanager
def owned(option: str, output: Path) -> Iterator[None]:
    """Own an output in the block; in a process that owns it already, do nothing.

    Args:
        option: How the user named the output, e.g. ``--out``.
        output: File or folder; need not exist. The folder that it is in is made.

    Raises:
        InputError: Another process owns it; says which.
    """
    taken = _take(option, output)
    try:
        yield
    finally:
        if taken:
            _release(lock_file(output))


def own_until_exit(option: str, output: Path) -> None:
    """Own an output until this process ends; arguments and errors as for :func:`owned`."""
    if _take(option, output):
        atexit.register(_release, lock_file(output))


def owner_of(output: Path) -> Optional[str]:
    """Who owns an output, if another process does; nothing is written."""
    file = lock_file(output)
    if fcntl is None or file in _own or not file.exists():
        return None
    with suppress(OSError), open(file, "rb") as opened:
        try:
            fcntl.lockf(opened, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except OSError as error:
            return _described(file) if error.errno in HELD else None
    return None


def _is_writable(folder: Path) -> bool:
    """Whether files can be made in a folder, or in what is there of the folders above it."""
    there = next(path for path in (folder.absolute(), *folder.absolute().parents) if path.exists())
    return there.is_dir() and os.access(there, os.W_OK)


def _take(option: str, output: Path) -> bool:
    """Whether a lock was taken, which must be released."""
    global _own_pid
    if _own_pid != os.getpid():  # after a fork: these locks are the parent's
        _own.clear()
        _own_pid = os.getpid()
    file = lock_file(output)
    if file in _own:
        return False
    try:
        opened = _locked(file)
    except OSError as error:
        if error.errno in HELD and error.filename is None:  # not a file that may not be opened
            problem = f"another process writes there: {_described(file)}"
            remedy = "Wait for it or end it, or choose another name or folder."
            raise InputError(option, str(output), problem, remedy) from error
        reason = error.strerror or error
        if error.filename is not None and not _is_writable(file.parent):  # the output cannot be written, either
            problem = f"it cannot be written ({reason})"
            raise InputError(option, str(output), problem, "Choose another place, or allow it.") from error
        print(
            f"srkd_plugin: warning: {file} cannot be locked ({reason}): "
            f"see to it yourself that no other process writes to {output}",
            file=sys.stderr,
            flush=True,
        )
        return False
    _own[file] = opened
    return True


def _locked(file: Path) -> int:
    """Open and lock a lock file, and write who we are."""
    if fcntl is None:
        raise OSError(errno.ENOLCK, "Windows has no such locks")
    file.parent.mkdir(parents=True, exist_ok=True)
    for attempt in range(TRIES):
        opened = os.open(file, os.O_RDWR | os.O_CREAT, 0o666)
        try:
            fcntl.lockf(opened, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            os.close(opened)
            if error.errno not in HELD or attempt == TRIES - 1:
                raise
        else:
            if _is_still_there(opened, file):
                _sign(opened)
                return opened
            os.close(opened)  # its owner has just removed it
        time.sleep(PAUSE)
    raise OSError(errno.EAGAIN, "its owners change too fast")


def _is_still_there(opened: int, file: Path) -> bool:
    with suppress(FileNotFoundError):
        return os.path.samestat(os.fstat(opened), os.stat(file))
    return False


def _sign(opened: int) -> None:
    about = {
        "host": socket.gethostname(),
        "pid": os.getpid(),
        "command": shlex.join(sys.argv),
        "since": time.strftime("%Y-%m-%d %H:%M:%S"),
    }
    with suppress(OSError):  # a full disk: the lock is there all the same
        os.ftruncate(opened, 0)
        os.pwrite(opened, json.dumps(about).encode(), 0)


def _release(file: Path) -> None:
    opened = _own.pop(file, None)
    if opened is not None and _own_pid == os.getpid():
        with suppress(OSError):
            file.unlink()
        os.close(opened)


def _described(file: Path) -> str:
    try:
        about = json.loads(file.read_text("utf-8"))
        parts = (about[key] for key in ("pid", "host", "command", "since"))
        pid, host, command, since = (printable(str(part)) for part in parts)
    except (OSError, ValueError, KeyError, TypeError):
        return f"it has locked {file}, and has not said who it is"
    return f"process {pid} on {host}, since {since}: {command}"
