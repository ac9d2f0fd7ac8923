"""Tables and BasicSR's launcher on a real SLURM of one node; skipped, with the reason, where none runs."""

import os
import signal
import socket
import subprocess
import sys

import cv2
import numpy as np
import photos
import pytest
import slurm_cluster
import tiny
import torch
import yaml
from basicsr.archs import build_network
from slurm_cluster import wait_for
from stand_in_scripts import TEST, TRAIN

from srkd_plugin.utils.files import read_json

pytestmark = [pytest.mark.integration, pytest.mark.timeout(1800)]

LONG = 600.0
"""Seconds that anything may take; on a machine with nothing else to do, it is a tenth."""
LEAVES_WEIGHTS = """
import shutil; weights = pathlib.Path("experiments", opt["name"], "models/net_g_latest.pth")
weights.parent.mkdir(parents=True, exist_ok=True); shutil.copy(f"{opt['network_g']['num_feat']}.pth", weights)
"""
WAITS = """
if opt["name"] == "t_none_s0":
    pathlib.Path("training").touch()
    end = time.monotonic() + 300
    while not pathlib.Path("go").exists() and time.monotonic() < end: time.sleep(0.1)
"""
"""One training begins, and goes on when it is told."""
CONTENT = {
    "name": "t",
    "seeds": [0],
    "baseline": "none",
    "teacher": {"file": "student.yml", "seed": 7, "set": {"network_g": tiny.TEACHER}},
    "methods": {
        "none": {"file": "student.yml"},
        "live": {"file": "distill.yml", "set": {"teacher": {"random_init": False}}},
    },
    "slurm": {"timeout_min": 30, "cpus_per_task": 1},
    "sets": {"S": {"dataroot_gt": "data/HR", "dataroot_lq": "data/LR"}},
}
RUNS = ["teacher", "none_s0", "live_s0"]


@pytest.fixture(scope="module")
def cluster():
    pytest.importorskip("submitit")
    running = slurm_cluster.start()
    try:
        found = running.__enter__()
    except slurm_cluster.NoSlurm as why:
        pytest.skip(f"no SLURM: {why}")
    yield found
    running.__exit__(None, None, None)
    assert slurm_cluster.left_over(found) == []


def lay_out(root, content=CONTENT, train=TRAIN + LEAVES_WEIGHTS):
    """A checkout whose scripts take no time, a table, and its data."""
    (root / "basicsr").mkdir(parents=True)
    (root / "basicsr/train.py").write_text(train)
    (root / "basicsr/test.py").write_text(TEST)
    hr, _ = photos.write_pairs(root / "data")
    for file in hr.iterdir():
        cv2.imwrite(str(file), np.minimum(cv2.imread(str(file)), 250))  # room for an offset
    for network in (tiny.STUDENT, tiny.TEACHER):
        states = dict.fromkeys(("params", "params_ema"), build_network(dict(network)).state_dict())
        torch.save(states, root / f"{network['num_feat']}.pth")
    (root / "options/tables").mkdir(parents=True)
    tiny.write_tables_options(root / "options", root / "data")
    (root / "options/tables/t.yml").write_text(yaml.safe_dump(content, sort_keys=False))
    return root


def start(cluster, root, *flags):
    """``srkd table run`` in a process of its own."""
    return subprocess.Popen(
        [sys.executable, "-m", "srkd_plugin", "table", "run", "options/tables/t.yml", *flags],
        cwd=root,
        env=tiny.child_environment(**cluster.environment),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def table(cluster, root, *flags):
    """Exit code and output of ``srkd table run``."""
    process = start(cluster, root, *flags)
    try:
        said, _ = process.communicate(timeout=LONG)
    finally:
        process.kill()
    return process.returncode, said


def _wait_with(process, what, cluster):
    """Wait for something that a process brings about, and not longer than it lives."""
    wait_for(lambda: what() or process.poll() is not None, "what the jobs do", LONG, cluster)
    assert process.poll() is None, process.communicate()[0]


def calls(root):
    return [" ".join(line.split()[:2]) for line in (root / "calls.txt").read_text().splitlines()]


def jobs_of(root):
    return list((root / "tables/t/jobs").glob("*_0_log.out"))


def test_a_killed_submitter_is_started_again_and_ends_with_the_same_report(cluster, tmp_path):
    root = lay_out(tmp_path / "slurm", train=TRAIN + LEAVES_WEIGHTS + WAITS)
    first = start(cluster, root, "--submit", "slurm")
    try:
        _wait_with(first, (root / "training").exists, cluster)
    finally:
        first.kill()
        said, _ = first.communicate()
    assert first.returncode == -signal.SIGKILL, said
    assert cluster.jobs()["RUNNING"], "the jobs go on"
    second, seen = start(cluster, root, "--submit", "slurm"), []
    try:
        while not any("t_none_s0 (in the queue already)" in line for line in seen):
            seen.append(second.stdout.readline())
            assert seen[-1], seen
        (root / "go").touch()
        said, _ = second.communicate(timeout=LONG)
    finally:
        (root / "go").touch()
        second.kill()
    assert second.returncode == 0 and "3 of 3 runs" in said, [*seen, said]
    assert sorted(calls(root)) == sorted([f"train t_{run}" for run in RUNS] + [f"test t_{run}_test" for run in RUNS])
    assert calls(root).index("test t_teacher_test") < calls(root).index("train t_live_s0"), "it reads the teacher"
    assert len(jobs_of(root)) == 3
    local = lay_out(tmp_path / "local")
    code, said = table(cluster, local)
    assert code == 0, said
    for name in ("images.csv", "curves.csv"):
        assert (root / "tables/t" / name).read_text() == (local / "tables/t" / name).read_text()


def test_a_failed_job_is_reported_and_submitted_again_and_what_waits_for_it_is_not_started(cluster, tmp_path):
    root = lay_out(tmp_path)
    (root / "break").write_text("t_teacher")
    code, said = table(cluster, root, "--submit", "slurm")
    assert code == 1, said
    assert "error: 2 jobs have failed; the same command submits them again" in said
    assert ": t_teacher: it broke (" in said
    assert "t_live_s0: it has not started: it was cancelled, or one that it comes after has failed" in said
    assert "test t_none_s0_test" in calls(root) and "train t_live_s0" not in calls(root)
    (root / "break").unlink()
    code, said = table(cluster, root, "--submit", "slurm")
    assert code == 0 and "t_teacher failed: it broke (" in said and "3 of 3 runs" in said, said
    assert [calls(root).count(f"train t_{run}") for run in ("teacher", "none_s0", "live_s0")] == [2, 1, 1]


def test_a_training_that_is_cancelled_midway_is_resumed(cluster, data, teacher_file, tmp_path):
    """Trained in earnest, with the teacher live and from a cache, which is a job of its own."""
    teacher = {"weights": str(teacher_file), "network": tiny.TEACHER}
    live = {"file": "distill.yml", "set": {"teacher": {"random_init": False}, "train": {"total_iter": 100}}}
    cached = {"file": "distill.yml", "cache": "plain", "set": {"teacher": {"random_init": False}}}
    content = {**CONTENT, "baseline": "live", "teacher": teacher, "caches": {"plain": []}}
    content["methods"] = {"live": live, "cached": cached}
    root = lay_out(tmp_path, content)
    for script in ("train.py", "test.py"):
        (root / "basicsr" / script).unlink()
    first = start(cluster, root, "--submit", "slurm")
    try:
        state = root / "experiments/t_live_s0/training_states"
        _wait_with(first, lambda: list(state.glob("*.state")), cluster)
        number = read_json(root / "tables/t/jobs/run_t_live_s0.json")["id"]
        cluster.ask("scancel", number)
        said, _ = first.communicate(timeout=LONG)
    finally:
        first.kill()
    assert first.returncode == 1 and f"job {number}: t_live_s0: " in said, said
    assert not (root / "tables/t/records/t_live_s0.json").exists()
    assert (root / "tables/t/cache_plain.lmdb").is_dir() and (root / "tables/t/records/t_cached_s0.json").exists()
    code, said = table(cluster, root, "--submit", "slurm")
    assert code == 0 and "3 of 3 runs" in said, said
    log = (root / "tables/t/logs/t_live_s0_train.txt").read_text()
    assert "Resuming training from epoch" in log
    assert sorted(state.glob("*.state"), key=lambda file: int(file.stem))[-1].name == "100.state"


def test_basicsrs_slurm_launcher_trains_on_two_processes(cluster, data, teacher_file, tmp_path):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    opt = tiny.distill_options(data, teacher_file, "two", iters=3)
    tiny.write_options(opt, tmp_path / "two.yml")
    command = ["srun", "--ntasks=2", "--time=10", "--kill-on-bad-exit", sys.executable, "-m", "srkd_plugin", "train"]
    done = subprocess.run(
        [*command, "-opt", "two.yml", "--launcher", "slurm"],
        cwd=tmp_path,
        env=tiny.child_environment(**cluster.environment, MASTER_PORT=str(port)),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=LONG,
        check=False,
    )
    assert done.returncode == 0, done.stdout
    log = "".join(file.read_text() for file in (tmp_path / "experiments/two").glob("train_*.log"))
    assert "world_size: 2" in log and "iter:       3" in log, log
    assert (tmp_path / "experiments/two/models/net_g_latest.pth").is_file()


def test_where_slurm_is_not_installed_it_is_said(monkeypatch):
    monkeypatch.setattr(slurm_cluster, "PATH", "")
    with pytest.raises(slurm_cluster.NoSlurm, match="not installed: munged, slurmctld"), slurm_cluster.start():
        pass


def test_a_daemon_that_cannot_run_is_said_with_its_last_line(monkeypatch, tmp_path):
    for program in slurm_cluster.PROGRAMS:
        (tmp_path / program).write_text("#!/bin/sh\necho a first line\necho no cgroups here >&2\nexit 1\n")
        (tmp_path / program).chmod(0o755)
    monkeypatch.setattr(slurm_cluster, "PATH", f"{tmp_path}{os.pathsep}{os.environ['PATH']}")
    with pytest.raises(slurm_cluster.NoSlurm, match=r"a daemon has ended.*no cgroups here"), slurm_cluster.start():
        pass
