#!/usr/bin/env python
"""Run the teacher of an options file over its training images once, and keep what comes out for every student.

The options file is read, not run. A run uses the cache with, in its own options file,

  datasets: {train: {type: TeacherCacheDataset, dataroot_teacher: <--out>, ...}}

An interrupted run is continued by the same command. A complete cache is left alone; --repair checks it. Started by
torchrun, the processes share the images.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from srkd_plugin.cli.exit_codes import positive_int, run_command

EXAMPLES = """\
examples:
  cache_teacher.py -opt options/distill_cl_l1_cached.yml
  cache_teacher.py -opt options/distill_cl_l1.yml --out datasets/DIV2K/teacher.lmdb --self_ensemble
  torchrun --nproc_per_node=4 scripts/cache_teacher.py -opt options/distill_cl_l1_cached.yml
"""


def main() -> int:
    """Parse the command line, make the cache, and print what was measured."""
    raw = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=__doc__, epilog=EXAMPLES, formatter_class=raw)
    parser.add_argument("-opt", type=Path, required=True, metavar="FILE", help="options file of the training run")
    parser.add_argument("--out", type=Path, metavar="LMDB", help="the cache (default: the options' dataroot_teacher)")
    parser.add_argument(
        "--self_ensemble", action="store_true", help="mean of the 8 flips and rotations: 8 times the work"
    )
    parser.add_argument("--storage", choices=("uint16", "float16", "uint8"), default="uint16", help="(%(default)s)")
    parser.add_argument("--with_images", action="store_true", help="store decoded HR and LR too: a faster loader")
    parser.add_argument("--tile", type=positive_int, metavar="N", help="side of tiles in LR pixels (default: no tiles)")
    parser.add_argument("--overlap", type=int, default=32, metavar="N", help="what a tile sees beyond (%(default)s)")
    parser.add_argument("--repair", action="store_true", help="check a complete cache whole, and mend what is damaged")
    parser.add_argument("--device", help="e.g. cpu or cuda:0 (default: cuda where it is there)")
    args = parser.parse_args()
    return run_command(lambda: _make(args))


def _make(args: argparse.Namespace) -> int:
    import torch

    from srkd_plugin.evaluate.verify_teacher import read_options
    from srkd_plugin.options.validate import check_section
    from srkd_plugin.parallel import torchrun
    from srkd_plugin.teacher_cache.info import Making
    from srkd_plugin.teacher_cache.make import CacheJob, make_cache
    from srkd_plugin.teacher_cache.repair import repair_cache

    chosen = {name: getattr(args, name) for name in Making.model_fields}
    making = check_section(Making, "cache_teacher.py", chosen)
    team = torchrun.join()
    device = torch.device(args.device or (f"cuda:{team.rank}" if torch.cuda.is_available() else "cpu"))
    job = CacheJob(read_options(args.opt), args.out, making, device, team)
    if args.repair:
        repaired = repair_cache(job)
        print("\n".join([*map(str, repaired), f"{len(repaired)} images mended"]))
        return 0
    info = make_cache(job)
    if team.is_first:
        print(info.describe())
    return 0


if __name__ == "__main__":
    sys.exit(main())
