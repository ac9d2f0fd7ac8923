"""``srkd teacher``: measures a teacher, and converts EDSR's official weights."""

from __future__ import annotations

import argparse
from pathlib import Path

from srkd_plugin.cli.exit_codes import FAILED
from srkd_plugin.cli.imports import add_import_flag, import_given
from srkd_plugin.cli.parser import Parser, add_command, add_commands, device

VERIFY_HELP = """\
Measure the teacher of an options file on a benchmark set, and compare it with the model zoo's figure for its file.

Without --gt and --lq, the set is the options' first validation set. The options file is read, not run.
Of several teachers (the section teachers) --teacher names the one to measure.
The exit code is 0 if nothing is wrong or no figure is published, 1 if the figure is not the published one, and 2 if
something cannot be read.
"""
VERIFY_EXAMPLES = """\
srkd teacher verify -opt options/distill_cl_l1.yml
srkd teacher verify -opt options/distill_cl_l1.yml --gt datasets/Set14/HR --lq datasets/Set14/LR_bicubic/X2
# one of several teachers
srkd teacher verify -opt options/several.yml --teacher edsr
"""
CONVERT_HELP = """\
Convert EDSR's official weights (.pt) to BasicSR's format (.pth), or back, or say what network a file is of.

The format is told from the file. Only tensors are read from it.
"""
CONVERT_EXAMPLES = """\
# what is it?
srkd teacher convert edsr_x2-0edfb8a3.pt
# to BasicSR's format
srkd teacher convert edsr_x2-0edfb8a3.pt --out experiments/pretrained_models/EDSR_Lx2_f256b32_DIV2K_official.pth
# a trained student to the official format
srkd teacher convert experiments/student/models/net_g_latest.pth --param-key params_ema --out student.pt
"""


def add_arguments(parser: Parser) -> None:
    """Add the arguments of ``srkd teacher``."""
    about = "Measure a teacher; convert EDSR's official weights."
    commands = add_commands(parser, about, "srkd teacher verify -opt options/distill_cl_l1.yml")
    verify = add_command(commands, "verify", _verify, "is it the published network?", VERIFY_HELP, VERIFY_EXAMPLES)
    verify.add_options_file("options file with network_t or teachers")
    verify.add_argument("--teacher", metavar="NAME", help="which of the options' teachers, where they have several")
    verify.add_argument("--gt", aliases=("--hr",), type=Path, metavar="PATH", help="folder or LMDB of HR images")
    verify.add_argument("--lq", aliases=("--lr",), type=Path, metavar="PATH", help="folder or LMDB of LR images")
    verify.add_argument(
        "--filename-tmpl", metavar="TEXT", help="as BasicSR's option, e.g. '{}x2' (default: the set's, or '{}')"
    )
    verify.add_argument("--set", metavar="NAME", help="Set5, ... or DIV2K100 (default: as the path of --gt says)")
    verify.add_argument("--device", type=device, help="e.g. cpu or cuda:0 (default: cuda where it is there)")
    add_import_flag(verify)
    convert = add_command(commands, "convert", _convert, "official .pt, BasicSR's .pth", CONVERT_HELP, CONVERT_EXAMPLES)
    convert.add_argument("weights", type=Path, help="official .pt or BasicSR .pth file")
    convert.add_argument("--out", type=Path, metavar="FILE", help="write the other format here (default: only look)")
    convert.add_argument("--param-key", metavar="KEY", help="params or params_ema, where the file has both")
    convert.add_argument(
        "--prefix", default="", metavar="TEXT", help="what the names in the file begin with, e.g. net."
    )
    convert.add_argument("--force", action="store_true", help="replace a file that is there and has other weights")


def _verify(args: argparse.Namespace) -> int:
    from srkd_plugin.errors import MISSING, InputError

    for flag, here, there in (("--lq", args.lq, args.gt), ("--gt", args.gt, args.lq)):
        if here is None and there is not None:
            raise InputError(flag, MISSING, "--gt and --lq go together", "Give both, or none.")
    import_given(args.imports)
    import torch

    from srkd_plugin.evaluate.verify_teacher import ValidationSet, read_options, validation_set, verify_teacher
    from srkd_plugin.options import reader
    from srkd_plugin.options.teachers import choose_teacher

    given = read_options(args.opt)
    opt = choose_teacher(given, reader.read_plugin_sections(given).teachers, args.teacher)
    pairs = ValidationSet(args.gt, args.lq) if args.gt is not None else validation_set(opt)
    template = pairs.filename_tmpl if args.filename_tmpl is None else args.filename_tmpl
    where = torch.device(args.device or ("cuda" if torch.cuda.is_available() else "cpu"))
    report = verify_teacher(opt, pairs.hr, pairs.lr, args.set, where, template)
    print(report.describe())
    return FAILED if report.faults else 0


def _convert(args: argparse.Namespace) -> int:
    from srkd_plugin.export.convert import convert_file

    found = convert_file(args.weights, args.out, args.param_key, args.force, args.prefix)
    network = found.architecture
    print(f"{args.weights}: {'official' if found.official else 'BasicSR'} format, sha256 {found.sha256}")
    if not found.as_named:
        print(f"warning: the name says that the sha256 begins with {found.named_sha256}: damaged, or saved again")
    print(f"{network.blocks} blocks, {network.channels} channels, x{network.scale}, {network.parameters:,} parameters")
    print(f"network: {network.as_options()}")
    print("res_scale is not in the file: the value above is that of the official models of this width")
    if found.out is not None:
        print(f"{found.out}: {'written' if found.written else 'there already, the same'}, sha256 {found.out_sha256}")
        same = "the same, bit for bit" if found.exact_round_trip else "the same but for the means"
        print(f"converted back it is {same}")
    return 0
