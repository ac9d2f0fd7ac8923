"""``srkd upscale``: images and folders through a finished model."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from srkd_plugin.cli.exit_codes import FAILED
from srkd_plugin.cli.imports import add_import_flag, import_given
from srkd_plugin.cli.parser import Parser, describe, device, positive_int

DESCRIPTION = """\
Upscale an image, or the images of a folder, with a model file that srkd export wrote, or another ONNX file.

Large images are run in tiles that overlap by what the model sees, so that the result is that of the whole image. Gray
stays gray, 16 bits stay 16 in PNG, alpha is upscaled bicubically, EXIF and colour profile are kept, and images are
turned as their EXIF says. What is there already, made from the same image by the same model, is not made again.

The exit code is 0 if all images are there, 1 if some could not be read or upscaled, which are named at the end, and 2
if nothing could be begun.
"""
EXAMPLES = """\
srkd upscale --model student-x2.safetensors photo.jpg photo-x2.png
# a folder, in onnxruntime, as WebP
srkd upscale --model student-x2.onnx photos/ photos-x2/ --format webp
"""


def add_arguments(parser: Parser) -> None:
    """Add the arguments of ``srkd upscale``."""
    describe(parser, _run, DESCRIPTION, EXAMPLES)
    parser.add_argument("--model", type=Path, required=True, metavar="FILE", help=".pth, .safetensors, .onnx or .param")
    parser.add_argument("source", type=Path, metavar="IN", help="image, or folder of images")
    parser.add_argument("out", type=Path, metavar="OUT", help="folder, or for one image also a file")
    parser.add_argument("--format", choices=("png", "jpg", "webp"), help="of images in a folder (default: png)")
    parser.add_argument(
        "--suffix", type=_suffix, metavar="TEXT", help="what their names end with, e.g. _x2 (default: nothing)"
    )
    parser.add_argument(
        "--tile",
        type=_from_zero,
        metavar="N",
        help="side of tiles in LQ pixels; 0: whole images (default: 256, or more if the model sees far)",
    )
    parser.add_argument(
        "--overlap", type=_from_zero, metavar="N", help="what a tile sees beyond (default: as far as the model sees)"
    )
    parser.add_argument("--device", type=device, help="where torch runs, e.g. cpu or cuda:0 (default: cuda if there)")
    parser.add_argument("--threads", type=positive_int, metavar="N", help="threads (default: as the runtime likes)")
    add_import_flag(parser)
    parser.add_argument("--force", action="store_true", help="replace what is there")


def _run(args: argparse.Namespace) -> int:
    import_given(args.imports)
    import torch

    from srkd_plugin.runtimes.opening import open_model
    from srkd_plugin.runtimes.tiles import tiles_for
    from srkd_plugin.runtimes.upscale_files import find_jobs, sha256_of_model, upscale_files

    jobs = find_jobs(args.source, args.out, args.suffix or "", args.format and f".{args.format}")
    if args.threads:
        torch.set_num_threads(args.threads)
    where = args.device or ("cuda" if torch.cuda.is_available() else "cpu")
    upscaler = open_model(args.model, args.threads, where)
    tiles = tiles_for(upscaler, args.tile, args.overlap)
    parts = "whole images" if tiles.tile is None and tiles.size is None else f"tiles that overlap by {tiles.overlap}"
    print(f"{args.model}: {tiles.name}, x{tiles.scale}, {parts}", flush=True)
    settings = None if args.overlap is None else [args.tile, args.overlap]
    done = upscale_files(tiles, jobs, sha256_of_model(args.model, settings), args.force)
    there = f", {len(done.skipped)} there already, of the same input and model" if done.skipped else ""
    print(f"{jobs[0].target.parent}: {len(done.written)} images written{there}")
    for fault in done.faults:
        print(f"not upscaled: {fault}", file=sys.stderr)
    return FAILED if done.faults else 0


def _suffix(text: str) -> str:
    if Path(f"a{text}").name != f"a{text}":
        raise argparse.ArgumentTypeError(f"{text!r} cannot be a part of a file name")
    return text


def _from_zero(text: str) -> int:
    number = int(text)
    if number < 0:
        raise argparse.ArgumentTypeError(f"{number} is less than 0")
    return number
