"""When a run's checkpoints are written, what is told about it, and which ones stay."""

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
from srkd_plugin.training.checkpoint_files import NET_DIGEST, best_iteration, remove_all_but, save_verified


class Checkpoints:
    """Writes the pairs of ``training/checkpoint_files.py``; for rank 0.

    Args:
        opt: The run's options.
        section: Which checkpoints stay.

    Attributes:
        validations: The mean of each metric over the validation sets, by iteration.
    """

    def __init__(self, opt: Mapping[str, Any], section: CheckpointsSection) -> None:
        self.models = Path(opt["path"]["models"])
        self.states = Path(opt["path"]["training_states"])
        self.section = section
        self.metrics = (opt.get("val") or {}).get("metrics") or {}
        self.validations: dict[int, dict[str, dict[str, float]]] = {}
        self._last: Optional[tuple[int, str, Mapping[str, Any]]] = None

    def save(self, iteration: int, student: Mapping[str, Any], state: Mapping[str, Any]) -> bool:
        """Save a checkpoint; then remove those that are not to stay.

        Args:
            iteration: Its iteration, -1 at the end of training: then the student alone is saved, as ``latest``.
            student: What goes into its file: state dicts by ``params`` and ``params_ema``.
            state: All else.

        Returns:
            Whether it was saved. If not, this has been logged as an error, and the earlier checkpoints are untouched.

        Raises:
            FloatingPointError: The student's weights are not finite; nothing was saved.
        """
        _refuse_nonfinite(student)
        name = "latest" if iteration == -1 else str(iteration)
        try:
            digest = save_verified(student, self.models / f"net_g_{name}.pth")
            if iteration != -1:
                self._save_state(iteration, digest, state)
        except (OSError, RuntimeError) as error:  # torch reports some failed writes as RuntimeError
            get_root_logger().error(
                f"Checkpoint {name} was NOT saved: {error}. Earlier checkpoints are untouched. Is the disk full?"
            )
            return False
        get_root_logger().info(f"Checkpoint {name} was saved and read back.")
        if iteration != -1:
            self._last = iteration, digest, state
            self._remove_others(iteration)
        return True

    def _save_state(self, iteration: int, digest: str, state: Mapping[str, Any]) -> None:
        content = {**state, NET_DIGEST: digest, "validations": self.validations}
        save_verified(content, self.states / f"{iteration}.state")

    def validated(self, iteration: int, dataset: str, results: Mapping[str, float]) -> None:
        """Note the results of a validation; BasicSR saves before it validates, so the state is written once more."""
        by_set = self.validations.setdefault(iteration, {})
        by_set[dataset] = {metric: float(value) for metric, value in results.items()}
        if self._last is None or self._last[0] != iteration:
            return
        try:
            self._save_state(*self._last)
        except OSError as error:
            get_root_logger().error(f"The results of iteration {iteration} were NOT added to its state: {error}")

    def is_saved(self, iteration: int) -> bool:
        """Whether the last checkpoint that was saved is of this iteration."""
        return self._last is not None and self._last[0] == iteration

    def _remove_others(self, newest: int) -> None:
        if self.section.keep_last is None:
            return
        from_disk = {int(f.stem) for f in self.states.glob("*.state") if f.stem.isdecimal() and int(f.stem) <= newest}
        keep = set(sorted(from_disk, reverse=True)[: self.section.keep_last])
        best = self._best(from_disk)
        gone = remove_all_but(keep if best is None else keep | {best}, newest, self.models, self.states)
        if gone:
            get_root_logger().info(f"Checkpoints removed (keep_last, keep_best): {', '.join(map(str, gone))}.")

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
