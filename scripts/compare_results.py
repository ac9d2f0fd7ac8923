#!/usr/bin/env python
"""Compare SR images of several systems: a table of PSNR (Y channel) and a sheet of enlarged crops.

Example, after two runs of basicsr/test.py with val.save_img: true:

  python scripts/compare_results.py --hr datasets/demo/test/HR --lq datasets/demo/test/LR_bicubic/X2 --scale 2 \\
      --system student=results/demo_test_student/visualization/demo_test \\
      --system teacher=results/demo_test_teacher/visualization/demo_test --picture crops.png
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from srkd_plugin.cli.exit_codes import run_command


def main() -> int:
    """Parse the command line, print the table, draw the picture."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--hr", type=Path, required=True, help="folder of HR images")
    parser.add_argument("--lq", type=Path, required=True, help="folder of LR images of the same names")
    parser.add_argument("--scale", type=int, required=True, help="SR factor; also the border that PSNR leaves out")
    parser.add_argument(
        "--system", type=_system, action="append", default=[], metavar="NAME=FOLDER", help="its SR images; repeatable"
    )
    parser.add_argument("--picture", type=Path, help="file to draw the crops to (needs matplotlib)")
    args = parser.parse_args()
    return run_command(lambda: _compare(args))


def _compare(args: argparse.Namespace) -> int:
    from srkd_plugin.evaluate.compare_images import compare, draw_crops

    comparison = compare(args.hr, args.lq, dict(args.system), args.scale)
    print(comparison.table())
    if args.picture:
        draw_crops(comparison, args.picture)
        print(f"\npicture: {args.picture}")
    return 0


def _system(text: str) -> tuple[str, Path]:
    name, equals, folder = text.partition("=")
    if not (name and equals and folder):
        raise argparse.ArgumentTypeError(f"{text!r} is not NAME=FOLDER")
    return name, Path(folder)


if __name__ == "__main__":
    sys.exit(main())
