#!/usr/bin/env python
"""Images a second of TeacherCacheDataset against BasicSR's PairedImageDataset: a Markdown table.

  python benchmarks/loader.py -opt options/distill_cl_l1_cached.yml --workers 0 1 2

The options name the images and the cache; batch, crops and augmentation are theirs. Both read the same crops. The
repetitions are interleaved; a cell is their median, with the lowest and the highest. What is measured is the loader
alone, started and warmed up: nobody trains meanwhile.
"""

from __future__ import annotations

import argparse
import random
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from statistics import median
from typing import Any

from srkd_plugin.cli.exit_codes import positive_int, run_command

WARM_UP = 5
"""Batches that are not counted: workers start and fill their queues."""


def main() -> int:
    """Parse the command line, measure and print."""
    raw = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=raw)
    parser.add_argument("-opt", type=Path, required=True, metavar="FILE", help="options with a TeacherCacheDataset")
    parser.add_argument("--workers", type=int, nargs="+", default=[0, 1, 2], metavar="N", help="(0 1 2)")
    parser.add_argument("--batches", type=positive_int, default=50, help="batches a repetition (%(default)s)")
    parser.add_argument("--repeats", type=positive_int, default=5, help="repetitions (%(default)s)")
    args = parser.parse_args()
    return run_command(lambda: _benchmark(args))


def _benchmark(args: argparse.Namespace) -> int:
    from srkd_plugin.evaluate.verify_teacher import read_options

    opt = read_options(args.opt)
    train_set = {**opt["datasets"]["train"], "scale": opt["scale"], "phase": "train"}
    stock = {**train_set, "type": "PairedImageDataset"}
    print("| workers | PairedImageDataset, images/s | TeacherCacheDataset, images/s | ratio |\n|---|---|---|---|")
    for workers in args.workers:
        rates: dict[str, list[float]] = {"stock": [], "cached": []}
        for repeat in range(args.repeats):
            for name, section in (("stock", stock), ("cached", train_set)):
                rates[name].append(_rate(section, workers, args.batches, seed=repeat))
        ratio = median(rates["cached"]) / median(rates["stock"])
        print(f"| {workers} | {_shown(rates['stock'])} | {_shown(rates['cached'])} | {ratio:.2f} |", flush=True)
    return 0


def _rate(section: Mapping[str, Any], workers: int, batches: int, seed: int) -> float:
    """Images a second of one loader, built as BasicSR builds it."""
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
    start = time.perf_counter()
    for _ in range(batches):
        next(iterator)
    return batches * section["batch_size_per_gpu"] / (time.perf_counter() - start)


def _shown(rates: list[float]) -> str:
    return f"{median(rates):,.0f} ({min(rates):,.0f} to {max(rates):,.0f})"


if __name__ == "__main__":
    sys.exit(main())
