#!/usr/bin/env python
"""Train and compare methods x seeds, as a table's YAML file says. Run it where basicsr/ and datasets/ are.

  run_table.py run options/tables/cpu.yml             every run that is missing, then the report
  run_table.py run options/tables/cpu.yml --methods fakd --seeds 0            one row
  run_table.py report options/tables/cpu.yml --results docs/results/cpu       the report from stored results alone
  run_table.py report options/tables/cpu.yml --results A B --out C            ... of runs made on two machines

Each run is an ordinary basicsr/train.py and basicsr/test.py command, which is printed. The same command continues an
interrupted table: what is done is skipped, what was interrupted is resumed.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from srkd_plugin.cli.exit_codes import positive_int, run_command
from srkd_plugin.errors import MISSING, InputError


def main() -> int:
    """Parse the command line and run or report."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(dest="command", required=True)
    training = commands.add_parser("run", help="train, test and report")
    training.add_argument("table", type=Path, help="the table's YAML file")
    training.add_argument("--methods", nargs="+", metavar="NAME", help="these rows only")
    training.add_argument("--seeds", nargs="+", type=int, metavar="N", help="these seeds only")
    training.add_argument("--jobs", type=positive_int, default=1, help="runs at a time (default: 1)")
    training.add_argument("--gpus", nargs="+", default=[], metavar="ID", help="GPUs to share out, one run each")
    training.add_argument("--nproc", type=positive_int, default=1, help="processes a training, through torchrun")
    training.add_argument("--dry_run", action="store_true", help="print the commands of what is missing")
    training.add_argument("--out", type=Path, help="folder of the report (default: tables/<name>)")
    reporting = commands.add_parser("report", help="make the report from stored results")
    reporting.add_argument("table", type=Path, help="the table's YAML file")
    reporting.add_argument(
        "--results",
        type=Path,
        nargs="+",
        required=True,
        help="folders with images.csv and the others; what is in two of them must agree",
    )
    reporting.add_argument("--out", type=Path, help="folder of the report (default: that of the results)")
    args = parser.parse_args()
    return run_command(lambda: _run(args) if args.command == "run" else _report(args))


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
    show = lambda command: print(f"$ {command}", flush=True)  # noqa: E731
    machine = runner.Runner(root, folder, Path(__file__).parent, show, args.gpus, args.jobs, args.nproc)
    if args.dry_run:
        machine.refuse_changed(wanted)
        for one in wanted:
            for command in machine.missing(one):
                show(" ".join(command))
        return 0
    try:
        machine.run_all(wanted)
    except runner.RunFailed as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
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


def _report(args: argparse.Namespace) -> int:
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


if __name__ == "__main__":
    sys.exit(main())
