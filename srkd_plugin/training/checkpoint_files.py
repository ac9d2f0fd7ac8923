"""An experiment's checkpoints on disk: written whole and read back, told from broken ones, removed with care.

A checkpoint of iteration N is a pair as BasicSR names it: ``models/net_g_N.pth`` (the student) and
``training_states/N.state`` (all else that a resumed run needs). The student's file is written first, and its sha256
is in the state: a state that is there whole names a student that was there whole before it.
"""

from __future__ import annotations

import hashlib
import io
import os
import zipfile
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, Callable, Optional

import torch

from srkd_plugin.errors import OptionsError
from srkd_plugin.utils.files import open_atomically, remove_unfinished, sha256_of_file
from srkd_plugin.utils.weights import load_weights_file

NET_DIGEST = "net_g_sha256"
"""Key of a state: the sha256 of the student's file that belongs to it."""


def save_verified(content: Any, path: Path) -> str:
    """:func:`torch.save`, whole or not at all: written beside, flushed, read back, and only then given its name.

    Returns:
        The sha256 of the file, in hexadecimal.

    Raises:
        OSError: It cannot be written, or is not read back as it was written; an earlier file of that name is untouched.
    """
    buffer = io.BytesIO()
    torch.save(content, buffer)
    digest = hashlib.sha256(buffer.getbuffer()).hexdigest()
    remove_unfinished(path.parent)
    with open_atomically(path) as file:
        file.write(buffer.getbuffer())
        file.flush()
        os.fsync(file.fileno())
        if sha256_of_file(Path(file.name)) != digest:
            raise OSError(f"{path} was not read back as it was written")
    _sync_folder(path.parent)
    return digest


def _sync_folder(folder: Path) -> None:
    """Make a new name in a folder last through a power failure."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def fault_of(file: Path) -> Optional[str]:
    """What is wrong with a file of :func:`torch.save`, which is a ZIP archive with check sums; None if nothing is."""
    try:
        with zipfile.ZipFile(file) as archive:
            broken = archive.testzip()
    except FileNotFoundError:
        return "it is not there"
    except Exception as error:  # what a damaged archive can raise is not limited to BadZipFile
        return f"it is truncated or not a PyTorch file ({error})"
    return None if broken is None else f"it is damaged ({broken})"


def load_pair(state_file: Path, models: Path, trust: bool = False) -> tuple[Optional[dict[str, Any]], str]:
    """A training state, if it and the student's file that belongs to it are whole.

    Args:
        state_file: ``training_states/N.state``.
        models: Folder of the student's files.
        trust: See :func:`~srkd_plugin.utils.weights.load_weights_file`.

    Returns:
        The state, in host memory, and ``""``; or None and what is wrong.
    """
    fault = fault_of(state_file)
    if fault:
        return None, f"{state_file}: {fault}"
    try:
        state = load_weights_file("path.resume_state", state_file, trust)
        iteration, digest = int(state["iter"]), state.get(NET_DIGEST)
    except OptionsError as error:
        return None, f"{state_file}: {error.problem}; {error.remedy}"
    except Exception as error:  # a file of somebody else's: whatever it is, it cannot be resumed
        return None, f"{state_file}: it is not a training state ({str(error).splitlines()[0]})"
    net = models / f"net_g_{iteration}.pth"
    fault = fault_of(net)
    if fault is None and digest is not None and sha256_of_file(net) != digest:
        fault = "it is not the one that was saved with the state"
    return (None, f"{net}: {fault}") if fault else (state, "")


def iterations_in(folder: Path, prefix: str, suffix: str) -> list[int]:
    """Iterations of the files ``<prefix><iteration><suffix>`` of a folder, the newest first."""
    if not folder.is_dir():
        return []
    middles = (
        entry.name[len(prefix) : len(entry.name) - len(suffix)]
        for entry in folder.iterdir()
        if entry.name.startswith(prefix) and entry.name.endswith(suffix)
    )
    return sorted((int(middle) for middle in middles if middle.isdecimal()), reverse=True)


def save_pair(student: Any, state: Mapping[str, Any], models: Path, states: Path) -> str:
    """Save a checkpoint: the student's file, then the state, which names it; both, or neither.

    Args:
        student: Content of the student's file.
        state: Content of the state; ``iter`` is its iteration, and the student's sha256 is added.
        models: Folder of the student's file.
        states: Folder of the state.

    Returns:
        The sha256 of the student's file, in hexadecimal.

    Raises:
        OSError, RuntimeError: It cannot be saved; see :func:`save_verified`. torch reports some failed writes by the
            latter.
    """
    net, state_file = models / f"net_g_{state['iter']}.pth", states / f"{state['iter']}.state"
    digest = save_verified(student, net)
    try:
        save_verified({**state, NET_DIGEST: digest}, state_file)
    except (OSError, RuntimeError):
        if not state_file.exists():  # the disk had room for the student alone, which takes the room of the next
            with suppress(OSError):
                net.unlink()
        raise
    return digest


def remove_all_but(
    keep: set[int], newest: int, models: Path, states: Path, warn: Callable[[Path, OSError], None]
) -> list[int]:
    """Remove checkpoints that are older than ``newest`` and not in ``keep``; ``newest`` was just saved and verified.

    Args:
        keep: Iterations that stay.
        newest: The newest one; it and later ones stay.
        models: Folder of the students' files.
        states: Folder of the states.
        warn: Called with a file that cannot be removed, and why.

    Returns:
        The iterations that are gone.
    """
    there = {*iterations_in(states, "", ".state"), *iterations_in(models, "net_g_", ".pth")}
    gone = []
    for iteration in sorted(iteration for iteration in there if iteration < newest and iteration not in keep):
        # the state first: a state without its student would count as broken
        file = states / f"{iteration}.state"
        try:
            file.unlink(missing_ok=True)
            file = models / f"net_g_{iteration}.pth"
            file.unlink(missing_ok=True)
            gone.append(iteration)
        except OSError as error:
            warn(file, error)
    return gone


def best_iteration(values: Mapping[int, float], better: str) -> Optional[int]:
    """The iteration with the best value, the earliest on a tie.

    Args:
        values: Values by iteration; NaN is never best.
        better: ``higher`` or ``lower``, as BasicSR's metrics have it.
    """
    sign = -1 if better == "lower" else 1
    usable = {iteration: sign * value for iteration, value in values.items() if value == value}
    return max(usable, key=lambda iteration: (usable[iteration], -iteration)) if usable else None
