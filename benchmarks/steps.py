#!/usr/bin/env python
"""What a distillation step costs, as multiples of stock BasicSR's step on the student alone: Markdown tables.

  python benchmarks/steps.py --size cpu --json cpu.json
  python benchmarks/steps.py --size paper --repeats 10 --threads 2 --json paper.json
  python benchmarks/steps.py --part options       # what teacher, student and train.amp's options do to time and loss
  python benchmarks/steps.py --part loss          # ContrastiveLoss at N = 16, 64, 256: time and peak memory
  python benchmarks/steps.py --part arithmetic    # FLOPs and bytes; nothing is timed

Steps:
  stock       SRModel: feed_data, optimize_parameters
  cached      DistillModel, the batch brings the teacher's images
  live        DistillModel, the teacher runs
  floor_live  stock, then the bare teacher's forward pass under no_grad: what a live teacher cannot go below
  naive       as it is easily written: teacher under autograd and in the backward pass, N x N x C x H x W loss
  loss        ContrastiveLoss alone, forward and backward, on the same batch

Weights and images are random; the batch is in memory (benchmarks/loader.py measures the loader). One process
times all steps in turn; a cell is the median over the repetitions, with the quartiles, and a ratio is one of times of
the same round. The first steps, in which DistillModel logs gradient norms, are not counted. On CUDA the time is that
between two events around the step. Peak memory is measured in a process of its own for each step: CUDA: allocated by
torch; CPU: resident memory beyond that of the imports (Linux).
"""

from __future__ import annotations

import argparse
import functools
import json
import logging
import multiprocessing
import platform
import sys
from pathlib import Path
from typing import Any, Callable, Optional

import timing
import torch
from step_kinds import OPTIONS, SIZES, STEPS, first_loss, live_with, loss_step, network

from srkd_plugin.cli.exit_codes import run_command
from srkd_plugin.cli.parser import Parser, positive_int
from srkd_plugin.utils import markdown

WARM_UP = 4
"""DistillModel logs gradient norms in its first 3 iterations, at one backward pass per term."""
BARS = (("cached", "stock", 1.03), ("live", "floor_live", 1.03), ("loss", "stock", 0.01))
"""The first must take at most this many times as long as the second."""
FASTER = (("live", 2.9), ("cached", 24.0))
"""Naive must take at least this many times as long as these, at the paper's sizes."""
LOSS_BATCHES, LOSS_SHAPE = (16, 64, 256), (3, 96, 96)
NAIVE_COPIES = 4
"""N x N x C x H x W tensors that the broadcast loss holds at its peak, about: difference, its absolute, gradients."""


def main() -> int:
    """Parse the command line, measure and print."""
    parser = Parser(description=__doc__)
    parser.add_argument("--size", choices=SIZES, default="cpu", help="networks and batch (%(default)s)")
    parser.add_argument("--part", choices=PARTS, default="step", help="(%(default)s)")
    parser.add_argument("--steps", nargs="+", choices=STEPS, default=list(STEPS), help="these only, and stock (all)")
    parser.add_argument("--repeats", type=positive_int, default=10, help="rounds (%(default)s)")
    parser.add_argument("--threads", type=positive_int, help="torch's threads (its default)")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu", help="(%(default)s)")
    parser.add_argument("--clock", choices=("wall", "cpu"), default="wall", help="cpu: CPU time, for busy machines")
    parser.add_argument("--no-memory", action="store_true", help="leave the peak memory out")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures there as well")
    args = parser.parse_args()
    return run_command(lambda: _report(args, PARTS[args.part](args)))


def _report(args: argparse.Namespace, figures: dict[str, Any]) -> int:
    if args.json:
        about = {"torch": torch.__version__, "python": platform.python_version(), "machine": platform.platform()}
        about.update(threads=torch.get_num_threads(), device=timing.device_name(args.device), clock=_clock_name(args))
        about.update(size=args.size, **SIZES[args.size], repeats=args.repeats)
        args.json.write_text(json.dumps({**figures, **about}, indent=1) + "\n")
    return 0


def _steps(args: argparse.Namespace) -> dict[str, Any]:
    _settle(args.threads)
    names = [name for name in STEPS if name == "stock" or name in args.steps]
    steps = {name: STEPS[name](args.size, args.device) for name in names}
    seconds = timing.interleaved(steps, args.repeats, WARM_UP, _timer(args))
    del steps
    ratios = timing.ratios(seconds, "stock")
    peaks = {} if args.no_memory else {n: _apart(_step_peak, n, args.size, args.device, args.threads) for n in names}
    rows = [[name, str(ratios[name]), str(timing.Spread.of(seconds[name])), _mib(peaks.get(name))] for name in names]
    _print_heading(args)
    print(markdown.table(["step", "x stock", "seconds", "peak memory, MiB"], rows) + "\n")
    bars = _bars(seconds, args.size)
    return {
        "ratios": {name: spread.median for name, spread in ratios.items()},
        "quartiles": {name: [spread.low, spread.high] for name, spread in ratios.items()},
        "seconds": seconds,
        "peak_bytes": peaks,
        "bars": bars,
    }


def _print_heading(args: argparse.Namespace) -> None:
    print(f"Size {args.size}: {SIZES[args.size]}. {timing.device_name(args.device)}, {_clock_name(args)}.\n")


def _bars(seconds: dict[str, list[float]], size: str) -> dict[str, float]:
    """Print the ratios that were promised."""
    found = {}
    promises = [(name, other, f"<= {bar}") for name, other, bar in BARS if size == "paper" or name != "loss"]
    promises += [("naive", name, f">= {bar}") for name, bar in FASTER if size == "paper"]
    for name, other, bar in promises:
        if name not in seconds or other not in seconds:
            continue
        ratio = timing.ratios(seconds, other)[name]
        found[f"{name}/{other}"] = ratio.median
        print(f"{name} / {other}: {ratio}, must be {bar}")
    return found


def _options(args: argparse.Namespace) -> dict[str, Any]:
    """Each option alone: the step's time as a multiple of that without it, and what it does to the loss."""
    _settle(args.threads)
    steps = {name: live_with(name, args.size, args.device) for name in OPTIONS}
    seconds = timing.interleaved(steps, args.repeats, WARM_UP, _timer(args))
    ratios, exact = timing.ratios(seconds, "live"), first_loss("live", args.size, args.device)
    changes = {name: first_loss(name, args.size, args.device) / exact - 1 for name in OPTIONS}
    rows = [
        [name, str(ratios[name]), str(timing.Spread.of(seconds[name])), f"{changes[name]:+.1e}"] for name in OPTIONS
    ]
    _print_heading(args)
    print(markdown.table(["option", "x live", "seconds", "relative change of l_contrastive"], rows))
    return {"ratios": {name: spread.median for name, spread in ratios.items()}, "seconds": seconds, "changes": changes}


def _loss(args: argparse.Namespace) -> dict[str, Any]:
    """Each cell is a process of its own, so that one form's memory is not the other's."""
    rows, figures = [], {}
    for n in LOSS_BATCHES:
        for form in ("broadcast", "ours"):
            values = n * n * torch.Size(LOSS_SHAPE).numel()
            if form == "broadcast" and 4 * values * NAIVE_COPIES > timing.free_bytes(args.device):
                rows.append([str(n), form, "-", f"not run: N x N x C x H x W is {_mib(4 * values)} MiB once"])
                continue
            peak = _apart(_loss_peak, form, n, args.device, args.threads)
            seconds = _apart(_loss_seconds, form, n, args)
            figures[f"{form}_{n}"] = {"seconds": seconds, "peak_bytes": peak}
            rows.append([str(n), form, str(timing.Spread.of(seconds)), _mib(peak)])
    print(markdown.table(["N", "loss", "seconds", "peak memory, MiB"], rows))
    return {"loss": figures}


def _arithmetic(args: argparse.Namespace) -> dict[str, Any]:
    """FLOPs (2 per multiply-add) of the convolutions, and bytes of their float32 outputs and weights, once each."""
    figures, rows = {}, []
    for size, shape in SIZES.items():
        pixels = shape["batch"] * shape["side"] ** 2
        student, teacher = (timing.convolution_work(network(*shape[who])) for who in ("student", "teacher"))
        for name, work, passes in (("student step", student, 3), ("teacher forward", teacher, 1)):
            flops, out, weights = passes * work[0] * pixels, passes * work[1] * pixels, passes * work[2]
            figures[f"{size} {name}"] = {"flops": flops, "bytes": out + weights}
            rows.append([size, name, f"{flops / 1e9:,.1f}", f"{(out + weights) / 2**20:,.0f}"])
        ratio = teacher[0] / (3 * student[0])
        rows.append([size, "teacher forward / student step", f"{ratio:.2f}", ""])
    print(markdown.table(["size", "what", "GFLOPs", "MiB"], rows))
    return {"arithmetic": figures}


def _apart(function: Callable[..., Any], *arguments: Any) -> Any:
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        return pool.apply(function, arguments)


def _step_peak(name: str, size: str, device: str, threads: Optional[int]) -> int:
    _settle(threads)
    return timing.peak_bytes(functools.partial(STEPS[name], size, device), WARM_UP, torch.device(device))


def _loss_peak(form: str, n: int, device: str, threads: Optional[int]) -> int:
    _settle(threads)
    loss_step(form, 2, (3, 8, 8), device)()  # what the first call allocates for good
    prepare = functools.partial(loss_step, form, n, LOSS_SHAPE, device)
    return timing.peak_bytes(prepare, 1, torch.device(device))


def _loss_seconds(form: str, n: int, args: argparse.Namespace) -> list[float]:
    _settle(args.threads)
    steps = {form: loss_step(form, n, LOSS_SHAPE, args.device)}
    return timing.interleaved(steps, args.repeats, 1, _timer(args))[form]


def _settle(threads: Optional[int]) -> None:
    import srkd_plugin.registration  # noqa: F401, where torch does not import it by itself

    if threads:
        torch.set_num_threads(threads)
    torch.backends.cudnn.benchmark = True  # as BasicSR's trainer has it
    logging.disable(logging.INFO)  # the networks, printed


def _timer(args: argparse.Namespace) -> timing.Timer:
    if args.device == "cuda":
        return timing.cuda_timer
    return timing.cpu_timer if args.clock == "cpu" else timing.wall_timer


def _clock_name(args: argparse.Namespace) -> str:
    return "CUDA events" if args.device == "cuda" else f"{args.clock} time"


def _mib(size: Optional[int]) -> str:
    return "" if size is None else f"{size / 2**20:,.0f}"


PARTS = {"step": _steps, "options": _options, "loss": _loss, "arithmetic": _arithmetic}

if __name__ == "__main__":
    sys.exit(main())
