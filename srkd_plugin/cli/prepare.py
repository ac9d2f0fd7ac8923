"""``srkd prepare``: makes and verifies data sets for BasicSR."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from srkd_plugin.cli.exit_codes import FAILED
from srkd_plugin.cli.parser import Parser, add_command, add_commands, positive_int

TRAIN_HELP = """\
Make LMDBs of overlapping HR and LR sub-images from folders of photographs, by BasicSR's recipe.

LR is MATLAB's bicubic reduction, bit for bit, or cut from the official LR images (--lq). Written to --out:

  <name>_HR_sub.lmdb                  BasicSR's dataroot_gt
  <name>_LR_bicubic_X<scale>_sub.lmdb BasicSR's dataroot_lq
  meta_info_<name>_sub_GT.txt         names and sizes of the sub-images
  <name>_info.json                    recipe, counts, sizes, sha256 of the keys and of the photographs' files

An interrupted run is continued by the same command. A complete set is verified and left alone. In both, photographs
that have changed since (e.g. a damaged one that was mended) are cut again, and those gone or new are dropped or added.
"""
TRAIN_EXAMPLES = """\
# DIV2K, with its official LR images
srkd prepare train --gt DIV2K_train_HR --lq DIV2K_train_LR_bicubic/X2 --out datasets/DIV2K
# any photographs; LR is computed at three scales
srkd prepare train --gt BSDS500/train BSDS500/test --out datasets/BSDS500 --scale 2 3 4
"""
BENCHMARK_HELP = """\
Make the folders of a benchmark set from its HR images: cropped HR, and MATLAB's bicubic LR, as PNG of three channels.

  <out>/HR/<name>.png                   cropped to multiples of all scales
  <out>/LR_bicubic/X<scale>/<name>.png
  <out>/info.json                       counts, sizes, sha256 of the names

Files that are there are compared and kept.
"""
BENCHMARK_EXAMPLES = """\
srkd prepare benchmark --gt downloads/Set5 --out datasets/Set5
srkd prepare benchmark --gt downloads/Urban100 --out datasets/Urban100 --scale 2 3 4
"""
VERIFY_HELP = """\
Verify a pair of HR and LR folders or LMDBs: same keys, whole files, sizes that fit the scale, LR that is a reduction of
its HR, no image twice. For Set5, Set14, B100, Urban100 and Manga109 bicubic PSNR is compared with the published one.

The exit code is 0 if nothing is wrong, 1 if something is, and 2 if a set cannot be read at all.
"""
VERIFY_EXAMPLES = """\
srkd prepare verify --gt datasets/Set5/HR --lq datasets/Set5/LR_bicubic/X2
# is an image of Set5 in the training set?
srkd prepare verify --gt datasets/Set5/HR --lq datasets/Set5/LR_bicubic/X2 --against BSDS500/train
srkd prepare verify --gt DIV2K/DIV2K_train_HR_sub.lmdb --lq DIV2K/DIV2K_train_LR_bicubic_X2_sub.lmdb
"""
DEMO_HELP = """\
Make x2 pairs from photographs inside installed packages; nothing is downloaded.
"""


def add_arguments(parser: Parser) -> None:
    """Add the arguments of ``srkd prepare``."""
    examples = "srkd prepare benchmark --gt downloads/Set5 --out datasets/Set5"
    commands = add_commands(parser, "Make and verify data sets for BasicSR.", examples)
    _add_train(commands)
    _add_benchmark(commands)
    _add_verify(commands)
    demo = add_command(
        commands, "demo", _demo, "x2 pairs from photographs inside installed packages", DEMO_HELP, "srkd prepare demo"
    )
    demo.add_argument("--out", type=Path, default=Path("datasets/demo"), help="folder to write to (%(default)s)")


def _add_train(commands: Any) -> None:
    parser = add_command(commands, "train", _train, "photographs to LMDBs of sub-images", TRAIN_HELP, TRAIN_EXAMPLES)
    _add_workers(parser)
    parser.add_argument(
        "--gt", aliases=("--hr",), type=Path, nargs="+", required=True, metavar="DIR", help="folders of photographs"
    )
    parser.add_argument(
        "--lq", aliases=("--lr",), type=Path, nargs="+", metavar="DIR", help="official LR folders, one for each --scale"
    )
    parser.add_argument("--out", type=Path, required=True, metavar="DIR", help="folder to write to")
    parser.add_argument("--name", help="start of the names that are written (default: <name of --out>_train)")
    parser.add_argument("--size", type=positive_int, default=480, help="side of HR sub-images (default: %(default)s)")
    parser.add_argument("--step", type=positive_int, default=240, help="from one to the next (default: %(default)s)")
    parser.add_argument(
        "--compression", type=int, choices=range(10), default=1, metavar="0-9", help="of PNG (default: %(default)s)"
    )
    _add_scales_and_force(parser)


def _add_benchmark(commands: Any) -> None:
    parser = add_command(
        commands, "benchmark", _benchmark, "HR images to cropped HR and LR", BENCHMARK_HELP, BENCHMARK_EXAMPLES
    )
    _add_workers(parser)
    parser.add_argument("--gt", aliases=("--hr",), type=Path, required=True, metavar="DIR", help="folder of HR images")
    parser.add_argument("--out", type=Path, required=True, metavar="DIR", help="folder to write to")
    _add_scales_and_force(parser)


def _add_verify(commands: Any) -> None:
    parser = add_command(commands, "verify", _verify, "check HR and LR folders or LMDBs", VERIFY_HELP, VERIFY_EXAMPLES)
    _add_workers(parser)
    pair: dict[str, Any] = {"type": Path, "required": True, "metavar": "PATH"}
    parser.add_argument("--gt", aliases=("--hr",), help="folder or LMDB of HR images", **pair)
    parser.add_argument("--lq", aliases=("--lr",), help="folder or LMDB of LR images", **pair)
    parser.add_argument("--scale", type=positive_int, default=2, help="HR pixels per LR pixel (default: %(default)s)")
    parser.add_argument("--set", help="which known set it is meant to be (default: as the path of --gt says)")
    parser.add_argument(
        "--filename-tmpl",
        default="{}",
        metavar="TEXT",
        help="as BasicSR's option, e.g. '{}x2' (default: '%(default)s')",
    )
    training: dict[str, Any] = {"type": Path, "nargs": "+", "default": [], "metavar": "PATH"}
    parser.add_argument("--against", help="training sets that must not have images of --gt", **training)


def _add_workers(parser: Parser) -> None:
    parser.add_argument("--workers", type=positive_int, metavar="N", help="processes (default: one per processor)")


def _add_scales_and_force(parser: Parser) -> None:
    scales: dict[str, Any] = {"type": int, "nargs": "+", "choices": (2, 3, 4), "default": [2], "metavar": "N"}
    parser.add_argument("--scale", help="factors of LR, of 2, 3 and 4 (default: 2)", **scales)
    parser.add_argument("--force", action="store_true", help="replace what is there and differs")


def _train(args: argparse.Namespace) -> int:
    from srkd_plugin.datasets.train_set import TrainSet, make_train_set
    from srkd_plugin.errors import InputError
    from srkd_plugin.images.worker_pool import default_workers

    scales = tuple(dict.fromkeys(args.scale))
    if args.lq and len(args.lq) != len(scales):
        raise InputError("--lq", len(args.lq), f"--scale names {len(scales)} scales", "Give one folder for each.")
    name = args.name or f"{args.out.absolute().name}_train"
    lr = dict(zip(scales, args.lq or ()))
    wanted = TrainSet(tuple(args.gt), args.out, name, scales, lr, args.size, args.step, args.compression)
    info = make_train_set(wanted, args.workers or default_workers(), args.force)
    _print_folders(args.out, info["lmdbs"])
    return 0


def _benchmark(args: argparse.Namespace) -> int:
    from srkd_plugin.datasets.benchmark_set import make_benchmark_set
    from srkd_plugin.images.worker_pool import default_workers

    scales = tuple(dict.fromkeys(args.scale))
    info = make_benchmark_set(args.gt, args.out, scales, args.workers or default_workers(), args.force)
    _print_folders(args.out, info["folders"])
    return 0


def _print_folders(out: Path, folders: dict[str, dict[str, Any]]) -> None:
    for name, entry in folders.items():
        print(f"{out / name}: {entry['images']:,} images, {entry['bytes'] / 1e6:,.1f} MB")
        print(f"  sha256 of the keys: {entry['sha256 of keys']}")


def _verify(args: argparse.Namespace) -> int:
    from srkd_plugin.datasets.verify import verify
    from srkd_plugin.images.worker_pool import default_workers

    workers = args.workers or default_workers()
    report = verify(args.gt, args.lq, args.scale, args.set, args.filename_tmpl, args.against, workers)
    print(report.describe())
    return FAILED if report.faults else 0


def _demo(args: argparse.Namespace) -> int:
    from srkd_plugin.datasets.demo_set import make_demo_data

    for path in make_demo_data(args.out):
        print(path)
    return 0
