"""Carries out a table's runs: each an ordinary BasicSR command, resumed if it was interrupted, skipped if done."""

from __future__ import annotations

import os
import queue
import shlex
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, Callable

import yaml

from srkd_plugin.errors import InputError
from srkd_plugin.tables.overview import DONE, ENDED, FAILED, TRAINS
from srkd_plugin.tables.plan import Run, in_order
from srkd_plugin.tables.side_by_side import for_each
from srkd_plugin.teacher_cache.info import ZOOM_FLAGS
from srkd_plugin.training.stop_signals import sigterm_as_interrupt
from srkd_plugin.utils.files import read_json, write_atomically, write_json
from srkd_plugin.utils.owner import owned
from srkd_plugin.utils.user_modules import FLAG

TORCHRUN = ("-m", "torch.distributed.run", "--rdzv_backend=c10d", "--rdzv_endpoint=localhost:0")
"""torchrun at a free port; ``--standalone`` of torch 2.0 always takes the same one, so that two would collide."""

CACHE_MAKE = ("-m", "srkd_plugin", "cache", "make")


class RunFailed(RuntimeError):
    """A training or a test ended with an error."""


@dataclass
class Runner:
    """Runs BasicSR in a folder.

    Args:
        root: The working directory: a BasicSR checkout, or any folder, where BasicSR is used as installed.
        folder: Where options, logs and records of the table go.
        show: Called with every command before it starts.
        gpus: GPUs to share out, one run each; none: every run sees what the environment shows.
        jobs: Runs at a time.
        processes: Processes a training; more than 1: through torchrun.
        imports: Modules that register what the options name. BasicSR's own scripts import none, so that with them
            ``srkd train`` and ``srkd test`` are run instead, in the same folder.
        tell: Called with a run, what it does now, and the log of that; see
            :class:`~srkd_plugin.tables.overview.Overview`.
    """

    root: Path
    folder: Path
    show: Callable[[str], None] = print
    gpus: Sequence[str] = ()
    jobs: int = 1
    processes: int = 1
    imports: Sequence[str] = ()
    tell: Callable[[Run, str, Path], None] = lambda run, state, log: None
    _free: queue.Queue = field(default_factory=queue.Queue, init=False)
    _children: list[subprocess.Popen] = field(default_factory=list, init=False)
    _last_log: dict[str, Path] = field(default_factory=dict, init=False)
    _stopped: bool = field(default=False, init=False)
    _caches: threading.Lock = field(default_factory=threading.Lock, init=False)
    """Held while a teacher cache is looked for and made."""

    def __post_init__(self) -> None:
        """Lay out what the runs share."""
        for gpu in self.gpus or [""] * self.jobs:
            self._free.put(gpu)

    def run_all(self, runs: Sequence[Run]) -> None:
        """Carry out the runs: the teacher's and those that wait for none first, then the others.

        Raises:
            InputError: A finished run was made with other options than the table has now, or another process carries
                out this table; nothing has been started.
            RunFailed: A run failed; those beside it have been ended, and can be resumed.
        """
        self.refuse_changed(runs)
        with owned("table", self.folder), sigterm_as_interrupt():
            self._run_all(runs)

    def _run_all(self, runs: Sequence[Run]) -> None:
        under_way: dict[str, Future[None]] = {}
        with ThreadPoolExecutor(max(self._free.qsize(), 1)) as pool:
            try:
                # a run is submitted after those that it waits for, so that they never wait for a thread that it has
                for run in in_order(runs):
                    before = [under_way[name] for name in run.after if name in under_way]
                    under_way[run.name] = pool.submit(self._carry_out_after, before, run)
                for done in under_way.values():
                    done.result()
            except BaseException:
                self._stopped = True
                for child in self._children:
                    child.terminate()
                raise

    def _carry_out_after(self, before: Sequence[Future[None]], run: Run) -> None:
        for done in before:
            done.result()
        self._last_log[run.name] = self.log_file(run, "train")
        try:
            if self.missing(run) and not self._stopped:
                self._make_caches(run)
            self.carry_out(run)
        except BaseException:
            self.tell(run, ENDED if self._stopped else FAILED, self._last_log[run.name])
            raise

    def _make_caches(self, run: Run) -> None:
        """Make what is missing of a run's caches and shards, as many at a time as runs."""
        with self._caches:
            missing = [cache for cache in run.caches if not self.has_cache(run, cache)]
            if missing:
                self._write_options(run)  # once: threads must not write one file at the same time
            failed = for_each(missing, partial(self._make_cache, run), len(self.gpus) or self.jobs)
        for cache, error in failed.items():
            self._last_log[run.name] = self._cache_log(cache)
            raise error

    def _doing(self, run: Run, what: str, log: Path) -> None:
        self._last_log[run.name] = log
        self.tell(run, what, log)

    def record_file(self, run: Run) -> Path:
        """Where the record of a finished run is: what :func:`srkd_plugin.tables.results.measure` found."""
        return self.folder / "records" / f"{run.name}.json"

    def log_file(self, run: Run, step: str) -> Path:
        """What the ``train`` or the ``test`` command printed, every time that it was started."""
        return self.folder / "logs" / f"{run.name}_{step}.txt"

    def commands(self, run: Run) -> list[list[str]]:
        """The training's and the test's command, relative to the root."""
        train = self._script("train", self._options_file(run.name), "--auto_resume")
        if self.processes > 1:
            train = [*TORCHRUN, f"--nproc_per_node={self.processes}", *train, "--launcher", "pytorch"]
        test = self._script("test", self._options_file(run.test["name"]))
        return [["python", *train], ["python", *test]] if run.train is not None else [["python", *test]]

    def missing(self, run: Run) -> list[list[str]]:
        """The commands that have not been carried out: after the table's ``sets`` have changed, the test alone."""
        if not self.record_file(run).exists():
            return self.commands(run)
        return [] if self._recorded(run)["test"] == run.test else self.commands(run)[-1:]

    def make_cache(self, run: Run, cache: str) -> None:
        """Make one of a run's ``caches``, from the run's options, if it is not there.

        Raises:
            RunFailed: The command failed; what is done of the cache is kept.
        """
        if not self.has_cache(run, cache):
            self._write_options(run)
            self._make_cache(run, cache)

    def has_cache(self, run: Run, cache: str) -> bool:
        """Whether one of a run's ``caches`` is there, with all that its flags ask for."""
        asked = [kind for kind, flag in ZOOM_FLAGS.items() if flag in run.cache_flags]
        return all((self.root / cache / inside).exists() for inside in ("", *asked))

    def cache_command(self, run: Run, cache: str) -> list[str]:
        """The command that makes one of a run's ``caches``, relative to the root."""
        options = os.path.relpath(self._options_file(run.name), self.root)
        command = ["python", *CACHE_MAKE, "-opt", options, "--out", cache, *run.caches[cache], *self._import_flags()]
        return [*command, *run.cache_flags]

    def _make_cache(self, run: Run, cache: str) -> None:
        log, gpu = self._cache_log(cache), self._free.get()
        try:
            self._doing(run, f"makes {cache}", log)
            self._call(self.cache_command(run, cache), log, gpu)
        finally:
            self._free.put(gpu)

    def _cache_log(self, cache: str) -> Path:
        return self.folder / "logs" / f"{Path(cache).stem}.txt"

    def _write_options(self, run: Run) -> None:
        for options in (run.train, run.test):
            if options is not None:
                text = yaml.safe_dump(options, sort_keys=False)
                write_atomically(self._options_file(options["name"]), text.encode())

    def _script(self, name: str, options: Path, *flags: str) -> list[str]:
        checkout = (self.root / "basicsr" / f"{name}.py").is_file()
        script = [f"basicsr/{name}.py"] if checkout and not self.imports else ["-m", f"srkd_plugin.{name}"]
        return [*script, "-opt", os.path.relpath(options, self.root), *self._import_flags(), *flags]

    def _import_flags(self) -> list[str]:
        return [word for module in self.imports for word in (FLAG, module)]

    def _options_file(self, name: str) -> Path:
        return self.folder / "options" / f"{name}.yml"

    def _fingerprint(self, run: Run) -> dict[str, Any]:
        """What a finished run depends on: with another table it would be another run."""
        return {"train": run.train, "test": run.test}

    def _recorded(self, run: Run) -> dict[str, Any]:
        return read_json(self.record_file(run))["options"]

    def refuse_changed(self, runs: Sequence[Run]) -> None:
        """Refuse a table that has changed since runs of it were finished.

        Raises:
            InputError: A run was made with other options, or has to be tested again and its weights are gone.
        """
        for run in runs:
            self._refuse_changed(run)

    def _refuse_changed(self, run: Run) -> None:
        file, weights = self.record_file(run), run.test["path"]["pretrain_network_g"]
        if not file.exists():
            return
        if self._recorded(run)["train"] != run.train:
            problem = "it was made with other options than the table has now"
        elif self.missing(run) and not (self.root / weights).is_file():
            problem = f"it has to be tested again, as the table's sets have changed, and {weights} is not there"
        else:
            return
        remedy = f"Give the method another name; or, to run it again, remove {file} and experiments/{run.name}."
        raise InputError("run", run.name, problem, remedy)

    def carry_out(self, run: Run) -> None:
        """Train and test a run as far as it is not done; what it comes after has to be there.

        Raises:
            InputError: Another process carries it out, e.g. a job of SLURM's.
            RunFailed: A command failed.
        """
        if self._stopped or not self.missing(run):
            return
        gpu = self._free.get()
        try:
            with owned("run", self.record_file(run)):
                self._carry_out(run, gpu)
        finally:
            self._free.put(gpu)

    def _carry_out(self, run: Run, gpu: str) -> None:
        from srkd_plugin.tables.results import measure

        missing = self.missing(run)  # which another process may just have done
        if missing:
            train_log, test_log = (self.log_file(run, step) for step in ("train", "test"))
            self._write_options(run)
            *train, test = missing
            for command in train:
                self._doing(run, TRAINS, train_log)
                self._call(command, train_log, gpu)
            self._doing(run, "is tested", test_log)
            self._call(test, test_log, gpu)
            cache_logs = list(map(self._cache_log, run.caches))
            record = {"options": self._fingerprint(run), **measure(run, self.root, train_log, test_log, cache_logs)}
            write_json(self.record_file(run), record)
            self.tell(run, DONE, test_log)

    def _call(self, command: Sequence[str], log: Path, gpu: str) -> None:
        if self._stopped:
            raise RunFailed(f"{log.stem} was not started")
        self.show(f"CUDA_VISIBLE_DEVICES={gpu} {shlex.join(command)}" if gpu else shlex.join(command))
        environment = {**os.environ, "CUDA_VISIBLE_DEVICES": gpu} if gpu else dict(os.environ)
        started = time.monotonic()
        log.parent.mkdir(parents=True, exist_ok=True)
        with open(log, "a", encoding="utf-8") as output:
            child = subprocess.Popen(
                [sys.executable, *command[1:]], cwd=self.root, env=environment, stdout=output, stderr=subprocess.STDOUT
            )
            self._children.append(child)
            code, cpu = _wait(child)
            self._children.remove(child)
            took = f"{time.monotonic() - started:.2f} s, {cpu:.2f} s of CPU time"
            output.write(f"# {' '.join(command)}: exit code {code} after {took}\n")
        if code != 0:
            raise RunFailed(f"exit code {code} of: {' '.join(command)}\n{_tail(log)}")


def _wait(child: subprocess.Popen) -> tuple[int, float]:
    """The exit code of a process that ends, and the CPU seconds of it and of its children that it waited for."""
    if not hasattr(os, "wait4"):  # Windows
        return child.wait(), 0.0
    _, status, usage = os.wait4(child.pid, 0)
    child.returncode = os.waitstatus_to_exitcode(status)
    return child.returncode, usage.ru_utime + usage.ru_stime


def _tail(log: Path, lines: int = 6) -> str:
    return "\n".join(log.read_text("utf-8", errors="replace").splitlines()[-lines - 1 : -1])
