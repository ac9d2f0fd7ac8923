"""``srkd check -opt FILE``: looks at an options file and says what its run would be, or what is wrong.

Nothing is run and nothing is written. A BasicSR options file is code: BasicSR reads it with YAML's unsafe loader. Here
a safe loader reads it, and a file with tags that make it a program is refused; weights files are read as tensors only,
also with ``trust_weights: true``.
"""

from __future__ import annotations

import argparse
import json
import sys
from contextlib import nullcontext, redirect_stdout
from pathlib import Path
from typing import Any

from srkd_plugin.cli.exit_codes import BAD_INPUT
from srkd_plugin.cli.imports import add_import_flag, import_given
from srkd_plugin.cli.parser import Parser, describe
from srkd_plugin.errors import OptionsError
from srkd_plugin.utils.files import require_folder

NOTE = (
    "note: for BasicSR an options file is code: its loader runs what tags such as !!python/object say. This command "
    "reads it with a safe loader and found none. Run files of people whom you trust."
)

DESCRIPTION = """\
Look at an options file and say what its run would be (parameters, terms and weights, images found, disk, folder), or
what is wrong. Nothing is run and nothing is written. The exit code is 0 if nothing is wrong, and 2 if something is.
"""
EXAMPLES = """\
srkd check -opt options/distill_cl_l1.yml
srkd check -opt options/distill_cl_l1.yml --root ~/BasicSR --json
# an options file whose architecture is registered by a module of one's own
srkd check -opt options/mine.yml --import mine.archs
# and whether a run that has begun can go on with these options
srkd check -opt options/distill_cl_l1.yml --auto-resume
"""


def add_arguments(parser: Parser) -> None:
    """Add the arguments of ``srkd check``."""
    describe(parser, _run, DESCRIPTION, EXAMPLES)
    parser.add_options_file("options file to train or to test with")
    parser.add_argument(
        "--root", type=Path, default=Path(), help="BasicSR checkout, below which it writes (default: here)"
    )
    parser.add_argument(
        "--auto-resume",
        action="store_true",
        help="say what the run would go on from, and what becomes of options that are others than the run had",
    )
    add_import_flag(parser)
    parser.add_argument("--json", action="store_true", help="print the facts, or the error, as JSON")


def _run(args: argparse.Namespace) -> int:
    try:
        # what a module of the user's or a library prints would be in the way of whoever reads the JSON
        with redirect_stdout(sys.stderr) if args.json else nullcontext():
            facts, notes = _look(args.opt, args.root.absolute(), args.auto_resume, args.imports)
    except OptionsError as error:
        if args.json:
            parts = {"key": error.key, "problem": error.problem, "remedy": error.remedy, "text": str(error)}
            print(json.dumps({"error": parts}, indent=2))
        else:
            print(f"srkd_plugin: options error: {error}", file=sys.stderr)
        return BAD_INPUT
    if args.json:
        print(json.dumps({**facts, "notes": notes}, indent=2))
    else:
        from srkd_plugin.preflight import describe_run

        print("\n".join([*describe_run.lines(facts), *notes, "nothing wrong"]))
    return 0


def _look(file: Path, root: Path, auto_resume: bool, imports: list[str]) -> tuple[dict[str, Any], list[str]]:
    require_folder("--root", root)
    import_given(imports)  # first: it lets BasicSR be imported
    from srkd_plugin.basicsr_patches.parse_options import parse_without_running
    from srkd_plugin.options import reader, safe_yaml
    from srkd_plugin.preflight import describe_run, runs_of_others
    from srkd_plugin.preflight.networks import root_logger_untouched

    notes = [NOTE]
    is_train = "train" in safe_yaml.read(file)
    opt = parse_without_running(file, root, is_train)
    if opt.get("trust_weights") is True:
        opt["trust_weights"] = False
        notes.append("note: trust_weights: true is not followed here; in a run, code in the weights files is run.")
    unread = None if reader.is_ours(opt) else runs_of_others.unread_sections(opt)
    notes += [f"note: {unread}"] if unread else []
    opt["auto_resume"] = auto_resume
    with root_logger_untouched():
        facts = describe_run.describe(opt)
    if is_train and reader.is_ours(opt):
        notes += [f"resume: {line}" for line in _resume(opt)]
    return facts, notes


def _resume(opt: dict[str, Any]) -> list[str]:
    """What a run would go on from, and what it would say then; nothing for a run that begins."""
    from srkd_plugin.basicsr_patches.resume import find_on_all_ranks
    from srkd_plugin.options import reader
    from srkd_plugin.preflight.resume import compare_with_state

    found = find_on_all_ranks(opt)
    if found is None:
        return ["there is no training state: a new run"] if opt["auto_resume"] else []
    path, state = found
    return [f"{path}, after iteration {state['iter']:,}", *compare_with_state(reader.read(opt), state)]
