#!/usr/bin/env python
"""Peak memory of SpatialAffinityLoss, forward and backward, against its formula written out: a Markdown table.

  python benchmarks/affinity.py [--channels 64]

Each cell is a process of its own; it says how much resident memory the loss took at most, beyond its inputs. The naive
form at 96x96 takes several times 1.3 GiB. Linux only: the peak is reset and read in /proc.
"""

from __future__ import annotations

import argparse
import multiprocessing

import timing
import torch

from srkd_plugin.cli.parser import positive_int
from srkd_plugin.losses import spatial_affinity_loss
from srkd_plugin.utils import markdown

SIZES = ((24, 16), (48, 16), (96, 4))
"""Side of the feature maps, and batch."""


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--channels", type=positive_int, default=64, help="of student and teacher (%(default)s)")
    args = parser.parse_args()
    print(markdown.heading(["maps", "batch", "HW", "naive", "chunked", "ratio"]))
    for side, batch in SIZES:
        naive, chunked = (_in_a_process(form, side, batch, args.channels) for form in ("naive", "chunked"))
        cells = [f"{side}x{side}", batch, side * side, f"{naive:.0f} MiB", f"{chunked:.0f} MiB"]
        print(markdown.row([*cells, f"{naive / chunked:.1f}"]), flush=True)


def _in_a_process(form: str, side: int, batch: int, channels: int) -> float:
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        return pool.apply(measure, (form, side, batch, channels))


def measure(form: str, side: int, batch: int, channels: int) -> float:
    """MiB that the loss and its gradient take at most."""
    loss = {"naive": naive_loss, "chunked": lambda s, t: spatial_affinity_loss([s], [t])}[form]
    loss(torch.rand(1, channels, 4, 4, requires_grad=True), torch.rand(1, channels, 4, 4)).backward()
    torch.manual_seed(0)
    student = torch.rand(batch, channels, side, side, requires_grad=True)
    teacher = torch.rand(batch, channels, side, side)
    return timing.growth_bytes(lambda: loss(student, teacher).backward()) / 2**20


def naive_loss(student: torch.Tensor, teacher: torch.Tensor) -> torch.Tensor:
    """The formula, with both matrices held."""
    unit = [x.flatten(2) / (x.flatten(2).norm(dim=1, keepdim=True) + 1e-8) for x in (student, teacher)]
    a, b = (x.mT @ x for x in unit)
    return (a - b).abs().mean()


if __name__ == "__main__":
    main()
