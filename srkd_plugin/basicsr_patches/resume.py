"""Finding the training state that a run goes on from; the teacher's file and key stay as the options have them."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Callable, Optional

from srkd_plugin.errors import OptionsError
from srkd_plugin.options import reader
from srkd_plugin.options.sections import PathSection
from srkd_plugin.parallel.rank_facts import raise_first_error, refuse_differences, told_by_all
from srkd_plugin.preflight.resume import compare_with_state
from srkd_plugin.training.checkpoint_files import NET_DIGEST, iterations_in, load_pair


def find_on_all_ranks(opt: dict[str, Any]) -> Optional[tuple[str, dict[str, Any]]]:
    """Find the state that a run goes on from, loaded to host memory; every rank must find the same one.

    Args:
        opt: The run's options; a run that is not ours takes the state that stock would take.

    Returns:
        Its path and its content; None for a new run.

    Raises:
        OptionsError: None of the states can be resumed, or not with these options, or the ranks differ; on every rank.
    """
    if not reader.is_ours(opt):
        return _stock_state(opt)
    found, error = None, None
    try:
        found = _find(opt)
        if found:
            compare_with_state(reader.read(opt), found[1])
    except OptionsError as fault:
        error = fault
    which = found and f"iteration {found[1]['iter']}, student {str(found[1].get(NET_DIGEST))[:8]}"
    check_resumed("--auto_resume" if opt["auto_resume"] else "path.resume_state", which, error)
    return found


def _find(opt: dict[str, Any]) -> Optional[tuple[str, dict[str, Any]]]:
    models, trust = Path(opt["path"]["models"]), reader.trusts_weights(opt)
    if opt["auto_resume"]:
        return _newest_good(Path(opt["path"]["training_states"]), models, trust)
    path = opt["path"].get("resume_state")
    if not path:
        return None
    state, fault = load_pair(Path(path), models, trust)
    if state is None:
        raise OptionsError("path.resume_state", path, fault, "Name another state, or use --auto_resume.")
    return path, state


def check_resume_with_teacher(stock: Callable[..., None], opt: dict[str, Any], *arguments: Any, **more: Any) -> None:
    """Stand-in for ``check_resume``: in a run of ours the teacher's keys of ``path`` stay as they are."""
    if not reader.is_ours(opt):
        return stock(opt, *arguments, **more)
    with teacher_paths_kept(opt):
        return stock(opt, *arguments, **more)


@contextmanager
def teacher_paths_kept(opt: dict[str, Any]) -> Iterator[None]:
    """Undo what BasicSR's ``check_resume`` does to the teacher's keys of ``path`` on resume.

    It points every ``network_*`` at ``<models>/net_*_<iter>.pth``, and turns the param key ``params_ema`` into
    ``params``; but the teacher is never saved with the student.
    """
    path = opt["path"]
    before = {key: path[key] for key in PathSection.model_fields if key in path}
    try:
        yield
    finally:
        for key in PathSection.model_fields:
            path.pop(key, None)
        path.update(before)


def check_resumed(key: str, found: Optional[str], error: Optional[OptionsError]) -> None:
    """Compare the checkpoints that the ranks would go on from; in a run of one process, raise what was found wrong.

    Args:
        key: The option by which a checkpoint is resumed.
        found: Which one this rank has found; None for none.
        error: What was wrong with it.

    Raises:
        OptionsError: ``error``; or a rank has found one, or another checkpoint; on every rank.
        TimeoutError: A rank did not come here.
    """
    by_rank = told_by_all({"checkpoint": {key: found or "(none)"}}, error, "checkpoint")
    raise_first_error(by_rank, error)
    refuse_differences("checkpoint", by_rank, "Let all of them see one and the same experiments folder.")


def _newest_good(states: Path, models: Path, trust: bool) -> Optional[tuple[str, dict[str, Any]]]:
    """The newest state that is whole, and whose student is; None if there is no state at all."""
    iterations = iterations_in(states, "", ".state")
    faults: list[str] = []
    for iteration in iterations:
        path = states / f"{iteration}.state"
        state, fault = load_pair(path, models, trust)
        if state is not None:
            for earlier in faults:
                print(f"srkd_plugin: warning: passed over: {earlier}", file=sys.stderr, flush=True)
            return str(path), state
        faults.append(fault)
    if not faults:
        return None
    problem = f"none of the {len(faults)} training states can be resumed; the newest: {faults[0]}"
    remedy = "Put good files back, or start anew without --auto_resume (the folder is then archived, not removed)."
    raise OptionsError("--auto_resume", str(states), problem, remedy)


def _stock_state(opt: dict[str, Any]) -> Optional[tuple[str, dict[str, Any]]]:
    """What stock takes: the newest state under the working directory, or the one that is named."""
    import torch

    path = opt["path"].get("resume_state")
    if opt["auto_resume"]:
        folder = os.path.join("experiments", opt["name"], "training_states")
        iterations = iterations_in(Path(folder), "", ".state")
        path = os.path.join(folder, f"{iterations[0]}.state") if iterations else None
    return (path, torch.load(path, map_location="cpu")) if path else None


def take_on_seed(opt: dict[str, Any], state: dict[str, Any]) -> None:
    """The data of a resumed run are those of the run's first seed, also where ``manual_seed`` was not given."""
    ranks = state.get("ranks") or []
    if opt["rank"] < len(ranks) and ranks[opt["rank"]]["seed"] != opt["manual_seed"]:
        seed = ranks[opt["rank"]]["seed"]
        warn(opt, f"the data go on with the seed of the run that is resumed, {seed}, and not {opt['manual_seed']}")
        opt["manual_seed"] = seed


def warn(opt: dict[str, Any], text: str) -> None:
    """Print a warning; the logger is the trainer's, as whoever asks for it first decides whether it has a file."""
    if opt["rank"] == 0:
        print(f"srkd_plugin: warning: {text}", file=sys.stderr, flush=True)
