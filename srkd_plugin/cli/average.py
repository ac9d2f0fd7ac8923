"""``srkd average``: the average of several checkpoints of one network, kept if it is better than each of them."""

from __future__ import annotations

import argparse
from pathlib import Path

from srkd_plugin.cli.exit_codes import FAILED
from srkd_plugin.cli.imports import add_import_flag, import_given
from srkd_plugin.cli.parser import Parser, describe, device

DESCRIPTION = """\
Average several checkpoints of one network: the last ones of a run, or of runs that went on from the same weights.

With -opt, all of them and the average are measured on the options' first validation set (PSNR of Y), and the average is
written only if it is better than each of them; if it is not, the exit code is 1. The options file is read, not run.
"""
EXAMPLES = """\
srkd average experiments/student/models/net_g_{280000,290000,300000}.pth --out student_average.pth \\
    -opt options/distill_cl_l1.yml
"""


def add_arguments(parser: Parser) -> None:
    """Add the arguments of ``srkd average``."""
    describe(parser, _run, DESCRIPTION, EXAMPLES)
    parser.add_argument("files", type=Path, nargs="+", metavar="FILE", help="checkpoints, .pth or .safetensors")
    parser.add_argument("--out", type=Path, required=True, metavar="NET.pth", help="file to write")
    parser.add_options_file("options file of the network's run", required=False)
    parser.add_argument(
        "--param-key", metavar="KEY", help="key of the weights (default: params_ema and params, those that all have)"
    )
    parser.add_argument("--force", action="store_true", help="replace a file that is there")
    parser.add_argument("--device", type=device, help="e.g. cpu or cuda:0 (default: cuda where it is there)")
    add_import_flag(parser)


def _run(args: argparse.Namespace) -> int:
    import_given(args.imports)
    import torch

    from srkd_plugin.evaluate.average_checkpoints import average_files
    from srkd_plugin.evaluate.verify_teacher import read_options

    opt = None if args.opt is None else read_options(args.opt)
    where = str(args.device or ("cuda" if torch.cuda.is_available() else "cpu"))
    report = average_files(args.files, args.out, opt, args.param_key, args.force, where)
    print(report.describe())
    return 0 if report.kept else FAILED
