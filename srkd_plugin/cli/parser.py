"""The argument parser of every subcommand: one spelling in the help, older ones understood, bad input in one line."""

from __future__ import annotations

import argparse
import re
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Callable, NoReturn, Optional

from srkd_plugin.cli.exit_codes import BAD_INPUT


class Parser(argparse.ArgumentParser):
    """An argparse parser whose flags are kebab-case.

    A flag is also understood with underscores, as BasicSR spells its own (``--self_ensemble``), and under the aliases
    that :meth:`add_argument` is given. The help and the error messages name the one spelling only.
    """

    def __init__(self, *args: Any, **keywords: Any) -> None:
        self._spellings: dict[str, str] = {}
        keywords.setdefault("formatter_class", argparse.RawDescriptionHelpFormatter)
        super().__init__(*args, **keywords)

    def add_argument(self, *names: Any, aliases: Sequence[str] = (), **keywords: Any) -> argparse.Action:
        """Add an argument as argparse does; ``aliases`` are further spellings that are not shown."""
        for name in names:
            if name.startswith("--"):
                self._spellings["--" + name[2:].replace("-", "_")] = name
        self._spellings.update(dict.fromkeys(aliases, names[0] if names else ""))
        if keywords.get("type") is Path:
            keywords["type"] = path  # an empty one would be the working directory
        return super().add_argument(*names, **keywords)

    def add_options_file(self, help: str, required: bool = True, type: Callable[[str], Any] = Path) -> argparse.Action:
        """Add ``-opt FILE``, BasicSR's flag of an options file; ``--opt`` is understood, too.

        Args:
            help: What the options are of.
            required: Whether the command needs it.
            type: Argparse type of its value.
        """
        return self.add_argument("-opt", aliases=("--opt",), type=type, required=required, metavar="FILE", help=help)

    def parse_known_args(  # type: ignore[override]  # typeshed has overloads for other namespaces
        self, args: Optional[Sequence[str]] = None, namespace: Optional[argparse.Namespace] = None
    ) -> tuple[argparse.Namespace, list[str]]:
        """Parse as argparse does, older spellings of flags being replaced first."""
        given = sys.argv[1:] if args is None else args
        return super().parse_known_args([self._spelled(one) for one in given], namespace)

    def _spelled(self, argument: str) -> str:
        name, equals, value = argument.partition("=")
        return f"{self._spellings.get(name, name)}{equals}{value}"

    def error(self, message: str) -> NoReturn:
        """End with one line and exit code 2."""
        self.exit(BAD_INPUT, f"error: {message}; see {self.prog} --help\n")


def path(text: str) -> Path:
    """Argparse type of a path that is not empty, as it is where a shell's variable is not set."""
    if not text.strip():
        raise argparse.ArgumentTypeError("the path is empty")
    return Path(text)


def device(text: str) -> str:
    """Argparse type of a device that torch knows and finds, e.g. ``cpu`` or ``cuda:0``."""
    found = re.fullmatch(r"(cpu|cuda|mps|xpu)(?::(\d+))?", text)
    if not found:
        raise argparse.ArgumentTypeError(f"{text!r} is no device; write e.g. cpu or cuda:0")
    if int(found[2] or 0) >= _device_count(found[1]):
        raise argparse.ArgumentTypeError(f"torch finds no {text} here; leave --device out, or write cpu")
    return text


def _device_count(kind: str) -> int:
    """Devices of a kind that torch finds, without making any of them ready."""
    import torch

    if kind == "cpu":
        return 1
    if kind == "mps":
        return int(torch.backends.mps.is_available())
    return int(getattr(torch, kind).device_count()) if hasattr(torch, kind) else 0


def add_commands(parser: Parser, description: str, examples: str) -> Any:
    """Make a command a group of commands, for :func:`add_command`; which one was given is ``kind`` of the arguments."""
    parser.description, parser.epilog = description, _examples(examples)
    return parser.add_subparsers(dest="kind", required=True, metavar="COMMAND")


def add_command(
    commands: Any,
    name: str,
    run: Callable[[argparse.Namespace], int],
    summary: str,
    description: str,
    examples: str,
) -> Parser:
    """Add a command of a group, e.g. ``make`` of ``cache``.

    Args:
        commands: What ``add_subparsers`` returned.
        name: Its name.
        run: Does the work; returns the exit code.
        summary: The line in the help of the group.
        description: The text above its arguments.
        examples: Commands, one per line; lines that begin with ``#`` explain the next one.
    """
    parser: Parser = commands.add_parser(name, help=summary)
    describe(parser, run, description, examples)
    return parser


def describe(parser: Parser, run: Callable[[argparse.Namespace], int], description: str, examples: str) -> None:
    """Give a command its help text, and what it runs."""
    parser.description, parser.epilog = description.strip(), _examples(examples)
    parser.set_defaults(run=run, parser=parser)


def _examples(commands: str) -> str:
    return "\n".join(["examples:", *(f"  {line}" for line in commands.strip().splitlines())])


def positive_int(text: str) -> int:
    """Argparse type of an integer from 1."""
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError(f"{number} is less than 1")
    return number


def gpu_ids(text: str) -> str:
    """Argparse type of what CUDA_VISIBLE_DEVICES takes: a GPU's number or UUID, or several with commas between."""
    if not all(re.fullmatch(r"\d+|(GPU|MIG)-[\w/-]+", one) for one in text.split(",")):
        raise argparse.ArgumentTypeError(f"{text!r} is no number of a GPU")
    return text


def existing_file(text: str) -> str:
    """Argparse type of the path of a file that is there."""
    if not Path(text).is_file():
        raise argparse.ArgumentTypeError(f"there is no file {text!r} (relative paths start at {Path.cwd()})")
    return text
