"""``srkd compare``: a table of PSNR of several systems' SR images, a sheet of enlarged crops, and a page of both."""

from __future__ import annotations

import argparse
from pathlib import Path

from srkd_plugin.cli.parser import Parser, describe, positive_int

DESCRIPTION = """\
Compare SR images of several systems: a table of PSNR (Y channel), a sheet of enlarged crops, and a page for the browser
with differences image by image and a slider between any two systems.
"""
EXAMPLES = """\
# after two runs of basicsr/test.py with val.save_img: true
srkd compare --gt datasets/demo/test/HR --lq datasets/demo/test/LR_bicubic/X2 --scale 2 \\
    --system student=results/demo_test_student/visualization/demo_test \\
    --system teacher=results/demo_test_teacher/visualization/demo_test --picture crops.png --html compare.html
"""


def add_arguments(parser: Parser) -> None:
    """Add the arguments of ``srkd compare``."""
    describe(parser, _run, DESCRIPTION, EXAMPLES)
    folder = {"type": Path, "required": True, "metavar": "DIR"}
    parser.add_argument("--gt", aliases=("--hr",), help="folder of HR images", **folder)
    parser.add_argument("--lq", aliases=("--lr",), help="folder of LR images of the same names", **folder)
    parser.add_argument(
        "--scale", type=positive_int, required=True, help="SR factor; also the border that PSNR leaves out"
    )
    parser.add_argument(
        "--system", type=_system, action="append", default=[], metavar="NAME=DIR", help="its SR images; repeatable"
    )
    parser.add_argument("--picture", type=Path, metavar="FILE", help="file to draw the crops to (needs matplotlib)")
    parser.add_argument(
        "--html", type=Path, metavar="FILE", help="page with the table and crops to slide over (needs the extra report)"
    )


def _run(args: argparse.Namespace) -> int:
    from srkd_plugin.evaluate.compare_images import by_system, compare, draw_crops
    from srkd_plugin.utils.figures import require_picture

    systems = by_system(args.system)
    if args.picture:
        require_picture("--picture", args.picture)
    if args.html:
        from srkd_plugin.report.compare_page import require_systems

        require_systems(args.html, systems)
    comparison = compare(args.gt, args.lq, systems, args.scale)
    print(comparison.table())
    written = []
    if args.picture:
        draw_crops(comparison, args.picture)
        written.append(f"picture: {args.picture}")
    if args.html:
        from srkd_plugin.report.compare_page import write_compare_page
        from srkd_plugin.report.render import written_page

        size = write_compare_page(comparison, {"--gt": args.gt, "--lq": args.lq}, systems, args.scale, args.html)
        written.append(written_page(args.html, size))
    if written:
        print("\n" + "\n".join(written))
    return 0


def _system(text: str) -> tuple[str, Path]:
    name, equals, folder = text.partition("=")
    if not (name and equals and folder):
        raise argparse.ArgumentTypeError(f"{text!r} is not NAME=DIR")
    return name, Path(folder)
