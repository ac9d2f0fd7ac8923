"""What a run keeps of its options in its training state, and how they differ from those that resume it.

What becomes of a difference is said by :mod:`srkd_plugin.training.resume_rules`.
"""

from __future__ import annotations

import copy
from collections.abc import Collection, Iterator, Mapping
from typing import Any, Optional

from srkd_plugin.errors import MISSING
from srkd_plugin.options.run_options import RunOptions
from srkd_plugin.training.resume_rules import Change, Difference, Situation, is_empty, rule_for, rule_for_file

RECORD = "run_options"
"""Key of a training state: the record of its run."""
UNRECORDED = (
    "The state has no record of its run's options (SRModel or an earlier version saved it): but for the learning rate "
    "and its schedule, it cannot be told whether they are others now."
)
NOT_RECORDED = (
    *("name", "model_type", "manual_seed", "num_gpu", "dist", "rank", "world_size", "auto_resume", "is_train"),
    *("root_path", "trust_weights", "val", "logger", "checkpoints", "path", "datasets"),
)
"""Sections and keys that do not decide how training goes on, or of which only a part does, which is added by name."""
OF_PATH = ("param_key_t", "strict_load_t", "param_key_prefix_t")
NOT_OF_TRAIN_SET = (
    *("name", "phase", "scale", "io_backend", "num_worker_per_gpu", "prefetch_mode", "num_prefetch_queue"),
    *("pin_memory", "persistent_workers"),
)
"""Keys of ``datasets.train`` that change how images are read and not which."""


def make_record(options: RunOptions, files: Mapping[str, str]) -> dict[str, Any]:
    """What a run keeps of its options, as plain values.

    Args:
        options: The run's options, before BasicSR's model takes them apart.
        files: The sha256 of what the teacher's images come from, by the key that names it.

    Returns:
        ``options``, sections and keys that decide how the run goes on, and ``files``, by key ``[name, sha256]``.
    """
    opt = options.raw
    sections = {key: value for key, value in opt.items() if key not in NOT_RECORDED}
    sections["path"] = {key: opt["path"][key] for key in OF_PATH if key in opt["path"]}
    train_set = {key: value for key, value in opt["datasets"]["train"].items() if key not in NOT_OF_TRAIN_SET}
    sections["datasets"] = {"train": train_set}
    return {
        "options": _plain(_without(sections, files)),
        "files": {key: [str(_at(opt, key)), sha] for key, sha in files.items()},
    }


def _without(section: Mapping[str, Any], keys: Collection[str], where: str = "") -> dict[str, Any]:
    """A section without some keys, which are paths in the whole file."""
    return {
        name: _without(value, keys, f"{where}{name}.") if isinstance(value, Mapping) else value
        for name, value in section.items()
        if f"{where}{name}" not in keys
    }


def differences(state: Mapping[str, Any], now: Mapping[str, Any], resets_lr: bool) -> list[Difference]:
    """Compare the record of a training state with that of the options which resume it.

    Args:
        state: The state; of one without a record, learning rate and schedule are compared.
        now: :func:`make_record` of the options.
        resets_lr: Whether ``train.lr_on_resume`` is ``options``.

    Returns:
        All differences, those that are refused first.
    """
    situation = Situation(int(state["iter"]), resets_lr)
    record = state.get(RECORD) or {"options": _told_by_schedulers(state, now["options"]), "files": {}}
    changes = _changes(record["options"], now["options"]) if RECORD in state else _common(record["options"], now)
    found = [Difference(change, rule_for(change, situation), situation) for change in changes]
    for key in record["files"].keys() | now["files"].keys() if RECORD in state else ():
        before, given = record["files"].get(key), now["files"].get(key)
        if before is None or given is None or before[1] != given[1]:
            found.append(Difference(Change(key, _file(before), _file(given)), rule_for_file(before, given), situation))
    return sorted(found, key=lambda difference: difference.rule.effect != "is refused")


def lines(state: Mapping[str, Any], found: list[Difference], resets_lr: bool) -> list[str]:
    """What a resumed run says of its options, a line each; none where they are the run's."""
    iteration = int(state["iter"])
    text = [] if RECORD in state else [UNRECORDED]
    if resets_lr:
        text.append(
            f"train.lr_on_resume: options: from iteration {iteration + 1} on the learning rate is what optim_g, "
            "scheduler and warmup_iter give there; the optimizer's moments go on."
        )
    if found:
        text.append(f"Options that are others than those of the run until iteration {iteration}:")
    return text + [str(difference) for difference in found]


def after_resume(now: Mapping[str, Any], found: list[Difference]) -> dict[str, Any]:
    """The record of the run that goes on: what is ignored stays as it was, so that it is said again next time."""
    record = copy.deepcopy(dict(now))
    for change, rule, _ in found:
        if rule.effect == "is ignored":
            *sections, key = change.key.split(".")
            section = record["options"]
            for name in sections:
                section = section.setdefault(name, {})
            section.pop(key, None)
            if change.before is not MISSING:
                section[key] = change.before
    return record


def _file(given: Optional[list[str]]) -> Any:
    return MISSING if given is None else f"{given[0]}, sha256 {given[1][:12]}"


def _changes(before: Any, now: Any, key: str = "") -> Iterator[Change]:
    """Values that differ; of a section that only one side has, the section."""
    if isinstance(before, Mapping) and isinstance(now, Mapping) and (not key or (before and now)):
        for name in dict.fromkeys([*before, *now]):
            below = f"{key}.{name}" if key else name
            if below != "train.lr_on_resume":
                yield from _changes(before.get(name, MISSING), now.get(name, MISSING), below)
    elif not (is_empty(before) and is_empty(now)) and (
        before != now or isinstance(before, bool) != isinstance(now, bool)
    ):
        yield Change(key, before, now)


def _common(before: Mapping[str, Any], now: Mapping[str, Any]) -> list[Change]:
    return [change for change in _changes(before, now["options"]) if change.before is not MISSING]


def _told_by_schedulers(state: Mapping[str, Any], now: Mapping[str, Any]) -> dict[str, Any]:
    """What a state without a record says of its options: the schedule's settings, and the learning rate."""
    schedule, section = state["schedulers"][0], now["train"]["scheduler"]
    told = {key: schedule[key] for key in section if key in schedule}
    if isinstance(told.get("milestones"), Mapping):
        told["milestones"] = sorted(m for m, count in told["milestones"].items() for _ in range(count))
    kinds = {"periods": "CosineAnnealingRestartLR", "milestones": "MultiStepLR"}
    told["type"] = next((name for key, name in kinds.items() if key in schedule), section["type"])
    group = state["optimizers"][0]["param_groups"][0]
    return _plain({"train": {"scheduler": told, "optim_g": {"lr": group["initial_lr"]}}})


def _plain(value: Any) -> Any:
    """Values that a state may hold which is read as tensors and plain values only."""
    if isinstance(value, Mapping):
        return {str(key): _plain(below) for key, below in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(below) for below in value]
    return value if value is None or type(value) in (bool, int, float, str) else str(value)


def _at(opt: Mapping[str, Any], key: str) -> Any:
    value: Any = opt
    for name in key.split("."):
        value = value.get(name) if isinstance(value, Mapping) else None
    return value
