"""Checkpoints of a run: when they are written, what is logged about it, and which ones stay."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Optional

import torch
from basicsr.utils import get_root_logger
from torch import Tensor

from srkd_plugin.options.sections import CheckpointsSection
from srkd_plugin.training.checkpoint_files import (
    NET_DIGEST,
    best_iteration,
    iterations_in,
    remove_all_but,
    save_pair,
    save_verified,
)


class Checkpoints:
    """Writes the pairs of ``training/checkpoint_files.py``; for rank 0.

    Args:
        opt: The run's options.
        section: Options that say which checkpoints stay.

    Attributes:
        validations: ``validations[iteration][set][metric]``, the mean of a metric over the images of a validation set.
    """

    def __init__(self, opt: Mapping[str, Any], section: CheckpointsSection) -> None:
        self.models = Path(opt["path"]["models"])
        self.states = Path(opt["path"]["training_states"])
        self.section = section
        self.metrics = (opt.get("val") or {}).get("metrics") or {}
        self.validations: dict[int, dict[str, dict[str, float]]] = {}
        self._last: Optional[tuple[str, Mapping[str, Any]]] = None  # the sha256 of the student, and the state
        self._unremovable: set[Path] = set()

    def save(self, iteration: int, student: Mapping[str, Any], state: Mapping[str, Any]) -> bool:
        """Save a checkpoint; then remove those that need not stay.

        Args:
            iteration: Iteration of the checkpoint, -1 at the end of training: then the student alone is saved, as
                ``latest``.
            student: What goes into its file: state dicts by ``params`` and ``params_ema``.
            state: All else.

        Returns:
            Whether it was saved. If not, this has been logged as an error, and the earlier checkpoints are untouched.

        Raises:
            FloatingPointError: The student's weights are not finite; nothing was saved.
        """
        _refuse_nonfinite(student)
        name, digest = "latest" if iteration == -1 else str(iteration), ""
        try:
            if iteration == -1:
                save_verified(student, self.models / "net_g_latest.pth")
            else:
                digest = save_pair(student, self._with_validations(state), self.models, self.states)
        except (OSError, RuntimeError) as error:  # torch reports some failed writes as RuntimeError
            get_root_logger().error(
                f"Checkpoint {name} was NOT saved: {error}. Earlier checkpoints are untouched. Is the disk full?"
            )
            return False
        get_root_logger().info(f"Checkpoint {name} was saved and read back.")
        if iteration != -1:
            self._last = digest, state
            self._remove_others(iteration)
        return True

    def resumed(self, state: Mapping[str, Any], file: Path) -> None:
        """Go on from a training state of this or another experiment.

        Args:
            state: The state.
            file: Where it was read. If it is this experiment's, results of its iteration are still added to it.
        """
        self.validations = dict(state.get("validations") or {})
        own = file.resolve() == (self.states / f"{state['iter']}.state").resolve()
        self._last = (state[NET_DIGEST], state) if own and NET_DIGEST in state else None

    def _with_validations(self, state: Mapping[str, Any]) -> dict[str, Any]:
        return {**state, "validations": self.validations}

    def validated(self, iteration: int, dataset: str, results: Mapping[str, float]) -> None:
        """Note the results of a validation; BasicSR saves before it validates, so the state is written once more."""
        by_set = self.validations.setdefault(iteration, {})
        by_set[dataset] = {metric: float(value) for metric, value in results.items()}
        if self._last is None or not self.is_saved(iteration):
            return
        digest, state = self._last
        try:
            save_verified({**self._with_validations(state), NET_DIGEST: digest}, self.states / f"{iteration}.state")
        except OSError as error:
            get_root_logger().error(f"The results of iteration {iteration} were NOT added to its state: {error}")

    def is_saved(self, iteration: int) -> bool:
        """Whether the last checkpoint that was saved, or resumed from, is of this iteration."""
        return self._last is not None and self._last[1]["iter"] == iteration

    def _remove_others(self, newest: int) -> None:
        if self.section.keep_last is None:
            return
        found = [i for i in iterations_in(self.states, "", ".state") if i <= newest]
        from_disk = {i for i in found if os.path.isfile(self.states / f"{i}.state")}
        keep = set(sorted(from_disk, reverse=True)[: self.section.keep_last])
        best = self._best(from_disk)
        keep = keep if best is None else keep | {best}
        gone = remove_all_but(keep, newest, self.models, self.states, self._warn_once)
        if gone:
            get_root_logger().info(f"Checkpoints removed (keep_last, keep_best): {', '.join(map(str, gone))}.")

    def _warn_once(self, file: Path, error: OSError) -> None:
        if file not in self._unremovable:
            self._unremovable.add(file)
            get_root_logger().warning(f"{file} was NOT removed (keep_last), and stays: {error}.")

    def _best(self, candidates: set[int]) -> Optional[int]:
        metric = self.section.keep_best
        if metric is None:
            return None
        values = {}
        for iteration in candidates & set(self.validations):
            results = [by_metric[metric] for by_metric in self.validations[iteration].values() if metric in by_metric]
            if results:
                values[iteration] = sum(results) / len(results)
        return best_iteration(values, self.metrics[metric].get("better", "higher"))


def on_cpu(state_dict: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """A network's weights as BasicSR saves them: in host memory, without the prefix of DDP."""
    return {key[len("module.") :] if key.startswith("module.") else key: v.cpu() for key, v in state_dict.items()}


def plain(state: Mapping[str, Any]) -> dict[str, Any]:
    """A scheduler's state with its Counter as a dict, which serves it as well: torch < 2.6 reads no Counter safely."""
    return {key: dict(value) if isinstance(value, Counter) else value for key, value in state.items()}


def _refuse_nonfinite(student: Mapping[str, Mapping[str, Tensor]]) -> None:
    for param_key, weights in student.items():
        for name, value in weights.items():
            if value.is_floating_point() and not torch.isfinite(value).all():
                raise FloatingPointError(
                    f"{param_key}.{name} of the student is not finite: nothing was saved, the checkpoints before this "
                    "one are good. Lower the learning rate, and go on from them with --auto_resume."
                )


def describe_files(batch: Mapping[str, Any]) -> str:
    """The file names of a batch, as far as the dataset gives them."""
    paths = batch.get("lq_path") or batch.get("gt_path") or []
    names = [paths] if isinstance(paths, str) else list(paths)
    return ", ".join(os.fspath(name) for name in names) or "unknown: the data set gives no lq_path or gt_path"
