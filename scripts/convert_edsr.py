#!/usr/bin/env python
"""Convert EDSR's official weights (.pt) to BasicSR's format (.pth), or back, or say what network a file is of.

The format is told from the file. Only tensors are read from it.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from srkd_plugin.cli.exit_codes import run_command

EXAMPLES = """\
examples:
  # what is it?
  convert_edsr.py edsr_x2-0edfb8a3.pt
  # to BasicSR's format
  convert_edsr.py edsr_x2-0edfb8a3.pt --out experiments/pretrained_models/EDSR_Lx2_f256b32_DIV2K_official.pth
  # a trained student to the official format
  convert_edsr.py experiments/student/models/net_g_latest.pth --param-key params_ema --out student.pt
"""


def main() -> int:
    """Parse the command line, convert, and print what was found."""
    raw = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=__doc__, epilog=EXAMPLES, formatter_class=raw)
    parser.add_argument("weights", type=Path, help="official .pt or BasicSR .pth file")
    parser.add_argument("--out", type=Path, metavar="FILE", help="write the other format here (default: only look)")
    parser.add_argument("--param-key", metavar="KEY", help="params or params_ema, where the file has both")
    parser.add_argument("--force", action="store_true", help="replace a file that is there and has other weights")
    args = parser.parse_args()
    return run_command(lambda: _convert(args))


def _convert(args: argparse.Namespace) -> int:
    from srkd_plugin.export.convert import convert_file

    found = convert_file(args.weights, args.out, args.param_key, args.force)
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


if __name__ == "__main__":
    sys.exit(main())
