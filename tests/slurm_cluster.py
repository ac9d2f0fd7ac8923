"""A SLURM of one node for tests: munged, slurmctld and slurmd in a folder of their own, at ports that are free.

Nothing is installed and nothing outside of the folder is written. Where SLURM is not installed, or its daemons cannot
run (as in some containers), :func:`start` raises :class:`NoSlurm` with the reason, for a visible skip.
"""

from __future__ import annotations

import ctypes
import os
import secrets
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Callable, Optional

import processes

PROGRAMS = ("munged", "slurmctld", "slurmd", "sbatch", "srun", "squeue", "scancel", "scontrol", "sinfo")
PATH = os.pathsep.join([os.environ.get("PATH", ""), "/usr/sbin", "/sbin"])
"""Debian has the daemons in /usr/sbin, which is not on every user's PATH."""
PATIENCE = 60.0
"""Seconds until the daemons have to be ready, or gone."""
PR_SET_PDEATHSIG = 1
CONFIGURATION = """\
ClusterName=tests
SlurmctldHost={host}(127.0.0.1)
SlurmUser={user}
SlurmdUser={user}
SlurmctldPort={ctld_port}
SlurmdPort={slurmd_port}
AuthType=auth/munge
AuthInfo=socket={folder}/munge.socket
CryptoType=crypto/munge
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd.pid
SlurmctldLogFile={folder}/slurmctld.log
SlurmdLogFile={folder}/slurmd.log
ProctrackType={proctrack}
TaskPlugin=task/none
SwitchType=switch/none
MpiDefault=none
JobAcctGatherType=jobacct_gather/none
AccountingStorageType=accounting_storage/none
SlurmdParameters=config_overrides
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU
SchedulerParameters=bf_interval=1,sched_min_interval=100000
ReturnToService=2
MinJobAge=2
KillWait=60
SlurmctldTimeout=300
SlurmdTimeout=300
NodeName={host} NodeAddr=127.0.0.1 NodeHostname={host} CPUs=2 State=UNKNOWN
PartitionName=tests Nodes=ALL Default=YES MaxTime=INFINITE State=UP
"""


class NoSlurm(RuntimeError):
    """SLURM cannot be started here; says why."""


@dataclass
class Cluster:
    """A running SLURM.

    Attributes:
        folder: All of its files.
        environment: What its commands need, beside what is there.
    """

    folder: Path
    environment: dict[str, str]
    daemons: list[subprocess.Popen] = field(default_factory=list)

    def ask(self, *command: str) -> str:
        """What one of SLURM's commands prints."""
        done = subprocess.run(
            command,
            env={**os.environ, **self.environment},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=PATIENCE,
            check=False,
        )
        if done.returncode != 0:
            raise NoSlurm(f"{' '.join(command)}: {done.stdout.strip()}")
        return done.stdout

    def jobs(self) -> dict[str, list[str]]:
        """Numbers of the jobs in the queue, by state."""
        found: dict[str, list[str]] = {}
        for line in self.ask("squeue", "--noheader", "--format=%T %i").splitlines():
            state, number = line.split()
            found.setdefault(state, []).append(number)
        return found


def wait_for(what: Callable[[], Any], name: str, seconds: float = PATIENCE, of: Optional[Cluster] = None) -> Any:
    """Ask until something is true, and return it.

    Raises:
        NoSlurm: It is not true in time, or a daemon has ended meanwhile.
    """
    end = time.monotonic() + seconds
    while True:
        found = what()
        if found:
            return found
        ended = [daemon for daemon in (of.daemons if of else ()) if daemon.poll() is not None]
        if ended or time.monotonic() > end:
            said = f"; {_last_lines(of.folder)}" if of else ""
            why = f"a daemon has ended ({ended[0].args[0]})" if ended else f"not within {seconds:g} s"
            raise NoSlurm(f"{name}: {why}{said}")
        time.sleep(0.1)


@contextmanager
def start() -> Iterator[Cluster]:
    """A cluster that runs in the block, and of which no process is left after it.

    Raises:
        NoSlurm: A program is not installed, or a daemon does not run here.
    """
    missing = [program for program in PROGRAMS if shutil.which(program, path=PATH) is None]
    if missing:
        raise NoSlurm(f"not installed: {', '.join(missing)}")
    folder = Path(tempfile.mkdtemp(prefix="srkd-slurm-"))  # a socket's path has 108 characters at most
    cluster = Cluster(folder, {"SLURM_CONF": str(folder / "slurm.conf"), "PATH": PATH})
    try:
        _write_configuration(folder)
        _start_daemons(cluster)
        yield cluster
    finally:
        _end(cluster)
        shutil.rmtree(folder, ignore_errors=True)


def _write_configuration(folder: Path) -> None:
    with socket.socket() as one, socket.socket() as other:
        one.bind(("127.0.0.1", 0))
        other.bind(("127.0.0.1", 0))
        ports = {"ctld_port": one.getsockname()[1], "slurmd_port": other.getsockname()[1]}
    root = os.geteuid() == 0
    values = {"user": "root" if root else _user(), "proctrack": f"proctrack/{'linuxproc' if root else 'pgid'}"}
    host = socket.gethostname().split(".")[0]
    (folder / "slurm.conf").write_text(CONFIGURATION.format(folder=folder, host=host, **ports, **values))
    (folder / "cgroup.conf").write_text("")  # beside slurm.conf, so that the machine's own is not read
    for name in ("state", "spool"):
        (folder / name).mkdir()
    key = folder / "munge.key"
    key.touch(mode=0o600)
    key.write_bytes(secrets.token_bytes(128))


def _user() -> str:
    import pwd

    return pwd.getpwuid(os.geteuid()).pw_name


def _start_daemons(cluster: Cluster) -> None:
    folder = cluster.folder
    munge = {name: f"--{name}-file={folder}/munge.{name.split('-')[0]}" for name in ("key", "pid", "log", "seed")}
    _start(cluster, "munged", "--foreground", "--force", f"--socket={folder}/munge.socket", *munge.values())
    wait_for((folder / "munge.socket").exists, "munged's socket", of=cluster)
    _start(cluster, "slurmctld", "-D", "-i", "-f", str(folder / "slurm.conf"))
    _start(cluster, "slurmd", "-D", "-f", str(folder / "slurm.conf"), "-N", socket.gethostname().split(".")[0])
    wait_for(lambda: _is_idle(cluster), "an idle node", of=cluster)
    with suppress(NoSlurm, subprocess.TimeoutExpired):
        if cluster.ask("srun", "--time=1", "echo", "ready").strip() == "ready":
            return
    raise NoSlurm(f"a job does not run: {_last_lines(folder)}")


def _start(cluster: Cluster, program: str, *arguments: str) -> None:
    output = open(cluster.folder / f"{program}.out", "wb")  # noqa: SIM115 (the daemon's own)
    command = [shutil.which(program, path=PATH) or program, *arguments]
    environment = {**os.environ, **cluster.environment}
    daemon = subprocess.Popen(command, env=environment, stdout=output, stderr=output, preexec_fn=_die_with_the_parent)
    cluster.daemons.append(daemon)
    output.close()


def _die_with_the_parent() -> None:
    """Let a daemon end with the tests, also if those are killed."""
    with suppress(OSError, AttributeError):
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)


def _is_idle(cluster: Cluster) -> bool:
    try:
        return "idle" in cluster.ask("sinfo", "--noheader", "--format=%T")
    except (NoSlurm, subprocess.TimeoutExpired):
        return False


def _last_lines(folder: Path) -> str:
    """The last line of each daemon's log."""
    found = []
    for log in (*sorted(folder.glob("*.log")), *sorted(folder.glob("*.out"))):
        lines = log.read_text(errors="replace").strip().splitlines()
        if lines:
            found.append(f"{log.name}: {lines[-1]}")
    return "; ".join(found) or "no daemon has written a line"


def _end(cluster: Cluster) -> None:
    """End all jobs, then the daemons, then whatever is left of either."""
    with suppress(NoSlurm, subprocess.TimeoutExpired, OSError):
        if len(cluster.daemons) == 3:
            cluster.ask("scancel", "--signal=KILL", "--full", f"--user={_user()}")
            cluster.ask("scancel", f"--user={_user()}")
            wait_for(lambda: not cluster.jobs(), "an empty queue", 20, cluster)
    for daemon in reversed(cluster.daemons):
        daemon.terminate()
    for daemon in cluster.daemons:
        try:
            daemon.wait(20)
        except subprocess.TimeoutExpired:
            daemon.kill()
            daemon.wait()
    for process in left_over(cluster):
        with suppress(ProcessLookupError, PermissionError):
            os.kill(process, signal.SIGKILL)


def left_over(cluster: Cluster) -> list[int]:
    """Processes that have this cluster's configuration in their environment or arguments, other than this one."""
    mark, found = str(cluster.folder).encode(), []
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit() or int(entry.name) == os.getpid():
            continue
        with suppress(OSError):
            content = (entry / "environ").read_bytes() + (entry / "cmdline").read_bytes()
            if mark in content and processes.is_running(int(entry.name)):
                found.append(int(entry.name))
    return found
