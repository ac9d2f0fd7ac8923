"""``srkd table``: trains and compares methods x seeds, as a table's YAML file says."""

from __future__ import annotations

import argparse
import contextlib
import io
import shlex
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from srkd_plugin.cli.exit_codes import FAILED
from srkd_plugin.cli.imports import add_import_flag, import_given
from srkd_plugin.cli.parser import Parser, add_command, add_commands, gpu_ids, positive_int

if TYPE_CHECKING:
    from srkd_plugin.tables.plan import Run
    from srkd_plugin.tables.runner import Runner
    from srkd_plugin.tables.table_sections import Table

RUN_HELP = """\
Train and test every run of a table that is missing, then make the report. Run it where basicsr/ and datasets/ are.

The options of every row are checked first, as srkd check does, and nothing is started if one of them is wrong.
Each run is an ordinary BasicSR command, which is printed. The same command continues an interrupted table: what is done
is skipped, what was interrupted is resumed.

With --submit slurm each run, and each teacher cache, is a job of a cluster (docs/slurm.md). The command waits for the
jobs. It may be ended and started again: a job that is in the queue is not submitted twice.
"""
RUN_EXAMPLES = """\
srkd table run options/tables/cpu.yml --jobs 2
# one row
srkd table run options/tables/cpu.yml --methods fakd --seeds 0
# on a cluster; the table's section slurm says what each job asks for
srkd table run options/tables/paper.yml --submit slurm
# what would be run
srkd table run options/tables/cpu.yml --dry-run
"""
REPORT_HELP = """\
Make the report of a table; nothing is run. It is made from stored results (--results), or, where the table is run, from
what has been finished so far: also while it is trained.
"""
REPORT_EXAMPLES = """\
srkd table report options/tables/cpu.yml --results docs/results/cpu
# of runs that were made on two machines
srkd table report options/tables/cpu.yml --results A B --out C
# a page for the browser, of a table that may still be training
srkd table report options/tables/cpu.yml --html report.html
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
    run.add_argument(
        "--gpus", nargs="+", type=gpu_ids, default=[], metavar="ID", help="GPUs to share out, one run each"
    )
    run.add_argument(
        "--nproc", type=positive_int, default=1, metavar="N", help="processes per training, through torchrun"
    )
    run.add_argument(
        "--submit", choices=("slurm",), help="make each run a job with the resources of the table's section slurm"
    )
    run.add_argument("--dry-run", action="store_true", help="print the commands of what is missing; nothing is checked")
    run.add_argument("--out", type=Path, metavar="DIR", help="folder of the report (default: tables/<name>)")
    add_import_flag(run)
    report = add_command(
        commands, "report", _report, "make the report from stored results", REPORT_HELP, REPORT_EXAMPLES
    )
    report.add_argument("table", type=Path, help="the table's YAML file")
    folders: dict[str, Any] = {"type": Path, "nargs": "+", "metavar": "DIR"}
    results = "folders with images.csv and the others; what is in two must agree (default: what tables/<name> has)"
    report.add_argument("--results", default=[], help=results, **folders)
    report.add_argument("--out", type=Path, metavar="DIR", help="folder of the report (default: that of the results)")
    report.add_argument(
        "--html", type=Path, metavar="FILE", help="also write a page with all figures (needs the extra report)"
    )


def _run(args: argparse.Namespace) -> int:
    from srkd_plugin.tables import jobs, plan, results, run_selection, runner, slurm
    from srkd_plugin.tables.plots import draw_sheet
    from srkd_plugin.tables.report import write_report
    from srkd_plugin.utils.figures import can_draw

    root = Path.cwd()
    table = plan.read_table(args.table)
    runs = plan.plan_runs(table, args.table)
    wanted = run_selection.select(runs, args.methods, args.seeds)
    folder = root / "tables" / table.name
    imports = [*table.imports, *args.imports]
    machine = runner.Runner(root, folder, _show, args.gpus, args.jobs, args.nproc, imports)
    if args.dry_run:
        machine.refuse_changed(wanted)
        for job in jobs.jobs_of(wanted, machine):
            for command in job.commands(machine):
                _show(shlex.join(command))
        return 0
    if args.submit:
        _require_slurm(args, table)
    _check(machine, wanted, table)
    try:
        if args.submit:
            slurm.run_in_jobs(machine, wanted, table)
        else:
            _run_all(machine, wanted, table.name)
    except runner.RunFailed as error:
        print(f"error: {error}", file=sys.stderr)
        return FAILED
    finished, found = results.of_finished(runs, machine.record_file)
    out = args.out or folder
    results.save(found, out)
    write_report(table, found, out)
    tested = [one for one in finished if not machine.missing(one)]  # on all sets that the table has now
    if can_draw():
        draw_sheet(table, tested, root, out / "crops.png")
    print((out / "table.md").read_text("utf-8"))
    print(f"{len(finished)} of {len(runs)} runs; report: {out}")
    return 0


def _require_slurm(args: argparse.Namespace, table: Table) -> None:
    """Check that the table's jobs can be submitted; what only a machine of one's own shares out is refused."""
    from srkd_plugin.errors import InputError
    from srkd_plugin.tables.slurm import require_slurm

    for flag, given in (("--gpus", args.gpus), ("--jobs", args.jobs if args.jobs > 1 else None)):
        if given:
            raise InputError(flag, given, "SLURM shares out its machines itself", "Leave it out.")
    require_slurm(table)


def _check(machine: Runner, wanted: Sequence[Run], table: Table) -> None:
    """Refuse what ``srkd check`` would refuse of any row, before the first is started; print its warnings."""
    import_given(machine.imports)  # first: it lets BasicSR be imported
    from srkd_plugin.basicsr_patches.parse_options import parse_content
    from srkd_plugin.preflight.table_rows import check_rows

    def parse(options: Mapping[str, Any]) -> dict[str, Any]:
        opt = parse_content(options, machine.root)
        if machine.gpus and options.get("num_gpu") == "auto":
            opt["num_gpu"] = machine.gpus[0].count(",") + 1  # a run sees no others
        if machine.processes > 1:
            opt.update(dist=True, world_size=machine.processes)
        return opt

    machine.refuse_changed(wanted)
    open_runs = [run for run in wanted if not machine.record_file(run).exists()]
    to_test = [run for run in wanted if run not in open_runs and machine.missing(run)]
    for run in open_runs:
        _check_cache_flags(run, table)
    for line in check_rows(open_runs, to_test, machine.root, parse):
        print(f"warning: {line}", file=sys.stderr)


def _check_cache_flags(run: Run, table: Table) -> None:
    """Refuse flags that ``srkd cache make`` does not know."""
    from srkd_plugin.cli.cache import add_arguments
    from srkd_plugin.errors import InputError

    parser, said = Parser(prog="srkd cache"), io.StringIO()
    add_arguments(parser)
    try:
        with contextlib.redirect_stdout(said), contextlib.redirect_stderr(said):
            parser.parse_args(["make", "-opt", "file", "--out", "cache", *run.cache_flags])
    except SystemExit:
        problem = " ".join(said.getvalue().split("; see")[0].removeprefix("error: ").split())
        remedy = "See srkd cache make --help."
        raise InputError(f"caches.{table.methods[run.method].cache}", list(run.cache_flags), problem, remedy) from None


def _run_all(machine: Runner, wanted: Sequence[Run], name: str) -> None:
    """Carry out the runs; at a terminal it is shown what they do."""
    from srkd_plugin.tables.overview import Overview
    from srkd_plugin.utils.terminal import shows_progress

    if not shows_progress():
        machine.run_all(wanted)
        return
    done = sum(not machine.missing(run) for run in wanted)
    with Overview(name, len(wanted), done) as overview:
        machine.show, machine.tell = overview.show, overview.tell
        machine.run_all(wanted)


def _show(command: str) -> None:
    print(f"$ {command}", flush=True)


def _report(args: argparse.Namespace) -> int:
    from srkd_plugin.errors import MISSING, InputError
    from srkd_plugin.tables import plan, results
    from srkd_plugin.tables.report import write_report

    if args.html is not None:
        from srkd_plugin.report.render import require_page

        require_page(args.html)
    table = plan.read_table(args.table)
    if len(args.results) > 1 and (args.out is None or args.out.resolve() in [one.resolve() for one in args.results]):
        raise InputError(
            "--out",
            args.out or MISSING,
            "results of several folders are not written into one of them",
            "Name a folder.",
        )
    machine = None if args.results else _machine_of(table)
    out = args.out or (machine.folder if machine else args.results[0])
    if machine:
        runs = plan.plan_runs(table, args.table)
        finished, found = results.of_finished(runs, machine.record_file)
    else:
        found = results.merged({str(folder): results.load(folder) for folder in args.results}, table)
    if out not in args.results:
        results.save(found, out)
    write_report(table, found, out)
    print((out / "table.md").read_text("utf-8"))
    if machine:
        print(f"{len(finished)} of {len(runs)} runs; report: {out}")
    if args.html is not None:
        from srkd_plugin.report.render import written_page
        from srkd_plugin.report.source import Source
        from srkd_plugin.report.table_page import write_table_page

        size = write_table_page(Source(args.table, table, found, args.results, machine), args.html)
        print(written_page(args.html, size))
    return 0


def _machine_of(table: Table) -> Runner:
    """What has carried out a table in the working directory, as far as it is."""
    from srkd_plugin.errors import MISSING, InputError
    from srkd_plugin.tables.runner import Runner

    machine = Runner(Path.cwd(), Path.cwd() / "tables" / table.name, _show, imports=table.imports)
    if not machine.folder.is_dir():
        problem = f"and there is no tables/{table.name} in the working directory either"
        raise InputError("--results", MISSING, problem, "Give folders of stored results, or go where the table is run.")
    return machine
