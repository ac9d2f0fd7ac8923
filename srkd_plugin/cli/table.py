"""``srkd table``: trains and compares methods x seeds, as a table's YAML file says."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any

from srkd_plugin.cli.exit_codes import FAILED
from srkd_plugin.cli.imports import add_import_flag
from srkd_plugin.cli.parser import Parser, add_command, add_commands, positive_int

RUN_HELP = """\
Train and test every run of a table that is missing, then make the report. Run it where basicsr/ and datasets/ are.

Each run is an ordinary BasicSR command, which is printed. The same command continues an interrupted table: what is done
is skipped, what was interrupted is resumed.
"""
RUN_EXAMPLES = """\
srkd table run options/tables/cpu.yml --jobs 2
# one row
srkd table run options/tables/cpu.yml --methods fakd --seeds 0
# what would be run
srkd table run options/tables/cpu.yml --dry-run
"""
REPORT_HELP = """\
Make the report of a table from stored results alone; nothing is run.
"""
REPORT_EXAMPLES = """\
srkd table report options/tables/cpu.yml --results docs/results/cpu
# of runs that were made on two machines
srkd table report options/tables/cpu.yml --results A B --out C
"""


def add_arguments(parser: Parser) -> None:
    """Add the arguments of ``srkd table``."""
    about = "Train and compare methods x seeds, as a table's YAML file says."
    commands = add_commands(parser, about, "srkd table run options/tables/cpu.yml --jobs 2")
    run = add_command(commands, "run", _run, "train, test and report", RUN_HELP, RUN_EXAMPLES)
    run.add_argument("table", type=Path, help="the table's YAML file")
    run.add_argument("--methods", nargs="+", metavar="NAME", help="these rows only")
    run.add_argument("--seeds", nargs="+", type=int, metavar="N", help="these seeds only")
    run.add_argument("--jobs", type=positive_int, default=1, metavar="N", help="runs at a time (default: 1)")
    run.add_argument("--gpus", nargs="+", default=[], metavar="ID", help="GPUs to share out, one run each")
    run.add_argument(
        "--nproc", type=positive_int, default=1, metavar="N", help="processes per training, through torchrun"
    )
    run.add_argument("--dry-run", action="store_true", help="print the commands of what is missing")
    run.add_argument("--out", type=Path, metavar="DIR", help="folder of the report (default: tables/<name>)")
    add_import_flag(run)
    report = add_command(
        commands, "report", _report, "make the report from stored results", REPORT_HELP, REPORT_EXAMPLES
    )
    report.add_argument("table", type=Path, help="the table's YAML file")
    folders: dict[str, Any] = {"type": Path, "nargs": "+", "required": True, "metavar": "DIR"}
    report.add_argument(
        "--results", help="folders with images.csv and the others; what is in two of them must agree", **folders
    )
    report.add_argument("--out", type=Path, metavar="DIR", help="folder of the report (default: that of the results)")


def _run(args: argparse.Namespace) -> int:
    from srkd_plugin.tables import plan, results, runner
    from srkd_plugin.tables.plots import draw_sheet
    from srkd_plugin.tables.report import write_report
    from srkd_plugin.utils.files import read_json

    root = Path.cwd()
    table = plan.read_table(args.table)
    runs = plan.plan_runs(table, args.table)
    wanted = runner.select(runs, args.methods, args.seeds)
    folder = root / "tables" / table.name
    imports = [*table.imports, *args.imports]
    machine = runner.Runner(root, folder, _show, args.gpus, args.jobs, args.nproc, imports)
    if args.dry_run:
        machine.refuse_changed(wanted)
        for one in wanted:
            for command in machine.missing(one):
                _show(" ".join(command))
        return 0
    try:
        machine.run_all(wanted)
    except runner.RunFailed as error:
        print(f"error: {error}", file=sys.stderr)
        return FAILED
    finished = [one for one in runs if machine.record_file(one).exists()]
    found = results.collect(finished, {one.name: read_json(machine.record_file(one)) for one in finished})
    out = args.out or folder
    results.save(found, out)
    write_report(table, found, out)
    tested = [one for one in finished if not machine.missing(one)]  # on all sets that the table has now
    draw_sheet(table, tested, root, out / "crops.png")
    print((out / "table.md").read_text("utf-8"))
    print(f"{len(finished)} of {len(runs)} runs; report: {out}")
    return 0


def _show(command: str) -> None:
    print(f"$ {command}", flush=True)


def _report(args: argparse.Namespace) -> int:
    from srkd_plugin.errors import MISSING, InputError
    from srkd_plugin.tables import plan, results
    from srkd_plugin.tables.report import write_report

    table = plan.read_table(args.table)
    if args.out is None and len(args.results) > 1:
        raise InputError(
            "--out", MISSING, "results of several folders are not written into one of them", "Name a folder."
        )
    out = args.out or args.results[0]
    found = results.merged({str(folder): results.load(folder) for folder in args.results}, table)
    if out not in args.results:
        results.save(found, out)
    write_report(table, found, out)
    print((out / "table.md").read_text("utf-8"))
    return 0
