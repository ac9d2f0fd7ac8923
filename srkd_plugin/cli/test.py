"""``srkd test``: BasicSR's tester with the working directory as its root.

For those who have BasicSR from pip only, whose own ``python -m basicsr.test`` would write into site-packages.
"""

from __future__ import annotations

from srkd_plugin.cli.basicsr_flags import add_basicsr_flags, run_pipeline
from srkd_plugin.cli.parser import Parser, describe

DESCRIPTION = """\
Test as BasicSR does, with its flags. Everything is written below the working directory.
"""
EXAMPLES = """\
srkd test -opt options/test_student.yml
"""


def add_arguments(parser: Parser) -> None:
    """Add the arguments of ``srkd test``."""
    describe(parser, lambda args: run_pipeline("test", args), DESCRIPTION, EXAMPLES)
    add_basicsr_flags(parser, to_train=False)
