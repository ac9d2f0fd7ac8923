#!/usr/bin/env python
"""Images per second of TeacherCacheDataset against BasicSR's PairedImageDataset: a Markdown table.

  python benchmarks/loader.py -opt options/distill_cl_l1_cached.yml --workers 0 1 2

The options name the images and the cache; batch, crops and augmentation are theirs. Both read the same crops. The
repetitions are interleaved; a cell is their median, with the lowest and the highest. What is measured is the loader
alone, started and warmed up: nobody trains meanwhile.
"""

from __future__ import annotations

import argparse
import random
import sys
from collections.abc import Mapping
from itertools import count
from pathlib import Path
from typing import Any

import timing

from srkd_plugin.cli.exit_codes import run_command
from srkd_plugin.cli.parser import positive_int
from srkd_plugin.utils import markdown

WARM_UP = 5
"""Batches that are not counted: workers start and fill their queues."""


def main() -> int:
    """Parse the command line, measure and print."""
    raw = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=raw)
    parser.add_argument("-opt", type=Path, required=True, metavar="FILE", help="options with a TeacherCacheDataset")
    parser.add_argument("--workers", type=int, nargs="+", default=[0, 1, 2], metavar="N", help="(0 1 2)")
    parser.add_argument("--batches", type=positive_int, default=50, help="batches per repetition (%(default)s)")
    parser.add_argument("--repeats", type=positive_int, default=5, help="repetitions (%(default)s)")
    args = parser.parse_args()
    return run_command(lambda: _benchmark(args))


def _benchmark(args: argparse.Namespace) -> int:
    from srkd_plugin.evaluate.verify_teacher import read_options

    opt = read_options(args.opt)
    train_set = {**opt["datasets"]["train"], "scale": opt["scale"], "phase": "train"}
    sections = {"stock": {**train_set, "type": "PairedImageDataset"}, "cached": train_set}
    images = args.batches * train_set["batch_size_per_gpu"]
    names = ["workers", "PairedImageDataset, images/s", "TeacherCacheDataset, images/s", "ratio"]
    print(markdown.heading(names))
    for workers in args.workers:
        steps = {name: _loading(section, workers, args.batches) for name, section in sections.items()}
        seconds = timing.interleaved(steps, args.repeats, warm_up=0, timer=timing.told)
        stock, cached = (timing.Spread.whole([images / s for s in seconds[name]]) for name in sections)
        cells = [f"{stock:,.0f}", f"{cached:,.0f}", f"{cached.median / stock.median:.2f}"]
        print(markdown.row([workers, *cells]), flush=True)
    return 0


def _loading(section: Mapping[str, Any], workers: int, batches: int) -> timing.Step:
    """A step that loads batches from a new loader, with another seed each time, and returns the seconds it took."""
    seeds = count()
    return lambda: _seconds(section, workers, batches, next(seeds))


def _seconds(section: Mapping[str, Any], workers: int, batches: int, seed: int) -> float:
    """Seconds for some batches of one loader, built as BasicSR builds it, once it is warmed up."""
    from basicsr.data import build_dataloader, build_dataset
    from basicsr.data.data_sampler import EnlargedSampler

    random.seed(seed)
    section = {**section, "num_worker_per_gpu": workers, "persistent_workers": False}
    data_set = build_dataset(section)
    images = (WARM_UP + batches) * section["batch_size_per_gpu"]
    sampler = EnlargedSampler(data_set, 1, 0, -(-images // len(data_set)))
    loader = build_dataloader(data_set, section, num_gpu=0, sampler=sampler, seed=seed)
    iterator = iter(loader)
    for _ in range(WARM_UP):
        next(iterator)
    return timing.wall_timer(lambda: [next(iterator) for _ in range(batches)])


if __name__ == "__main__":
    sys.exit(main())
