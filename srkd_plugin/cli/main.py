"""The command ``srkd``, which is also ``python -m srkd_plugin``: finds the subcommand and runs it."""

from __future__ import annotations

import contextlib
import io
import os
import sys
from collections.abc import Collection, Sequence
from importlib import import_module
from typing import Optional

from srkd_plugin import __version__
from srkd_plugin.cli.exit_codes import MEANING, run_command
from srkd_plugin.cli.parser import Parser

COMMANDS = {
    "train": "train as BasicSR does, below the working directory",
    "test": "test as BasicSR does, below the working directory",
    "check": "say what the run of an options file would be, or what is wrong with it",
    "prepare": "make and verify data sets",
    "cache": "make, repair and describe teacher caches",
    "teacher": "measure a teacher; convert EDSR's official weights",
    "export": "write a trained network for other programs: ONNX and others, each file verified",
    "profile": "say what a student costs beside its teacher: MACs, memory, latency",
    "average": "average checkpoints of one network, and keep it if it is better",
    "compare": "compare the SR images of several systems: PSNR and crops",
    "upscale": "upscale images and folders with a finished model",
    "table": "train and compare methods over seeds",
    "schema": "write the JSON schema of options files, from which editors complete",
    "options": "list and copy the options files that come with the plugin",
    "doctor": "say which versions are installed, and whether BasicSR finds the plugin",
}
"""Every subcommand is the module of its name in this package; it is imported when it is asked for."""

STOCK = ("train", "test")
"""Subcommands that hand over to BasicSR, with its flags and its errors."""
CONTINUED = ("prepare", "cache", "upscale", "table")
"""Subcommands that go on where they were interrupted when they are started again."""

DESCRIPTION = """\
Knowledge distillation for super-resolution, as a plugin for BasicSR.
"""
EPILOG = f"""\
srkd COMMAND --help explains a command and has examples; srkd doctor says where the documents are.

Images are named as BasicSR's options name them: --gt is what dataroot_gt holds (ground truth, also called HR), --lq
what dataroot_lq holds (low quality, also called LR). --hr and --lr are understood too, as are flags with underscores.

{MEANING}"""


def main(arguments: Optional[Sequence[str]] = None) -> int:
    """Run a subcommand.

    Args:
        arguments: Its name and its arguments; by default those of the process.

    Returns:
        The exit code, as the help explains them.

    Raises:
        SystemExit: After ``--help`` and ``--version``, and with code 2 where the arguments cannot be parsed.
    """
    given = list(sys.argv[1:] if arguments is None else arguments)
    _print_anything()
    if "_ARGCOMPLETE" in os.environ:  # the shell asks for completions: register-python-argcomplete srkd
        with contextlib.suppress(ImportError):
            import_module("argcomplete").autocomplete(command_line(COMMANDS))
    parser = command_line(given[:1])
    args, more = parser.parse_known_args(given)
    args.more = more
    if args.command in STOCK:
        return args.run(args)
    if more:
        args.parser.error(f"unrecognized arguments: {' '.join(more)}")
    note = "the same command continues" if args.command in CONTINUED else ""
    return run_command(lambda: args.run(args), note)


def _print_anything() -> None:
    """Let standard output show what its encoding lacks as escapes, as standard error does, and not end the command.

    That is e.g. the ± of a report with an encoding other than UTF-8, and the name of a file that is no text.
    """
    if isinstance(sys.stdout, io.TextIOWrapper) and sys.stdout.errors in ("strict", "surrogateescape"):
        sys.stdout.reconfigure(errors="backslashreplace")


def command_line(complete: Collection[str]) -> Parser:
    """The parser of the command.

    Args:
        complete: Names of the subcommands whose arguments it must know; the others are imported when they are needed.
    """
    parser = Parser(prog="srkd", description=DESCRIPTION, epilog=EPILOG)
    parser.add_argument("--version", action="version", version=f"srkd-plugin {__version__}")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    for name, summary in COMMANDS.items():
        command = commands.add_parser(name, help=summary)
        if name in complete:
            import_module(f"srkd_plugin.cli.{name}").add_arguments(command)
    return parser
