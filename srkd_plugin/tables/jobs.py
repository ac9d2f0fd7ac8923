"""A table's runs and teacher caches as jobs of a cluster: which there are, in which order, and what one does."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Optional

from srkd_plugin.errors import OptionsError
from srkd_plugin.tables.plan import Run, in_order
from srkd_plugin.tables.runner import RunFailed, Runner


@dataclass(frozen=True)
class Job:
    """A run, or a teacher cache, or a shard of one.

    Attributes:
        name: The run's name, or the cache's path.
        run: The run; of a cache, the first one that reads it.
        cache: The cache; None: the run.
        after: Names of the jobs that it comes after.
    """

    name: str
    run: Run
    cache: Optional[str] = None
    after: tuple[str, ...] = ()

    @property
    def file_name(self) -> str:
        """A name of its own for its files."""
        return f"run_{self.name}" if self.cache is None else f"cache_{Path(self.cache).stem}_{_short(self.cache)}"

    @property
    def options_sha256(self) -> str:
        """What it depends on: with others it would be another job."""
        run, train = self.run, self.run.train or {}
        of_teacher = [train.get(key) for key in ("network_t", "teachers")]
        of_teacher += [train.get("path", {}).get(key) for key in ("pretrain_network_t", "param_key_t")]
        content = [train, run.test] if self.cache is None else [*of_teacher, run.caches[self.cache], *run.cache_flags]
        return hashlib.sha256(json.dumps(content, sort_keys=True, default=str).encode()).hexdigest()

    def is_done(self, machine: Runner) -> bool:
        """Whether what it leaves is on the disk."""
        return not machine.missing(self.run) if self.cache is None else machine.has_cache(self.run, self.cache)

    def commands(self, machine: Runner) -> list[list[str]]:
        """The commands that it starts."""
        return machine.missing(self.run) if self.cache is None else [machine.cache_command(self.run, self.cache)]


def jobs_of(runs: Sequence[Run], machine: Runner) -> list[Job]:
    """The jobs that are not done, each behind those that it comes after.

    Args:
        runs: The runs.
        machine: What knows which of them are done.
    """
    left = in_order([run for run in runs if machine.missing(run)])
    jobs: dict[str, Job] = {}
    for run in left:
        for cache in run.caches:
            if cache not in jobs and not machine.has_cache(run, cache):
                readers = [set(other.after) for other in left if cache in other.caches]
                # what all its readers come after: the teacher's run, and not the row that one of them starts from
                jobs[cache] = Job(cache, run, cache, _open(set.intersection(*readers), jobs))
        jobs[run.name] = Job(run.name, run, None, _open({*run.after, *run.caches}, jobs))
    return list(jobs.values())


def _open(names: set[str], jobs: dict[str, Job]) -> tuple[str, ...]:
    return tuple(sorted(name for name in names if name in jobs))


def carry_out(root: str, folder: str, processes: int, imports: Sequence[str], job: Job) -> None:
    """Do what a job does; called in it.

    Args:
        root: The working directory of the runs.
        folder: The table's folder.
        processes: Processes a training.
        imports: Modules that register what the options name.
        job: The job.

    Raises:
        SystemExit: It failed; the log's last line says why.
    """
    machine = Runner(Path(root), Path(folder), _show, processes=processes, imports=imports)
    try:
        if job.cache is not None:
            machine.make_cache(job.run, job.cache)
        else:
            machine.carry_out(job.run)
    except (RunFailed, OptionsError) as error:
        print(f"error: {error}", flush=True)
        raise SystemExit(1) from error


def _show(command: str) -> None:
    print(f"$ {command}", flush=True)


def _short(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:8]
