"""``srkd profile``: size, cost and latency of a student beside its teacher."""

from __future__ import annotations

import argparse
import re
from pathlib import Path

from srkd_plugin.cli.imports import add_import_flag, import_given
from srkd_plugin.cli.parser import Parser, describe, positive_int

DESCRIPTION = """\
Say what the student of an options file costs beside its teacher: parameters, multiply-adds and memory at 1280x720 and
1920x1080, receptive field; and latency on this CPU in torch, onnxruntime and ncnn, with one thread and with all.

The networks get random weights; the options file is read, not run. Runtimes that are not installed are left out, and
the notes below the tables say so. Sizes are WIDTHxHEIGHT.
"""
EXAMPLES = """\
srkd profile -opt options/distill_cl_l1.yml
srkd profile -opt options/distill_cl_l1.yml --size 3840x2160 --no-latency
# and an exported INT8 file
srkd profile -opt options/distill_cl_l1.yml --lq 640x360 --model exported/student-x2-int8.onnx --json profile.json
"""


def add_arguments(parser: Parser) -> None:
    """Add the arguments of ``srkd profile``."""
    describe(parser, _run, DESCRIPTION, EXAMPLES)
    parser.add_options_file("options file of the networks' run")
    parser.add_argument(
        "--size",
        type=_size,
        action="append",
        metavar="WxH",
        help="SR size to count for; can be repeated (default: 1280x720 and 1920x1080)",
    )
    parser.add_argument("--no-latency", action="store_true", help="count only: nothing is timed")
    parser.add_argument(
        "--lq", type=_size, metavar="WxH", help="LQ size to time (default: 320x180, or less for large networks)"
    )
    parser.add_argument(
        "--rounds", type=positive_int, default=10, metavar="N", help="rounds of timing; fewer after a minute (10)"
    )
    parser.add_argument(
        "--model", type=Path, nargs="+", default=[], metavar="FILE", help="exported files of the student to time, too"
    )
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the profile as JSON, too")
    add_import_flag(parser)


def _run(args: argparse.Namespace) -> int:
    import_given(args.imports)
    from srkd_plugin.evaluate.verify_teacher import read_options
    from srkd_plugin.profiling import report
    from srkd_plugin.profiling.profile import OUTPUTS, Wishes, profile
    from srkd_plugin.utils.files import require_writable, write_json

    if args.json is not None:
        require_writable("--json", args.json)
    wishes = Wishes(args.size or OUTPUTS, not args.no_latency, args.lq, args.rounds, args.model)
    found = profile(read_options(args.opt), wishes)
    print(report.markdown(found))
    if args.json is not None:
        write_json(args.json, report.as_json(found))
    return 0


def _size(text: str) -> tuple[int, int]:
    found = re.fullmatch(r"([1-9]\d{0,4})x([1-9]\d{0,4})", text)
    if not found:
        raise argparse.ArgumentTypeError(f"{text!r} is not WxH, e.g. 1280x720")
    return int(found[1]), int(found[2])
