#!/usr/bin/env python
"""A mutation campaign: shipped options files and table files are mutated, and the check must bear it.

Every mutant goes through ``srkd check`` (a table through ``srkd table run``, whose first run is not started). It is
accepted, or refused in one line: no traceback, no hang, no file written. What is accepted trains one step and is
validated on one image; a test is tried on one image. The shipped files name data that is not there: tiny images,
networks and weights stand in.
"""

from __future__ import annotations

import argparse
import collections
import contextlib
import copy
import io
import os
import random
import signal
import socket
import sys
import tempfile
import traceback
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Callable, NamedTuple
from unittest import mock

import torch
import yaml

sys.path.insert(0, str(Path(__file__).resolve().parent))
from basicsr.data import build_dataset
from basicsr.models import build_model
from mutations import mutate
from stand_ins import StandIns

from srkd_plugin import registration  # noqa: F401  (first: it lets BasicSR be imported)
from srkd_plugin.basicsr_patches.parse_options import parse_content, parse_without_running
from srkd_plugin.cli.main import main as srkd
from srkd_plugin.preflight.networks import root_logger_untouched
from srkd_plugin.preflight.table_rows import without_what_is_made
from srkd_plugin.tables.plan import plan_runs, read_table, weights_of
from srkd_plugin.tables.runner import RunFailed, Runner

SHIPPED = Path(__file__).resolve().parent.parent / "options"
LIMIT = 20
"""Seconds of CPU time within which a mutant is accepted or refused, so that programs beside it do not count."""
REFUSED = "srkd_plugin: options error: "


class Verdict(NamedTuple):
    """What came of a mutant.

    Attributes:
        kind: ``refused``, ``accepted``, or a fault: ``traceback``, ``hang``, ``files``, ``no line``, ``step fails``.
        text: The last line that was said, or the traceback.
    """

    kind: str
    text: str

    @property
    def is_fault(self) -> bool:
        """Whether it may not be."""
        return self.kind not in ("refused", "accepted")


class Hang(BaseException):
    """Raised by the alarm; no ``except Exception`` of those that are tried takes it."""


def main(arguments: Any = None) -> int:
    """Run the campaign.

    Returns:
        0 if there was no fault, else 1.
    """
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--count", type=int, default=1000, help="mutants (default: %(default)s)")
    parser.add_argument("--seed", type=int, default=0, help="of the mutations (default: %(default)s)")
    parser.add_argument("--verbose", action="store_true", help="print what was accepted, too")
    args = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory(prefix="srkd_mutants_") as folder:
        verdicts = collections.Counter()
        for number, done, verdict in campaign(Path(folder), args.count, args.seed):
            verdicts[verdict.kind] += 1
            if verdict.is_fault or (args.verbose and verdict.kind == "accepted"):
                print(f"{number}: {verdict.kind}: {done}\n    {verdict.text}", flush=True)
    print(f"seed {args.seed}: " + ", ".join(f"{count} {kind}" for kind, count in sorted(verdicts.items())))
    return int(any(Verdict(kind, "").is_fault for kind in verdicts))


def campaign(folder: Path, count: int, seed: int) -> Iterator[tuple[int, str, Verdict]]:
    """Mutate, look, and take one step.

    Args:
        folder: An empty folder, for the stand-ins and the mutants.
        count: How many mutants, of all shipped files in turn.
        seed: Seed of the mutations: mutant i of a seed is the same in every campaign.

    Yields:
        The mutant's number, what was done to which file, and the verdict.
    """
    with _alone():
        stand_ins = StandIns(folder / "stand_ins")
        root, here = folder / "root", folder / "here"
        root.mkdir()
        here.mkdir()
        os.chdir(here)  # what is written into the working directory is seen, too
        files = sorted(SHIPPED.glob("*.yml")) + sorted((SHIPPED / "tables").glob("*.yml"))
        contents = {file: stand_ins.replace(file) for file in files}
        for file in files:  # tables name the options files of their rows
            _write(folder / "options" / file.relative_to(SHIPPED), yaml.safe_dump(contents[file]))
        for number in range(count):
            file = files[number % len(files)]
            mutant = mutate(contents[file], random.Random(f"{seed}/{number}"))
            path = folder / "options" / file.relative_to(SHIPPED).with_name("mutant.yml")
            _write(path, mutant.text)
            yield number, f"{file.name}: {mutant.done}", _verdict(path, root, folder, number)


def _write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, "utf-8")


def _verdict(path: Path, root: Path, folder: Path, number: int = 0) -> Verdict:
    before = _state(folder)
    try:
        verdict = _look_at_table(path, root, number) if path.parent.name == "tables" else _look(path, root)
    except Hang:
        verdict = Verdict("hang", f"after {LIMIT} s of CPU time")
    except Exception:  # what a user would see as a traceback
        verdict = Verdict("traceback", traceback.format_exc())
    written = [str(name) for name, state in _state(folder).items() if before.get(name) != state]
    return Verdict("files", ", ".join(written)) if written else verdict


def _look(path: Path, root: Path) -> Verdict:
    code, out, err = _command(["check", "-opt", str(path), "--root", str(root)])
    if code == 2:
        return _refusal(err, REFUSED)
    return _used(lambda: parse_without_running(path, root, "train" in yaml.safe_load(path.read_text("utf-8"))), out)


def _look_at_table(path: Path, root: Path, number: int) -> Verdict:
    """Start a table whose first run is not started; of one that is accepted, take a step of one row."""
    os.chdir(root)
    with mock.patch.object(Runner, "run_all", side_effect=RunFailed("it would be started")):
        code, out, err = _command(["table", "run", str(path)])
    if code == 2:
        return _refusal(err, "error: ")
    runs = plan_runs(read_table(path), path)
    made = [weights_of(run.train)[0] for run in runs if run.train is not None]
    run = runs[number % len(runs)]
    options = without_what_is_made(run.test if run.train is None else run.train, made, root)
    if run.cache is not None:
        options["datasets"]["train"]["type"] = "PairedImageDataset"  # the table would have made the cache
        del options["datasets"]["train"]["dataroot_teacher"]
    return _used(lambda: parse_content(options, root), out)


def _command(arguments: list[str]) -> tuple[int, str, str]:
    out, err = io.StringIO(), io.StringIO()
    with _within(LIMIT), contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        code = srkd(arguments)
    return code, out.getvalue(), err.getvalue()


def _refusal(err: str, start: str) -> Verdict:
    lines = [line for line in err.splitlines() if line]
    return Verdict("refused" if len(lines) == 1 and lines[0].startswith(start) else "no line", err)


def _used(parse: Callable[[], dict[str, Any]], said: str) -> Verdict:
    try:
        with _within(LIMIT), contextlib.redirect_stdout(None), contextlib.redirect_stderr(io.StringIO()):
            _use(parse())
    except FloatingPointError as error:  # it says so itself in a run
        return Verdict("accepted", f"step: {error}")
    except Exception:
        return Verdict("step fails", traceback.format_exc())
    return Verdict("accepted", said)


def _use(opt: dict[str, Any]) -> None:
    """Build model and data sets as BasicSR does, take one training step, and validate or test one image of each set."""
    is_train = opt["is_train"]
    with root_logger_untouched(), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        sets = {phase: build_dataset(copy.deepcopy(section)) for phase, section in opt["datasets"].items()}
        model = build_model(opt)
        if is_train:
            size = min(opt["datasets"]["train"]["batch_size_per_gpu"], 4)
            train_set = sets.pop("train")
            model.feed_data(torch.utils.data.default_collate([train_set[i % len(train_set)] for i in range(size)]))
            model.optimize_parameters(1)
            model.update_learning_rate(2, warmup_iter=opt["train"].get("warmup_iter", -1))
        for test_set in sets.values() if opt.get("val") is not None else ():
            model.validation(torch.utils.data.DataLoader(test_set, sampler=[0]), 1, None, save_img=False)


def _state(folder: Path) -> dict[Path, tuple[int, int]]:
    """Size and time of every file that is there; a cache that is read changes its lock file."""
    found = {path: path.stat() for path in folder.rglob("*") if path.name != "lock.mdb"}
    return {
        path: (stat.st_size if path.is_file() else 0, path.is_file() * stat.st_mtime_ns) for path, stat in found.items()
    }


@contextlib.contextmanager
def _within(seconds: int) -> Iterator[None]:
    """Raise :class:`Hang` after this many seconds of CPU time, or of ten times as much waiting, e.g. for a lock."""

    def end(*_: Any) -> None:
        raise Hang

    timers = ((signal.ITIMER_PROF, signal.SIGPROF, seconds), (signal.ITIMER_REAL, signal.SIGALRM, 10 * seconds))
    before = [signal.signal(number, end) for _, number, _ in timers]
    for timer, _, limit in timers:
        signal.setitimer(timer, limit)
    try:
        yield
    finally:
        for (timer, number, _), handler in zip(timers, before):
            signal.setitimer(timer, 0)
            signal.signal(number, handler)


@contextlib.contextmanager
def _alone() -> Iterator[None]:
    """Cut off the network; give it back, and the working directory, afterwards."""

    def refuse(*_: Any) -> None:
        raise OSError("there is no network in the campaign")

    connect, here = socket.socket.connect, os.getcwd()
    socket.socket.connect = refuse  # type: ignore[method-assign, assignment]  # for downloads of weights
    try:
        yield
    finally:
        socket.socket.connect = connect  # type: ignore[method-assign]
        os.chdir(here)


if __name__ == "__main__":
    sys.exit(main())
