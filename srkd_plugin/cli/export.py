"""``srkd export``: writes a trained student for other programs, each file verified."""

from __future__ import annotations

import argparse
import re
from pathlib import Path

from srkd_plugin.cli.imports import add_import_flag, import_given
from srkd_plugin.cli.int8_flags import add_int8_flags, int8_wish
from srkd_plugin.cli.parser import Parser, describe

DESCRIPTION = """\
Write a trained network in the formats of other programs, each compared with the network before it counts as written:

  NAME-x2.safetensors, .pth   weights with the architecture's arguments; srkd upscale needs no options file for them
  NAME-x2.onnx                float32, NCHW, RGB in 0..1; batch, height and width are free
  NAME-x2-int8.onnx           INT8 (--int8): calibrated on training LR images, with the cost of each layer in dB
  NAME-x2.param, .bin         ncnn, for Real-ESRGAN-ncnn-vulkan and Upscayl; left out where ncnn has not all layers
  card.json, card.md          run, teacher, files, PSNR and SSIM on the sets of --test, latency, versions

The options file is read, not run; network_g and scale describe the network. docs/export.md says what reads the files.
"""
EXAMPLES = """\
srkd export -opt options/distill_cl_l1.yml --out exported
srkd export -opt options/distill_cl_l1.yml --weights experiments/student/models/net_g_100000.pth --out exported --fp16
srkd export -opt options/distill_cl_l1.yml --out exported --int8 --calibrate DIV2K_train_LR_bicubic_X2_sub.lmdb
# with figures of every format on the card; sets are folders with HR and LR_bicubic, or HR:LR
srkd export -opt options/distill_cl_l1.yml --out exported --test datasets/Set5 datasets/Set14/HR:datasets/Set14/LR
# for a target that takes one size only
srkd export -opt options/distill_cl_l1.yml --out exported --fixed 540x960
"""


def add_arguments(parser: Parser) -> None:
    """Add the arguments of ``srkd export``."""
    describe(parser, _run, DESCRIPTION, EXAMPLES)
    parser.add_options_file("options file of the network's run")
    parser.add_argument(
        "--weights", type=Path, metavar="FILE", help=".pth or .safetensors (default: net_g_latest of the options' run)"
    )
    parser.add_argument("--out", type=Path, required=True, metavar="DIR", help="folder to write to")
    parser.add_argument(
        "--param-key", metavar="KEY", help="key of the weights (default: params_ema if the file has it, else params)"
    )
    parser.add_argument("--name", help="what the files' names begin with (default: the options' name)")
    parser.add_argument("--fixed", type=_size, metavar="HxW", help="write an ONNX file of one input size, too")
    parser.add_argument("--fp16", action="store_true", help="write ONNX with float16 inside, too")
    add_int8_flags(parser)
    parser.add_argument(
        "--test",
        nargs="+",
        default=[],
        metavar="DIR",
        help="benchmark sets to measure each format on: folders, or HR:LR",
    )
    parser.add_argument("--without", nargs="+", default=[], metavar="FORMAT", help="leave formats out: onnx, ncnn")
    parser.add_argument("--force", action="store_true", help="replace files that are there and of another network")
    add_import_flag(parser)


def _run(args: argparse.Namespace) -> int:
    import_given(args.imports)
    from srkd_plugin.errors import InputError, nearest
    from srkd_plugin.export.export_student import ExportRequest, export_student
    from srkd_plugin.export.formats import OPTIONAL
    from srkd_plugin.export.job import Wishes

    for name in args.without:
        if name not in OPTIONAL:
            raise InputError("--without", name, "it is no format that can be left out", nearest(name, OPTIONAL))
    wishes = Wishes(args.fixed, args.fp16, int8_wish(args), tuple(args.without))
    named = {"weights": args.weights, "name": args.name, "param_key": args.param_key}
    export_student(
        ExportRequest(args.opt, out=args.out, **named, wishes=wishes, tests=tuple(args.test), force=args.force)
    )
    return 0


def _size(text: str) -> tuple[int, int]:
    found = re.fullmatch(r"([1-9]\d{0,4})x([1-9]\d{0,4})", text)
    if not found:
        raise argparse.ArgumentTypeError(f"{text!r} is not HxW, e.g. 540x960")
    return int(found[1]), int(found[2])
