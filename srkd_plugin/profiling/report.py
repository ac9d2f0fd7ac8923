"""The profile of a student and its teacher as Markdown and as JSON."""

from __future__ import annotations

import platform
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import asdict
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, Optional

from srkd_plugin.profiling.profile import Latency, NetworkProfile, Profile
from srkd_plugin.utils.byte_sizes import readable_size
from srkd_plugin.utils.markdown import table
from srkd_plugin.utils.timing import Spread

PACKAGES = ("torch", "onnxruntime", "ncnn")

DEFINITIONS = (
    "MACs: multiply-adds of convolutions and matrix products, counted by torch's FlopCounterMode; biases and what "
    "works value by value are not counted. 1 MAC = 2 FLOPs.",
    "Peak memory: most bytes of float32 tensors alive at once in a forward pass of one image, as torch runs it "
    "operation by operation: input, feature maps and output, without weights and without what kernels take inside.",
    "Receptive field: LQ pixels to each side on which an SR pixel depends, measured by changing pixels.",
)
TIMED = (
    "Latency: one image from host memory to host memory, in interleaved rounds of one process; median (quartiles). "
    "A ratio is one of times of the same round."
)


def markdown(found: Profile) -> str:
    """The tables of a profile with their notes."""
    roles = [network.role for network in found.networks]
    names = ["", *roles, *(["student / teacher"] if len(roles) > 1 else [])]
    parts = [table(names, list(_rows(found)))]
    notes = list(DEFINITIONS)
    if found.latencies:
        assert found.lq is not None
        parts += [f"LQ {_size(found.lq)}, x{found.scale}, {_rounds(found.rounds)}, {_environment()}:"]
        parts += [_latency_table(found)]
        notes.append(TIMED)
    return "\n\n".join([*parts, "\n".join(f"- {note}" for note in [*notes, *found.notes])])


def as_json(found: Profile) -> dict[str, Any]:
    """A profile as plain values: sizes as width and height, seconds, bytes, and FLOPs beside MACs."""
    plain = asdict(found)
    for network, of in zip(plain["networks"], found.networks):
        network["costs"] = [{**cost._asdict(), "flops": cost.flops} for cost in of.costs]
    versions = {package: _version(package) for package in PACKAGES}
    return {**plain, "versions": versions, "machine": _machine(), "definitions": [*DEFINITIONS, TIMED]}


def _rows(found: Profile) -> Iterator[list[object]]:
    networks = found.networks
    yield _row("architecture", [network.type for network in networks])
    yield _row("parameters", [f"{network.parameters:,}" for network in networks], [n.parameters for n in networks])
    yield _row("receptive field, LQ pixels to each side", [_field(network) for network in networks])
    for index, output in enumerate(found.outputs):
        costs = [network.costs[index] for network in networks]
        given = " and ".join(dict.fromkeys(_size((cost.lq_width, cost.lq_height)) for cost in costs))
        shown = f"{_size(output)} (LQ {given})"
        for name, counts in (("GMACs", [one.macs for one in costs]), ("GFLOPs", [one.flops for one in costs])):
            yield _row(f"{name}, {shown}", [_billions(count) for count in counts], counts)
        peaks = [cost.peak_bytes for cost in costs]
        yield _row(f"peak memory, {shown}", [readable_size(peak) for peak in peaks], peaks)


def _row(name: str, shown: list[str], numbers: Optional[list[int]] = None) -> list[object]:
    """A row; with a ratio in a further column where there is a teacher."""
    if len(shown) == 1:
        return [name, *shown]
    return [name, *shown, f"{numbers[0] / numbers[1]:.3g}" if numbers else ""]


def _billions(count: int) -> str:
    """Four digits, or all of those before the point."""
    value = count / 1e9
    return f"{value:,.0f}" if value >= 1000 else f"{value:.4g}"


def _field(network: NetworkProfile) -> str:
    return "whole image, or too large" if network.receptive_field is None else str(network.receptive_field)


def _latency_table(found: Profile) -> str:
    with_teacher = len(found.networks) > 1
    names = ["runtime", "threads", "student, ms", *(["teacher, ms"] if with_teacher else []), "ratio", "to"]
    return table(names, [_latency_row(one, with_teacher) for one in found.latencies])


def _latency_row(one: Latency, with_teacher: bool) -> list[object]:
    teacher = [_milliseconds(one.teacher)] if with_teacher else []
    ratio, reference = ("", "") if one.ratio is None else (f"{one.ratio:.3f}", one.reference)
    return [one.runtime, one.threads, _milliseconds(one.student), *teacher, ratio, reference]


def _milliseconds(seconds: Optional[Spread]) -> str:
    if seconds is None:
        return ""
    return f"{Spread(1e3 * seconds.median, 1e3 * seconds.low, 1e3 * seconds.high):,.1f}"


def _rounds(count: int) -> str:
    return "1 round" if count == 1 else f"{count} rounds"


def _size(size: tuple[int, int]) -> str:
    return f"{size[0]}x{size[1]}"


def _environment() -> str:
    versions = [f"{package} {_version(package)}" for package in PACKAGES if _version(package)]
    return ", ".join([_machine(), *versions])


def _machine() -> str:
    """The processor's name, where the system says it."""
    with suppress(OSError):  # Linux only, where platform.processor() is empty or no name
        for line in Path("/proc/cpuinfo").read_text(errors="replace").splitlines():
            if line.startswith("model name"):
                return f"CPU {line.partition(':')[2].strip()}"
    return f"CPU {platform.processor() or platform.machine()}"


def _version(package: str) -> Optional[str]:
    try:
        return version(package)
    except PackageNotFoundError:
        return None
