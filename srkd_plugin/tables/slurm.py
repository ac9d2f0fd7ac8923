"""A table's jobs on SLURM: each is submitted once, waited for, and found again by a later call.

What is done is seen on the disk, and what is queued or running by asking ``squeue``. A job's name tells of which table
and what it is, so that a job is found even if the process that submitted it was killed before it had noted the job's
number. The numbers are noted in the table's folder, ``jobs/``, where the jobs' logs are too.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Optional

from srkd_plugin.errors import MISSING, InputError, printable
from srkd_plugin.tables.jobs import Job, carry_out, jobs_of
from srkd_plugin.tables.plan import Run
from srkd_plugin.tables.runner import RunFailed, Runner
from srkd_plugin.tables.table_sections import SlurmSection, Table
from srkd_plugin.utils.extras import require
from srkd_plugin.utils.files import read_json, write_json
from srkd_plugin.utils.owner import owned

OPTION, SLURM = "--submit", "slurm"
PROGRAMS = ("sbatch", "squeue", "scancel", "srun")
SHORTEST, LONGEST = 1.0, 30.0
"""Seconds between two looks at the queue: at first, and after a while."""
TRIES = 5
"""How often ``squeue`` is asked before it counts as out of order; busy controllers refuse now and then."""
BEFORE_THE_END = 60
"""Seconds before the time limit at which a training is asked to save and end."""
NOTED = ("id", "options_sha256")
"""What is noted of a job that was submitted: its number, and of which options it is."""
NEVER = "DependencyNeverSatisfied"
"""Reason that ``squeue`` gives for a job that waits for one that has failed."""


def require_slurm(table: Table) -> None:
    """Check that jobs of a table can be submitted here.

    Raises:
        InputError: The table does not say that, submitit is not installed, or there is no SLURM.
    """
    if table.slurm is None:
        remedy = "Add e.g. slurm: {timeout_min: 600, cpus_per_task: 4, gpus_per_node: 1}."
        raise InputError(SLURM, MISSING, "the table does not say what its jobs ask SLURM for", remedy)
    require("submitit", "slurm", f"{OPTION} {SLURM}")
    for program in PROGRAMS:
        if shutil.which(program) is None:
            remedy = f"Start it where SLURM's commands are, or leave {OPTION} out."
            raise InputError(OPTION, SLURM, f"{program} is not on the PATH", remedy)


def run_in_jobs(machine: Runner, runs: Sequence[Run], table: Table) -> None:
    """Carry out runs as jobs, and wait for them.

    This process may be killed at any time and started again: what is done is not submitted again, and what is queued or
    running is waited for.

    Raises:
        InputError: A finished run, or one in the queue, was made with other options than the table has now; another
            process carries out this table; SLURM refuses a job or does not answer.
        RunFailed: Jobs ended without what they should leave; the next call submits them again.
    """
    machine.refuse_changed(runs)
    with owned("table", machine.folder):
        queue = Queue(machine, table)
        waiting = _submit(queue, runs)
        try:
            _wait(queue, waiting)
        except KeyboardInterrupt:
            _say("the jobs go on; the same command waits for them, scancel ends them")
            raise


class Queue:
    """SLURM's queue, as far as it has jobs of a table.

    Args:
        machine: What carries out a run, in the job.
        table: What says what each job asks for.
    """

    def __init__(self, machine: Runner, table: Table) -> None:
        self.machine, self._table = machine, table
        self.folder = machine.folder / "jobs"
        self._prefix = "srkd-" + hashlib.sha256(os.path.realpath(machine.folder).encode()).hexdigest()[:8]

    def active(self) -> dict[str, str]:
        """Number of the job that is queued or running, by :meth:`slurm_name`.

        Jobs that wait for one that has failed would never start: they are cancelled here, and are not among them.

        Raises:
            InputError: ``squeue`` does not answer.
        """
        found = {}
        for line in _ask("squeue", "--noheader", f"--user={os.getuid()}", "--format=%i|%T|%r|%j").splitlines():
            number, state, reason, name = line.strip().split("|", 3)
            if not name.startswith(self._prefix):
                continue
            if state == "PENDING" and reason == NEVER:
                subprocess.run(["scancel", number], check=False, stderr=subprocess.DEVNULL)
            else:
                found[name] = number
        return found

    def slurm_name(self, job: Job) -> str:
        """What a job is called in the queue."""
        return f"{self._prefix}-{job.file_name}"

    def noted(self, job: Job) -> Optional[dict[str, str]]:
        """Number and options of the job that was submitted last.

        Raises:
            InputError: The file is damaged.
        """
        file = self._note(job)
        if not file.exists():
            return None
        found = read_json(file)
        if not isinstance(found, dict) or not all(isinstance(found.get(key), str) for key in NOTED):
            remedy = "Remove it and rerun: a job in the queue is found by its name."
            raise InputError("file", str(file), "it does not say which job was submitted", remedy)
        return found

    def _note(self, job: Job) -> Path:
        return self.folder / f"{job.file_name}.json"

    def log_file(self, number: str) -> Path:
        """What a job has printed."""
        return self.folder / f"{number}_0_log.out"

    def submit(self, job: Job, after: Sequence[str]) -> str:
        """Submit a job.

        Args:
            job: The job.
            after: Numbers of the jobs that it comes after.

        Returns:
            Its number.

        Raises:
            InputError: SLURM refuses it.
        """
        import submitit

        machine = self.machine
        executor = submitit.SlurmExecutor(folder=self.folder)
        executor.update_parameters(
            job_name=self.slurm_name(job), **parameters(self._table.slurm_of(job.run.method), after)
        )
        where = str(machine.root), str(machine.folder)
        try:
            number = executor.submit(carry_out, *where, machine.processes, list(machine.imports), job).job_id
        except submitit.core.utils.FailedJobError as error:
            said = printable(_last_line(str(error).splitlines()))
            raise InputError(OPTION, SLURM, f"sbatch refuses {job.name}: {said}", "See the table's slurm.") from error
        write_json(self._note(job), dict(zip(NOTED, (number, job.options_sha256))))
        return number


def parameters(wanted: SlurmSection, after: Sequence[str]) -> dict[str, Any]:
    """What submitit's executor is told.

    Args:
        wanted: What the job asks for.
        after: Numbers of the jobs that it comes after.
    """
    found = {
        "partition": wanted.partition,
        "time": wanted.timeout_min,
        "cpus_per_task": wanted.cpus_per_task,
        "mem": None if wanted.mem_gb is None else f"{max(1, round(wanted.mem_gb * 1024))}MB",
        "gpus_per_node": wanted.gpus_per_node or None,
        "account": wanted.account,
        "qos": wanted.qos,
        "constraint": wanted.constraint,
        "setup": wanted.setup or None,
        "dependency": f"afterok:{':'.join(after)}" if after else None,
        "stderr_to_stdout": True,
        "srun_args": [f"--cpus-per-task={wanted.cpus_per_task}"],  # since SLURM 22.05 srun has to be told
        # submitit's own signal would end a training that does not know it; this one lets it save
        "additional_parameters": {"kill-on-invalid-dep": "yes", "signal": f"TERM@{BEFORE_THE_END}"},
    }
    return {key: value for key, value in found.items() if value is not None}


def _submit(queue: Queue, runs: Sequence[Run]) -> dict[str, Job]:
    """Submit what is neither done nor in the queue; all that is to be waited for, by number."""
    active = queue.active()  # asked first: a job that ends between this and the next line is done there
    jobs = {job.name: job for job in jobs_of(runs, queue.machine)}
    for job in jobs.values():
        _refuse_changed(queue, job, active)
    numbers: dict[str, str] = {}
    for job in jobs.values():
        name, noted = queue.slurm_name(job), queue.noted(job)
        if name in active:
            _say(f"job {active[name]}: {job.name} (in the queue already)")
        else:
            if noted is not None and noted["options_sha256"] == job.options_sha256:
                _say(f"job {noted['id']}: {job.name} failed: {_why(queue, noted['id'])}")
            after = [numbers[other] for other in job.after if not jobs[other].is_done(queue.machine)]
            active[name] = queue.submit(job, after)
            _say(f"job {active[name]}: {job.name}{(after and ' after ' + ', '.join(after)) or ''}")
        numbers[job.name] = active[name]
    return {numbers[job.name]: job for job in jobs.values()}


def _refuse_changed(queue: Queue, job: Job, active: dict[str, str]) -> None:
    noted, number = queue.noted(job), active.get(queue.slurm_name(job))
    if noted is None or noted["id"] != number or noted["options_sha256"] == job.options_sha256:
        return
    problem = f"job {number} is in the queue with other options than the table has now"
    raise InputError("run", job.name, problem, f"Wait for it with the earlier table, or end it: scancel {number}.")


def _wait(queue: Queue, waiting: dict[str, Job], sleep: Callable[[float], None] = time.sleep) -> None:
    """Wait until no job is in the queue.

    Args:
        queue: The queue.
        waiting: The jobs by number; emptied.
        sleep: Lets seconds pass.

    Raises:
        RunFailed: Some have not left what they should.
    """
    failed: list[str] = []
    unseen: set[str] = set()
    pause = SHORTEST
    while waiting:
        active = queue.active().values()
        for number, job in list(waiting.items()):
            if job.is_done(queue.machine):
                del waiting[number]
            elif number in active:
                unseen.discard(number)
            elif number not in unseen:
                unseen.add(number)  # a shared file system may show its result a moment later
            else:
                failed.append(f"job {number}: {job.name}: {_why(queue, number)}")
                del waiting[number]
        if waiting:
            sleep(pause)
            pause = min(pause * 1.2, LONGEST)
    if failed:
        lines = "\n".join(failed)
        raise RunFailed(f"{len(failed)} jobs have failed; the same command submits them again\n{lines}")


def _say(line: str) -> None:
    print(line, flush=True)


def _why(queue: Queue, number: str) -> str:
    """The last line of a job's log; what ``srun`` adds, that the job has ended, is not taken for one."""
    log = queue.log_file(number)
    if not log.exists():
        return "it has not started: it was cancelled, or one that it comes after has failed"
    lines = log.read_text("utf-8", errors="replace").splitlines()
    return f"{printable(_last_line([line for line in lines if not line.startswith('srun: ')]))} ({log})"


def _last_line(lines: Sequence[str]) -> str:
    return next((line.strip() for line in reversed(lines) if line.strip()), "it has printed nothing")


def _ask(*command: str) -> str:
    """What a command prints.

    Raises:
        InputError: It fails again and again.
    """
    for attempt in range(TRIES):
        if attempt:
            time.sleep(SHORTEST * attempt)
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode == 0:
            return done.stdout
    remedy = "Jobs in the queue go on; run the same command again when SLURM answers."
    raise InputError(OPTION, SLURM, f"{command[0]} fails: {printable(_last_line(done.stderr.splitlines()))}", remedy)
