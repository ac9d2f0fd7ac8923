"""The profile of an options file: its student beside its teacher."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Optional

import numpy as np
import torch

from srkd_plugin.errors import MISSING, OptionsError
from srkd_plugin.networks.build import build_described
from srkd_plugin.networks.padding import size_multiple
from srkd_plugin.networks.receptive_field import receptive_field
from srkd_plugin.networks.student_file import StudentFile
from srkd_plugin.profiling.network_cost import Cost, cost_of, parameter_count
from srkd_plugin.profiling.timed_models import TimedModel, open_everywhere, open_files, usable_threads
from srkd_plugin.utils.timing import Spread, Step, interleaved, wall_timer

KEYS = {"student": "network_g", "teacher": "network_t"}
OUTPUTS = ((1280, 720), (1920, 1080))
"""Widths and heights of the SR images that the field counts multiply-adds for."""
LQ_SIZES = ((320, 180), (160, 90), (96, 54), (64, 36))
"""Widths and heights of LQ images that are timed: the largest for which :data:`MOST_MACS` is enough."""
MOST_MACS = 100e9
"""Multiply-adds of one image that a CPU does in seconds."""
BUDGET = 60.0
"""Seconds of timing after which no further round begins."""
PAUSE = 0.02
"""Seconds before each timed call, in which threads of the runtime before it stop waiting for more work."""

Size = tuple[int, int]
"""Width and height."""


@dataclass(frozen=True)
class Wishes:
    """What is profiled."""

    outputs: Sequence[Size] = OUTPUTS
    """SR sizes for which the cost is counted."""
    latency: bool = True
    lq: Optional[Size] = None
    """LQ size for the latency; None: chosen by the cost."""
    rounds: int = 10
    models: Sequence[Path] = ()
    """Exported files of the student that are timed, too."""


@dataclass(frozen=True)
class NetworkProfile:
    """One network."""

    role: str
    type: str
    parameters: int
    receptive_field: Optional[int]
    """LQ pixels to each side; None where it is that of the whole image, or too large to be measured."""
    costs: tuple[Cost, ...]
    """One for each SR size."""


@dataclass(frozen=True)
class Latency:
    """A runtime with one number of threads: seconds of student and teacher, and the student's as a ratio."""

    runtime: str
    threads: int
    student: Optional[Spread]
    teacher: Optional[Spread]
    ratio: Optional[Spread]
    """The student's seconds by the reference's in the same round."""
    reference: str
    """What the ratio is to, e.g. ``teacher, torch float32``."""


@dataclass(frozen=True)
class Profile:
    """Student and teacher side by side."""

    scale: int
    outputs: tuple[Size, ...]
    networks: tuple[NetworkProfile, ...]
    lq: Optional[Size] = None
    rounds: int = 0
    latencies: tuple[Latency, ...] = ()
    notes: tuple[str, ...] = field(default=())


def profile(opt: Mapping[str, Any], wishes: Wishes) -> Profile:
    """Profile the networks of an options file, with random weights: cost does not depend on their values.

    Args:
        opt: The options; ``scale``, ``network_g`` and, if it is there, ``network_t`` are read.
        wishes: What is profiled.

    Raises:
        OptionsError: A network cannot be built, or does not upscale by ``scale``.
        InputError: One of the files is no model of the student.
    """
    networks = {role: _network(opt, role) for role in KEYS if role == "student" or opt.get(KEYS[role])}
    counted, notes = [], []
    for role, (file, multiple) in networks.items():
        net = file.build()
        shapes = [(-(-height // file.scale), -(-width // file.scale)) for width, height in wishes.outputs]
        costs = tuple(cost_of(net, file.channels, shape, multiple) for shape in shapes)
        sees = receptive_field(net, file.channels, file.scale)
        counted.append(NetworkProfile(role, str(file.network["type"]), parameter_count(net), sees, costs))
        if any(cost.scaled for cost in costs):
            notes.append(f"{role}: cost counted on a small image and multiplied by the pixels")
        if multiple != 1:
            notes.append(f"{role}: sides are padded to multiples of {multiple}, and counted so")
    found = Profile(int(opt["scale"]), tuple(wishes.outputs), tuple(counted), notes=tuple(notes))
    return _with_latency(found, networks, wishes) if wishes.latency else found


def _network(opt: Mapping[str, Any], role: str) -> tuple[StudentFile, int]:
    """A network of the options, and the multiple of which its input's sides must be."""
    key, scale = KEYS[role], int(opt["scale"])
    section = opt.get(key, MISSING)
    if not isinstance(section, Mapping) or "type" not in section:
        raise OptionsError(key, section, "a section with a type is expected", f"Describe the {role} in it.")
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        net = build_described(key, section).eval()
    file = StudentFile(dict(section), scale, net.state_dict())
    multiple = size_multiple(net, file.channels, scale)
    if multiple is None:
        problem = f"it makes no images of {scale} times the size"
        raise OptionsError(key, dict(section), problem, "Correct scale, or its arguments.")
    return file, multiple


def _with_latency(found: Profile, networks: Mapping[str, tuple[StudentFile, int]], wishes: Wishes) -> Profile:
    before, threads = torch.get_num_threads(), sorted({1, usable_threads()})
    student = networks["student"][0]
    models, notes = open_files(wishes.models, student, threads), list(found.notes)
    for role, (file, multiple) in networks.items():
        opened, left_out = open_everywhere(role, file, multiple, threads)
        models, notes = models + opened, notes + left_out
    width, height = wishes.lq or _affordable(networks)
    lq = np.random.default_rng(0).random((1, student.channels, height, width), np.float32)
    try:
        seconds = interleaved({_key(one): one.step(lq) for one in models}, wishes.rounds, 2, _after_a_pause, BUDGET)
    finally:
        torch.set_num_threads(before)
    rounds = len(next(iter(seconds.values())))
    return Profile(
        found.scale, found.outputs, found.networks, (width, height), rounds, _latencies(models, seconds), tuple(notes)
    )


def _affordable(networks: Mapping[str, tuple[StudentFile, int]]) -> Size:
    for width, height in LQ_SIZES:
        costs = [cost_of(one.build(), one.channels, (height, width), m).macs for one, m in networks.values()]
        if max(costs) <= MOST_MACS:
            return width, height
    return LQ_SIZES[-1]


def _after_a_pause(step: Step) -> float:
    time.sleep(PAUSE)
    return wall_timer(step)


def _key(model: TimedModel) -> str:
    return f"{model.role}, {model.runtime}, {model.threads}"


def _latencies(models: Sequence[TimedModel], seconds: Mapping[str, list[float]]) -> tuple[Latency, ...]:
    rows = []
    for runtime, threads in dict.fromkeys((one.runtime, one.threads) for one in models):
        student, teacher = (seconds.get(f"{role}, {runtime}, {threads}") for role in KEYS)
        candidates = (f"teacher, {runtime}", "teacher, torch float32", "student, torch float32")
        reference = next(name for name in candidates if f"{name}, {threads}" in seconds)
        base = seconds[f"{reference}, {threads}"]
        ratio = None if student is None else Spread.of([a / b for a, b in zip(student, base)])
        rows.append(Latency(runtime, threads, _spread(student), _spread(teacher), ratio, reference))
    return tuple(rows)


def _spread(seconds: Optional[list[float]]) -> Optional[Spread]:
    return None if seconds is None else Spread.of(seconds)
