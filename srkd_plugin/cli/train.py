"""``srkd train``: BasicSR's trainer with the working directory as its root.

For those who have BasicSR from pip only, whose own ``python -m basicsr.train`` would write into site-packages.
"""

from __future__ import annotations

from srkd_plugin.cli.basicsr_flags import add_basicsr_flags, run_pipeline
from srkd_plugin.cli.parser import Parser, describe

DESCRIPTION = """\
Train as BasicSR does, with its flags and its exit codes. Everything is written below the working directory. SIGTERM and
Ctrl-C save and end with exit code 75; --auto-resume goes on there.
"""
EXAMPLES = """\
srkd train -opt options/distill_cl_l1.yml
srkd train -opt options/distill_cl_l1.yml --auto-resume --force-yml train:total_iter=1000
torchrun --nproc_per_node=4 -m srkd_plugin train -opt options/distill_cl_l1.yml --launcher pytorch
"""


def add_arguments(parser: Parser) -> None:
    """Add the arguments of ``srkd train``."""
    describe(parser, lambda args: run_pipeline("train", args), DESCRIPTION, EXAMPLES)
    add_basicsr_flags(parser, to_train=True)
