"""``srkd options``: lists and copies the options files that come with the plugin."""

from __future__ import annotations

import argparse
from pathlib import Path

from srkd_plugin.cli.parser import Parser, add_command, add_commands

LIST_HELP = """\
List the options files that come with the plugin, each with what its comment begins with.
"""
COPY_HELP = """\
Copy options files that come with the plugin into a folder, e.g. beside your BasicSR checkout; tables go into its
tables/. A file that is there and differs is not replaced without --force.
"""
COPY_EXAMPLES = """\
srkd options copy distill_cl_l1 options
srkd options copy tables/cpu distill_fakd options
srkd options copy --all options
"""


def add_arguments(parser: Parser) -> None:
    """Add the arguments of ``srkd options``."""
    about = "List and copy the options files that come with the plugin."
    commands = add_commands(parser, about, "srkd options list\nsrkd options copy --all options")
    add_command(commands, "list", _list, "list them", LIST_HELP, "srkd options list")
    copy = add_command(commands, "copy", _copy, "copy some or all of them", COPY_HELP, COPY_EXAMPLES)
    copy.add_argument("names", nargs="*", metavar="NAME", help="names as srkd options list prints them")
    copy.add_argument("folder", type=Path, metavar="DIR", help="folder to copy to")
    copy.add_argument("--all", action="store_true", help="copy all of them")
    copy.add_argument("--force", action="store_true", help="replace files that are there and differ")


def _list(args: argparse.Namespace) -> int:
    from srkd_plugin.options.shipped import shipped_options

    found = shipped_options()
    width = max(map(len, found))
    for name, one in found.items():
        print(f"{name:{width}}  {one.summary}")
    return 0


def _copy(args: argparse.Namespace) -> int:
    from srkd_plugin.errors import MISSING, InputError
    from srkd_plugin.options.shipped import copy_options, shipped_options

    if not args.names and not args.all:
        raise InputError("NAME", MISSING, "no file is named", "Name options files, or give --all.")
    names = list(shipped_options()) if args.all else args.names
    for file in copy_options(names, args.folder, args.force):
        print(file)
    return 0
