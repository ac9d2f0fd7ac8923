#!/usr/bin/env python
"""Measure the teacher of an options file on a benchmark set, and compare it with the model zoo's figure for its file.

Without --hr and --lr, the set is the options' first validation set. The options file is read, not run.
The exit code is 0 if nothing is wrong, 1 if the figure is not the published one, and 2 if something cannot be read.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from srkd_plugin.cli.exit_codes import run_command

EXAMPLES = """\
examples:
  verify_teacher.py -opt options/distill_cl_l1.yml
  verify_teacher.py -opt options/distill_cl_l1.yml --hr datasets/Set14/HR --lr datasets/Set14/LR_bicubic/X2
"""


def main() -> int:
    """Parse the command line, measure, and print what was found."""
    raw = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=__doc__, epilog=EXAMPLES, formatter_class=raw)
    parser.add_argument("-opt", type=Path, required=True, metavar="FILE", help="options file with network_t")
    parser.add_argument("--hr", type=Path, metavar="PATH", help="folder or LMDB of HR images")
    parser.add_argument("--lr", type=Path, metavar="PATH", help="folder or LMDB of LR images, of the same names")
    parser.add_argument("--set", metavar="NAME", help="Set5, ... or DIV2K100 (default: as the path of --hr says)")
    parser.add_argument("--device", help="e.g. cpu or cuda:0 (default: cuda where it is there)")
    args = parser.parse_args()
    if (args.hr is None) != (args.lr is None):
        parser.error("--hr and --lr go together")
    return run_command(lambda: _verify(args))


def _verify(args: argparse.Namespace) -> int:
    import torch

    from srkd_plugin.evaluate.verify_teacher import read_options, validation_folders, verify_teacher

    opt = read_options(args.opt)
    hr, lr = (args.hr, args.lr) if args.hr is not None else validation_folders(opt)
    device = torch.device(args.device or ("cuda" if torch.cuda.is_available() else "cpu"))
    report = verify_teacher(opt, hr, lr, args.set, device)
    print(report.describe())
    return 1 if report.faults else 0


if __name__ == "__main__":
    sys.exit(main())
