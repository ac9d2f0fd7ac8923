"""Timing of things against each other: interleaved repetitions and ratios with their spread; and peak memory."""

from __future__ import annotations

import platform
import re
import time
from pathlib import Path
from typing import Callable

import torch
from torch import Tensor, nn

from srkd_plugin.utils.timing import Spread, Step, Timer, interleaved, ratios, wall_timer

__all__ = ["Spread", "Step", "Timer", "interleaved", "ratios", "wall_timer"]  # and what is defined here


def told(step: Step) -> float:
    """Seconds that the step itself returns."""
    seconds = step()
    assert isinstance(seconds, float)
    return seconds


def cpu_timer(step: Step) -> float:
    """Seconds of CPU time of this process's threads: for comparisons on a machine that others use as well."""
    start = time.process_time()
    step()
    return time.process_time() - start


def cuda_timer(step: Step) -> float:
    """Seconds between two CUDA events around the step, on the current stream."""
    start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
    torch.cuda.synchronize()
    start.record()
    step()
    end.record()
    end.synchronize()
    return start.elapsed_time(end) / 1000


def peak_bytes(prepare: Callable[[], Step], warm_up: int, device: torch.device) -> int:
    """Most memory that a step takes, with all that it holds (weights, optimizer); for a process of its own.

    CUDA: what torch has allocated. CPU: resident memory beyond that before ``prepare``; Linux only, as the peak is
    reset and read in /proc.

    Args:
        prepare: Builds the step.
        warm_up: Calls beforehand whose peak does not count.
        device: Where the step runs.
    """
    before = 0 if device.type == "cuda" else _status("VmRSS")
    step = prepare()
    for _ in range(warm_up):
        step()
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
        step()
        return torch.cuda.max_memory_allocated(device)
    _start_peak()
    step()
    return _status("VmHWM") - before


def growth_bytes(step: Step) -> int:
    """Most resident memory that a step takes beyond what is resident when it begins; Linux only."""
    _start_peak()
    before = _status("VmHWM")
    step()
    return _status("VmHWM") - before


def _start_peak() -> None:
    """Let the peak start again at what is resident now."""
    Path("/proc/self/clear_refs").write_text("5")


def _status(key: str) -> int:
    (kib,) = re.findall(rf"{key}:\s+(\d+) kB", Path("/proc/self/status").read_text())
    return int(kib) * 1024


def free_bytes(device: str) -> int:
    """Memory that is free there; for the CPU as Linux says in /proc."""
    if device == "cuda":
        return torch.cuda.mem_get_info()[0]
    (kib,) = re.findall(r"MemAvailable:\s+(\d+) kB", Path("/proc/meminfo").read_text())
    return int(kib) * 1024


def device_name(device: str) -> str:
    """The GPU's name, or the processor's architecture and torch's threads."""
    if device == "cuda":
        return torch.cuda.get_device_name()
    return f"CPU {platform.processor() or platform.machine()}, {torch.get_num_threads()} threads"


@torch.no_grad()
def convolution_work(net: nn.Module, side: int = 8) -> tuple[float, float, int]:
    """What a forward pass of a fully convolutional network of RGB images takes.

    Args:
        net: The network, on the CPU.
        side: Side of the input it is run on.

    Returns:
        FLOPs (2 per multiply-add) of its convolutions and bytes of their float32 outputs, both for each pixel of the
        input; and bytes of all its parameters in float32.
    """
    flops, values = [], []

    def count(module: nn.Conv2d, _: object, output: Tensor) -> None:
        values.append(output.numel())
        flops.append(2 * output.numel() * module.weight[0].numel())

    hooks = [m.register_forward_hook(count) for m in net.modules() if isinstance(m, nn.Conv2d)]
    net(torch.rand(1, 3, side, side))
    for hook in hooks:
        hook.remove()
    return sum(flops) / side**2, 4 * sum(values) / side**2, 4 * sum(p.numel() for p in net.parameters())
