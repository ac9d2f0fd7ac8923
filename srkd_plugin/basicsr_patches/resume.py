"""What our runs put in place of three functions of BasicSR's ``train.py``, so that they go on where they ended.

:mod:`srkd_plugin.basicsr_patches.apply` says when, and puts them there.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any, Callable, Optional

from srkd_plugin.errors import OptionsError
from srkd_plugin.options import reader
from srkd_plugin.parallel.rank_facts import raise_first_error, refuse_differences, told_by_all
from srkd_plugin.training import stop_signals
from srkd_plugin.training.checkpoint_files import NET_DIGEST, iterations_in, load_pair
from srkd_plugin.training.trainer_data import TrainerData


class Resumption:
    """Finds the state to resume from, and lets the data go on at its position.

    Args:
        opt: The run's options as ``train.py`` has them; the path of the state is written into them.
        leave: Ends the process with an error of the user's.
    """

    def __init__(self, opt: dict[str, Any], leave: Callable[[OptionsError], None]) -> None:
        self.opt = opt
        self.ours = reader.is_ours(opt)
        self.exact = reader.exact_data(opt)
        self._leave = leave
        self._state: Optional[dict[str, Any]] = None
        self._data = TrainerData()

    def load_resume_state(self, opt: dict[str, Any]) -> Optional[dict[str, Any]]:
        """Stand-in for ``load_resume_state``, for our runs and for machines without CUDA.

        The state is loaded to host memory: ``Optimizer.load_state_dict`` moves it to the parameters' device by itself.
        """
        from basicsr.utils.misc import check_resume

        try:
            found = self._find_on_all_ranks(opt)
        except OptionsError as error:
            self._leave(error)
            raise
        if found is None:
            return None
        path, self._state = found
        opt["path"]["resume_state"] = path
        with reader.teacher_paths_kept(opt):
            check_resume(opt, self._state["iter"])
        if self.exact:
            _take_on_seed(opt, self._state)
        return self._state

    def _find_on_all_ranks(self, opt: dict[str, Any]) -> Optional[tuple[str, dict[str, Any]]]:
        if not self.ours:
            return _stock_state(opt)
        found, error = None, None
        try:
            found = self._find(opt)
        except OptionsError as fault:
            error = fault
        which = found and f"iteration {found[1]['iter']}, student {str(found[1].get(NET_DIGEST))[:8]}"
        check_resumed("--auto_resume" if opt["auto_resume"] else "path.resume_state", which, error)
        return found

    def _find(self, opt: dict[str, Any]) -> Optional[tuple[str, dict[str, Any]]]:
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

    def build_dataloader(self, stock: Callable[..., Any], dataset: Any, dataset_opt: dict[str, Any], **kw: Any) -> Any:
        """Stand-in for ``build_dataloader`` as ``create_train_val_dataloader`` calls it."""
        from srkd_plugin.training.train_loader import build_train_loader, with_own_generator

        if kw.get("sampler") is None:
            loader = stock(dataset, dataset_opt, **kw)
            self._data.val_loaders.append(loader)
        else:
            loader = build_train_loader(stock, dataset, dataset_opt, exact=self.exact, **kw)
            loader.sampler.start = self._start(batches=len(loader), batch=loader.batch_size)
            if self.ours:
                self._data.iters_per_epoch = len(loader)
                stop_signals.listen()
        return with_own_generator(loader, kw["seed"]) if self.exact else loader

    def build_model(self, stock: Callable[..., Any], opt: dict[str, Any]) -> Any:
        """Stand-in for ``build_model``: the model is told what the trainer has."""
        model = stock(opt)
        model.trainer_data = self._data
        return model

    def _start(self, batches: int, batch: int) -> tuple[int, int]:
        if self._state is None:
            return 0, 0
        epoch, done = self._state["epoch"], self._state["iter"] - self._state["epoch"] * batches
        if not 0 <= done <= batches:
            _warn(self.opt, "an epoch has another length now than in the run that is resumed: it is begun anew")
            return epoch, 0
        if not self.exact and done:
            hint = "random crops are drawn anew; for an exact resume start runs with datasets.train.exact_resume: true"
            _warn(self.opt, f"the data go on at batch {done + 1:,d} of epoch {epoch}, but {hint}")
        return epoch, done * batch


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
    faults = []
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


def _take_on_seed(opt: dict[str, Any], state: dict[str, Any]) -> None:
    """The data of a resumed run are those of the run's first seed, also where ``manual_seed`` was not given."""
    ranks = state.get("ranks") or []
    if opt["rank"] < len(ranks) and ranks[opt["rank"]]["seed"] != opt["manual_seed"]:
        seed = ranks[opt["rank"]]["seed"]
        _warn(opt, f"the data go on with the seed of the run that is resumed, {seed}, and not {opt['manual_seed']}")
        opt["manual_seed"] = seed


def _warn(opt: dict[str, Any], text: str) -> None:
    """Not by the logger: whoever asks for it first decides whether it has a file, and that must be the trainer."""
    if opt["rank"] == 0:
        print(f"srkd_plugin: warning: {text}", file=sys.stderr, flush=True)
