"""Flags of ``srkd export`` about INT8."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Optional

from srkd_plugin.cli.parser import Parser

if TYPE_CHECKING:
    from srkd_plugin.export.job import Int8Wish


def add_int8_flags(parser: Parser) -> None:
    """Add the flags."""
    parser.add_argument("--int8", action="store_true", help="write ONNX in INT8 (QDQ), too; needs --calibrate")
    parser.add_argument(
        "--calibrate", type=Path, metavar="DIR", help="folder or LMDB of training LR images, for --int8"
    )
    parser.add_argument("--int8-crops", type=_count, metavar="N", help="crops that it is calibrated on (default: 64)")
    parser.add_argument(
        "--int8-float-layers", nargs="+", metavar="LAYER", help="layers that stay float32, or auto: the costliest"
    )
    parser.add_argument(
        "--int8-weight-bits", type=int, choices=(7, 8), help="7 for CPUs whose INT8 saturates (default: 8)"
    )


def int8_wish(args: argparse.Namespace) -> Optional[Int8Wish]:
    """What the flags ask for; None without ``--int8``.

    Raises:
        InputError: Another of the flags is given without it.
    """
    from srkd_plugin.errors import InputError
    from srkd_plugin.export.job import Int8Wish

    given = {
        "calibrate": args.calibrate,
        "crops": args.int8_crops,
        "float_layers": args.int8_float_layers,
        "weight_bits": args.int8_weight_bits,
    }
    given = {name: value for name, value in given.items() if value is not None}
    if args.int8:
        return Int8Wish(**given)
    if given:
        flag = "--calibrate" if "calibrate" in given else f"--int8-{next(iter(given)).replace('_', '-')}"
        raise InputError(flag, str(next(iter(given.values()))), "it is for INT8", "Add --int8, or leave it out.")
    return None


def _count(text: str) -> int:
    if not text.isdecimal() or int(text) < 4:
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number from 4")
    return int(text)
