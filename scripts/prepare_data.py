#!/usr/bin/env python
"""Prepare data sets for BasicSR. One sub-command a data set."""

from __future__ import annotations

import argparse
from pathlib import Path


def main() -> None:
    """Parse the command line and run the sub-command."""
    parser = argparse.ArgumentParser(description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    demo = commands.add_parser("demo", help="x2 pairs from photographs inside installed packages (no download)")
    demo.add_argument("--out", type=Path, default=Path("datasets/demo"), help="folder to write to (%(default)s)")
    args = parser.parse_args()

    from srkd_plugin.data.demo import make_demo_data

    for path in make_demo_data(args.out):
        print(path)


if __name__ == "__main__":
    main()
