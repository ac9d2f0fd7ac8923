"""Optimizers and schedules of a run that is resumed: those that were saved, made to fit what the options ask for."""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from basicsr.models.base_model import BaseModel

from srkd_plugin.errors import OptionsError

SETTINGS = (
    *("milestones", "gamma", "restarts", "restart_weights"),  # MultiStepRestartLR
    *("periods", "cumulative_period", "eta_min"),  # CosineAnnealingRestartLR, and restart_weights
)
"""Attributes of BasicSR's schedulers that its options give; the others are where a run is in its schedule."""
PER_GROUP = ("base_lrs", "_last_lr")
"""Attributes of torch's schedulers with a value for each parameter group."""


OTHER_KEY, OTHER_REMEDY = "path.resume_state", "Start a new run under another name."


def check_kind(state: Mapping[str, Any]) -> None:
    """Refuse a training state of another kind of model.

    Raises:
        OptionsError: It has not one optimizer and one schedule.
    """
    counts = [len(state.get(part) or []) for part in ("optimizers", "schedulers")]
    if counts != [1, 1]:
        problem = f"it has {counts[0]} optimizers and {counts[1]} schedules, and DistillModel has one of each"
        raise OptionsError(OTHER_KEY, f"{state['iter']}.state", problem, OTHER_REMEDY)


def check_parameters(state: Mapping[str, Any], count: int) -> None:
    """Refuse a training state whose first parameter group is not the student.

    Args:
        state: The state.
        count: Number of the student's parameters that are trained.

    Raises:
        OptionsError: It has another number of them.
    """
    saved = len(state["optimizers"][0]["param_groups"][0]["params"])
    if saved != count:
        problem = f"its optimizer trains {saved} tensors of the student, and network_g has {count}"
        raise OptionsError(OTHER_KEY, f"{state['iter']}.state", problem, OTHER_REMEDY)


def load_optimizers(model: BaseModel, state: Mapping[str, Any]) -> None:
    """Go on with the saved optimizers and schedules; settings of the schedules are the options' from now on.

    Args:
        model: With new optimizers and schedulers of its options.
        state: The training state; its optimizers have the parameters of the model's.
    """
    for optimizer, saved in zip(model.optimizers, state["optimizers"]):
        optimizer.load_state_dict(saved)
    for optimizer, scheduler, saved in zip(model.optimizers, model.schedulers, state["schedulers"]):
        settings = {key: value for key, value in vars(scheduler).items() if key in SETTINGS}
        groups = len(optimizer.param_groups)
        per_group = {key: _repeated(saved[key], groups) for key in PER_GROUP if key in saved}
        scheduler.load_state_dict({**saved, **per_group, **settings})


def load_moments(model: BaseModel, state: Mapping[str, Any], warmup: int) -> None:
    """Go on with the saved moments alone: all settings, and the schedule, are those that the options have there.

    Args:
        model: As :func:`load_optimizers` takes it.
        state: The same.
        warmup: Iterations of the warm-up.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch: no step of the optimizer between those of the scheduler
        for iteration in range(1, int(state["iter"]) + 1):
            BaseModel.update_learning_rate(model, iteration, warmup)
    for optimizer, saved in zip(model.optimizers, state["optimizers"]):
        settings = [{k: v for k, v in group.items() if k != "params"} for group in optimizer.param_groups]
        optimizer.load_state_dict(saved)
        for group, values in zip(optimizer.param_groups, settings):
            group.update(values)


def fit_second_group(
    saved: Mapping[str, Any], saved_names: Sequence[str], kept: Iterable[str], names: Sequence[str]
) -> dict[str, Any]:
    """The saved state of an optimizer whose second group has other parameters now.

    Args:
        saved: State dict of the optimizer.
        saved_names: Names of the parameters of its second group; empty where it has none.
        kept: Those that are parameters now as well, of the same shape; the others start without moments.
        names: Names of the parameters of the second group now; empty where there is none.

    Returns:
        A state dict. A second group that is new has the settings of the first.
    """
    first, *others = saved["param_groups"]
    moments = {index: saved["state"][index] for index in first["params"] if index in saved["state"]}
    place = dict(zip(saved_names, others[0]["params"])) if others else {}
    indices = list(range(len(first["params"]), len(first["params"]) + len(names)))
    for name in set(kept) & place.keys():
        if place[name] in saved["state"]:
            moments[indices[names.index(name)]] = saved["state"][place[name]]
    second = {**(others[0] if others else first), "params": indices}
    return {**saved, "state": moments, "param_groups": [first, second] if names else [first]}


def _repeated(values: Sequence[float], count: int) -> list[float]:
    return [*values, *[values[-1]] * count][:count]
