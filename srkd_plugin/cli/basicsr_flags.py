"""BasicSR's flags of training and testing, as ``srkd train`` and ``srkd test`` take them, and the call of BasicSR."""

from __future__ import annotations

import argparse
import os
import sys
from importlib import import_module

from srkd_plugin.cli.exit_codes import run_command
from srkd_plugin.cli.imports import add_import_flag, import_given
from srkd_plugin.cli.parser import Parser, existing_file


def add_basicsr_flags(parser: Parser, to_train: bool) -> None:
    """Add the flags of BasicSR's ``parse_options``; those that do nothing in a test are understood, and not shown."""
    resume, debug = "go on from the newest checkpoint, if there is one", "BasicSR's debug mode: 8 iterations, no logger"
    parser.add_options_file("options file", type=existing_file)
    parser.add_argument("--launcher", choices=("none", "pytorch", "slurm"), help="pytorch: started by torchrun")
    parser.add_argument("--auto-resume", action="store_true", help=resume if to_train else argparse.SUPPRESS)
    parser.add_argument("--debug", action="store_true", help=debug if to_train else argparse.SUPPRESS)
    parser.add_argument(
        "--force-yml", nargs="+", metavar="KEY:KEY=VALUE", help="options that replace those of the file"
    )
    add_import_flag(parser)
    parser.add_argument("--local-rank", type=int, help=argparse.SUPPRESS)  # torch.distributed.launch gives it


def run_pipeline(purpose: str, args: argparse.Namespace) -> int:
    """Run BasicSR's ``train_pipeline`` or ``test_pipeline`` in the working directory.

    Args:
        purpose: ``train`` or ``test``.
        args: What :func:`add_basicsr_flags` has added, and in ``more`` the flags of forks.

    Raises:
        SystemExit: With code 2, after one line: the plugin cannot register, or the options file is wrong.
    """
    hand_over(args)
    from srkd_plugin.basicsr_patches.parse_options import every_file_explained
    from srkd_plugin.basicsr_patches.progress_line import in_every_run

    pipeline = getattr(import_module(f"basicsr.{purpose}"), f"{purpose}_pipeline")
    with every_file_explained(), in_every_run():
        pipeline(os.getcwd())
    return 0


def hand_over(args: argparse.Namespace) -> None:
    """Make the process's arguments those that BasicSR's ``parse_options`` expects, and BasicSR ready to be imported.

    Flags of forks are passed on. PyPI's BasicSR cannot be imported with newer torchvision without our repair.

    Raises:
        SystemExit: With code 2, after one line: the plugin cannot register, or a module of the user's be imported.
    """
    flags = ["-opt", args.opt]
    flags += ["--launcher", args.launcher] if args.launcher else []
    flags += ["--auto_resume"] * args.auto_resume + ["--debug"] * args.debug
    flags += ["--local_rank", str(args.local_rank)] if args.local_rank is not None else []
    flags += args.more
    flags += ["--force_yml", *args.force_yml] if args.force_yml else []
    sys.argv = [sys.argv[0], *flags]
    if code := run_command(lambda: _import(args.imports)):
        raise SystemExit(code)


def _import(modules: list[str]) -> int:
    import_given(modules)
    return 0
