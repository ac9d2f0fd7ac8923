"""Tables as SLURM's jobs, with scripts in the place of SLURM's commands: what is submitted, found again and refused."""

import json
import os
import pickle
import re
import subprocess
import sys

import cv2
import numpy as np
import other_process
import photos
import pytest
import tiny
import yaml
from stand_in_scripts import TEST, TRAIN

from srkd_plugin.cli.main import main
from srkd_plugin.errors import InputError, OptionsError
from srkd_plugin.tables import jobs, plan, runner, slurm
from srkd_plugin.tables.table_sections import SlurmSection

COMMANDS = {
    "sbatch": """
        [ -f "$D/full" ] && { echo "sbatch: error: invalid partition specified: gpu" >&2; exit 1; }
        n=$(( $(cat "$D/count" 2>/dev/null || echo 100) + 1 )); echo $n > "$D/count"; cp "$1" "$D/$n.sh"
        echo "$n|PENDING|None|$(sed -n 's/^#SBATCH --job-name=//p' "$1")" >> "$D/queue"
        echo "Submitted batch job $n"
    """,
    "squeue": """
        [ -f "$D/down" ] && { echo "slurm_load_jobs error: Unable to contact slurm controller" >&2; exit 1; }
        cat "$D/queue" 2>/dev/null; echo "7|RUNNING|None|of_somebody_else"
    """,
    "scancel": """grep -v "^$1|" "$D/queue" > "$D/left"; mv "$D/left" "$D/queue"; echo "$1" >> "$D/cancelled" """,
    "srun": "exit 0",
}
"""The queue is a file; ``down`` and ``full`` are files that make SLURM refuse."""
CONTENT = {
    "name": "t",
    "seeds": [0],
    "baseline": "none",
    "teacher": {"file": "student.yml", "seed": 7, "set": {"network_g": tiny.TEACHER}},
    "caches": {"plain": ["--with-images"]},
    "methods": {
        "none": {"file": "student.yml"},
        "half": {"file": "distill.yml", "cache": "plain", "start_from": "first"},
        "first": {"file": "distill.yml", "cache": "plain"},
    },
    "slurm": {"timeout_min": 90, "partition": "gpu", "cpus_per_task": 3, "mem_gb": 1.5, "gpus_per_node": 2},
    "sets": {"S": {"dataroot_gt": "data/HR", "dataroot_lq": "data/LR"}},
}
CACHE = "tables/t/cache_plain.lmdb"


@pytest.fixture
def cluster(tmp_path, monkeypatch):
    """The folder of a SLURM whose commands are scripts; it is first on the PATH."""
    folder = tmp_path / "cluster"
    folder.mkdir()
    for name, script in COMMANDS.items():
        (folder / name).write_text(f"#!/bin/sh\nD={folder}\n{script}\n")
        (folder / name).chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder}{os.pathsep}{os.environ['PATH']}")
    pytest.importorskip("submitit")
    return folder


@pytest.fixture
def root(tmp_path):
    """A checkout whose train.py and test.py take no time."""
    root = tmp_path / "root"
    hr, _ = photos.write_pairs(root / "data")
    for file in hr.iterdir():
        cv2.imwrite(str(file), np.minimum(cv2.imread(str(file)), 250))  # room for an offset
    (root / "basicsr").mkdir(parents=True)
    (root / "basicsr/train.py").write_text(TRAIN)
    (root / "basicsr/test.py").write_text(TEST)
    (root / "options/tables").mkdir(parents=True)
    tiny.write_tables_options(root / "options", root / "data")
    return root


def make(root, content=CONTENT):
    file = root / "options/tables/t.yml"
    file.write_text(yaml.safe_dump(content, sort_keys=False))
    table = plan.read_table(file)
    runs = plan.plan_runs(table, file)
    machine = runner.Runner(root, root / "tables/t", lambda command: None)
    slurm.require_slurm(table)
    return runs, slurm.Queue(machine, table)


def queued(cluster):
    """Names of the jobs in the queue by number, without what tells the table."""
    lines = (cluster / "queue").read_text().splitlines()
    return {
        line.split("|")[0]: re.sub(r"^srkd-[0-9a-f]{8}-(.*?)(_[0-9a-f]{8})?$", r"\1", line.split("|")[3])
        for line in lines
    }


def finish(queue, run):
    """Leave what a job of a run leaves."""
    file = queue.machine.record_file(run)
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(json.dumps({"options": {"train": run.train, "test": run.test}}))


def leave(cluster, number):
    """Let a job leave the queue."""
    subprocess.run([cluster / "scancel", number], check=True)


def test_each_run_and_cache_is_a_job_that_comes_after_what_it_reads(root, cluster):
    runs, queue = make(root)
    waiting = slurm._submit(queue, runs)
    assert queued(cluster) == {
        "101": "run_t_teacher",
        "102": "run_t_none_s0",
        "103": "cache_cache_plain",
        "104": "run_t_first_s0",
        "105": "run_t_half_s0",
    }
    assert {number: job.name for number, job in waiting.items()}["103"] == CACHE
    scripts = {number: (cluster / f"{number}.sh").read_text() for number in waiting}
    after = {n: re.findall(r"--dependency=(\S+)", script) for n, script in scripts.items()}
    assert after == {
        "101": [],
        "102": [],
        "103": ["afterok:101"],
        "104": ["afterok:101:103"],
        "105": ["afterok:104:101:103"],
    }
    for line in (
        "--partition=gpu",
        "--time=90",
        "--cpus-per-task=3",
        "--mem=1536MB",
        "--gpus-per-node=2",
        "--kill-on-invalid-dep=yes",
        "--signal=TERM@60",
    ):
        assert all(f"#SBATCH {line}\n" in script for script in scripts.values()), line
    assert all("srun " in script and "--cpus-per-task=3 " in script for script in scripts.values())


def test_a_row_may_ask_for_more_than_the_others(root, cluster):
    content = {**CONTENT, "teacher": {**CONTENT["teacher"], "slurm": {"gpus_per_node": 4, "timeout_min": 900}}}
    runs, queue = make(root, content)
    slurm._submit(queue, runs[:2])
    teacher, row = ((cluster / f"{number}.sh").read_text() for number in (101, 102))
    assert "--gpus-per-node=4\n" in teacher and "--time=900\n" in teacher and "--partition=gpu\n" in teacher
    assert "--gpus-per-node=2\n" in row and "--time=90\n" in row


def test_what_a_row_asks_for_is_checked_when_the_table_is_read(root):
    content = {**CONTENT, "methods": {"none": {"file": "student.yml", "slurm": {"mem": 3}}}}
    with pytest.raises(OptionsError, match=r"^methods\.none\.slurm\.mem = 3: unknown key. Did you mean 'mem_gb'"):
        make_without_slurm(root, content)
    del content["slurm"]
    with pytest.raises(OptionsError, match=r"^slurm is missing: methods\.none\.slurm changes keys of it"):
        make_without_slurm(root, content)


def test_a_table_that_another_process_carries_out_submits_nothing(root, cluster):
    runs, queue = make(root)
    (root / "tables").mkdir()
    refused = pytest.raises(OptionsError, match=r"table = .*another process writes there")
    with other_process.waiting(OWNS, root / "tables/t"), refused:
        slurm.run_in_jobs(queue.machine, runs, queue._table)
    assert not (cluster / "count").exists()


def test_who_interrupts_the_waiting_is_told_that_the_jobs_go_on(root, cluster, monkeypatch, capsys):
    runs, queue = make(root)

    def interrupt(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(slurm, "_wait", interrupt)
    with pytest.raises(KeyboardInterrupt):
        slurm.run_in_jobs(queue.machine, runs, queue._table)
    assert capsys.readouterr().out.endswith("the jobs go on; the same command waits for them, scancel ends them\n")
    assert len(queued(cluster)) == 5


def test_what_is_in_the_queue_or_done_is_not_submitted_again(root, cluster, capsys):
    runs, queue = make(root)
    slurm._submit(queue, runs)
    finish(queue, runs[0])
    leave(cluster, "101")
    leave(cluster, "103")
    (root / CACHE).mkdir(parents=True)
    capsys.readouterr()
    waiting = slurm._submit(make(root)[1], runs)
    assert sorted(waiting) == ["102", "104", "105"] and (cluster / "count").read_text() == "105\n"
    assert capsys.readouterr().out.count("(in the queue already)") == 3


def test_a_job_is_found_again_if_the_submitter_was_killed_before_it_noted_its_number(root, cluster, monkeypatch):
    runs, queue = make(root)
    with monkeypatch.context() as killed:

        def stop(*_):
            raise KeyboardInterrupt

        killed.setattr(slurm, "write_json", stop)
        with pytest.raises(KeyboardInterrupt):
            slurm._submit(queue, runs)
    assert list(queued(cluster)) == ["101"] and not list((root / "tables/t/jobs").glob("*.json"))
    assert sorted(slurm._submit(queue, runs)) == ["101", "102", "103", "104", "105"]


def test_a_failed_job_is_said_with_its_last_line_and_submitted_again(root, cluster, capsys):
    runs, queue = make(root)
    waiting = slurm._submit(queue, runs)
    for number in waiting:
        leave(cluster, number)
    queue.log_file("101").write_text("$ python basicsr/train.py\nCUDA error\x1b[2J\n\nsrun: error: task 0: Exited\n")
    looks = []
    with pytest.raises(runner.RunFailed) as failed:
        slurm._wait(queue, waiting, looks.append)
    assert looks == [slurm.SHORTEST], "what has left the queue may show its result a moment later"
    said = str(failed.value).splitlines()
    assert said[0] == "5 jobs have failed; the same command submits them again"
    assert said[1] == f"job 101: t_teacher: CUDA error?[2J ({queue.log_file('101')})"
    assert said[3] == f"job 103: {CACHE}: it has not started: it was cancelled, or one that it comes after has failed"
    capsys.readouterr()
    assert sorted(slurm._submit(queue, runs)) == ["106", "107", "108", "109", "110"]
    assert "job 101: t_teacher failed: CUDA error" in capsys.readouterr().out


def test_a_result_that_shows_a_moment_later_is_no_failure(root, cluster):
    runs, queue = make(root, {**CONTENT, "methods": {"none": {"file": "student.yml"}}})
    waiting = slurm._submit(queue, runs)
    for number in waiting:
        leave(cluster, number)
    slurm._wait(queue, waiting, lambda seconds: [finish(queue, run) for run in runs])
    assert waiting == {}


def test_jobs_that_can_never_start_are_cancelled_and_submitted_again(root, cluster):
    runs, queue = make(root)
    slurm._submit(queue, runs)
    leave(cluster, "101")
    file = cluster / "queue"
    file.write_text(file.read_text().replace("103|PENDING|None", f"103|PENDING|{slurm.NEVER}"))
    assert sorted(slurm._submit(queue, runs)) == ["102", "104", "105", "106", "107"]
    assert (cluster / "cancelled").read_text().split() == ["101", "103"]


def test_a_queued_job_of_other_options_is_refused_before_anything_is_submitted(root, cluster):
    runs, queue = make(root)
    slurm._submit(queue, runs)
    leave(cluster, "101")
    content = json.loads(json.dumps(CONTENT))
    content["methods"]["first"]["set"] = {"train": {"total_iter": 9}}
    runs, queue = make(root, content)
    with pytest.raises(InputError, match=r"t_first_s0.*job 104 is in the queue with other options.*scancel 104"):
        slurm._submit(queue, runs)
    assert (cluster / "count").read_text() == "105\n"


def test_a_run_that_is_tested_again_has_not_failed(root, cluster, capsys):
    content = {**CONTENT, "methods": {"none": {"file": "student.yml"}}}
    runs, queue = make(root, content)
    for number in slurm._submit(queue, runs):
        leave(cluster, number)
    for run in runs:
        finish(queue, run)
    assert slurm._submit(queue, runs) == {}
    runs, queue = make(root, {**content, "sets": {**CONTENT["sets"], "U": CONTENT["sets"]["S"]}})
    capsys.readouterr()
    assert sorted(slurm._submit(queue, runs)) == ["103", "104"]
    assert "failed" not in capsys.readouterr().out


def test_shards_are_jobs_of_their_own(root, cluster):
    shards = ["a.lmdb", "b.lmdb"]
    cached = {"datasets": {"train": {"type": "TeacherCacheDataset", "dataroot_teacher": shards}}}
    content = {**CONTENT, "methods": {"none": {"file": "student.yml"}, "parts": {"file": "distill.yml", "set": cached}}}
    runs, queue = make(root, content)
    assert runs[-1].caches == {"a.lmdb": ["--shard", "1/2"], "b.lmdb": ["--shard", "2/2"]}
    found = {job.name: job.after for job in jobs.jobs_of(runs, queue.machine)}
    assert found["a.lmdb"] == found["b.lmdb"] == ("t_teacher",)
    assert found["t_parts_s0"] == ("a.lmdb", "b.lmdb", "t_teacher")


def test_a_cache_in_shards_is_a_job_for_each(root, cluster):
    runs, queue = make(root, {**CONTENT, "caches": {"plain": {"flags": ["--with-images"], "shards": 3}}})
    slurm._submit(queue, runs)
    made = {number: name for number, name in queued(cluster).items() if name.startswith("cache")}
    assert list(made.values()) == [f"cache_cache_plain_{i}of3" for i in (1, 2, 3)]
    found = jobs.jobs_of(runs, queue.machine)
    shards = [job for job in found if job.cache]
    assert all(job.after == ("t_teacher",) for job in shards), "the shards do not wait for each other"
    reader = next(job for job in found if job.name == "t_first_s0")
    assert reader.after == tuple(sorted(["t_teacher", *(job.name for job in shards)]))
    (root / shards[0].name).mkdir(parents=True)
    assert [job.name for job in jobs.jobs_of(runs, queue.machine) if job.cache] == [job.name for job in shards[1:]]


@pytest.mark.parametrize("content", ["", "null", "[]", "{}", '{"id": 7, "options_sha256": "x"}', '{"id": "7"}'])
def test_a_damaged_note_of_a_job_is_named_before_anything_is_submitted(root, cluster, content):
    runs, queue = make(root)
    note = root / "tables/t/jobs/run_t_first_s0.json"
    note.parent.mkdir(parents=True)
    note.write_text(content)
    with pytest.raises(InputError, match=r"run_t_first_s0\.json': it .*\. Remove it and rerun"):
        slurm._submit(queue, runs)
    assert not (cluster / "count").exists()


def test_a_slurm_that_does_not_answer_is_asked_again_and_then_said(root, cluster, monkeypatch):
    runs, queue = make(root)
    pauses = []
    monkeypatch.setattr(slurm.time, "sleep", pauses.append)
    (cluster / "down").touch()
    with pytest.raises(InputError, match="squeue fails: slurm_load_jobs error: Unable to contact slurm controller"):
        slurm._submit(queue, runs)
    assert len(pauses) == slurm.TRIES - 1


def test_what_sbatch_refuses_is_one_line(root, cluster):
    runs, queue = make(root)
    (cluster / "full").touch()
    with pytest.raises(InputError, match=r"sbatch refuses t_teacher: .*invalid partition specified: gpu"):
        slurm._submit(queue, runs)


@pytest.mark.parametrize("breaks", [False, True])
def test_what_a_job_does(root, breaks):
    runs, machine = make_without_slurm(root)
    if breaks:
        (root / "break").write_text("t_none_s0")
    (root / "job.pkl").write_bytes(pickle.dumps(jobs.Job("t_none_s0", runs[1])))
    code = "import pickle, sys; from srkd_plugin.tables.jobs import carry_out\n"
    code += "carry_out(sys.argv[1], sys.argv[2], 1, [], pickle.load(open('job.pkl', 'rb')))"
    done = tiny.run("-c", code, root, root / "tables/t", cwd=root)
    assert "$ python basicsr/train.py -opt tables/t/options/t_none_s0.yml" in done.stdout
    assert done.returncode == breaks, done.stdout
    assert machine.record_file(runs[1]).exists() != breaks
    if breaks:
        assert done.stdout.splitlines()[-1] == "it broke"


OWNS = """
import pathlib
from srkd_plugin.utils.owner import owned
with owned("run", pathlib.Path(sys.argv[1])):
    wait()
"""


def test_two_jobs_of_one_run_do_not_run_at_once(root):
    runs, machine = make_without_slurm(root)
    refused = pytest.raises(OptionsError, match=r"run = .*t_none_s0.json': another process writes there")
    with other_process.waiting(OWNS, machine.record_file(runs[1])), refused:
        machine.carry_out(runs[1])
    assert not (root / "calls.txt").exists()


def make_without_slurm(root, content=CONTENT):
    file = root / "options/tables/t.yml"
    file.write_text(yaml.safe_dump(content, sort_keys=False))
    return plan.plan_runs(plan.read_table(file), file), runner.Runner(root, root / "tables/t", lambda command: None)


@pytest.mark.parametrize(
    ("section", "says"),
    [
        (None, "error: slurm is missing: the table does not say what its jobs ask SLURM for. Add e.g. slurm: {"),
        ({}, "error: slurm.timeout_min is missing: it is required. Add timeout_min to slurm."),
        ({"timeout_min": "1h"}, "error: slurm.timeout_min = '1h': Input should be a valid integer"),
        ({"timeout_min": 60, "mem": 3}, "error: slurm.mem = 3: unknown key. Did you mean 'mem_gb'?"),
        ({"timeout_min": 60, "mem_gb": float("inf")}, "error: slurm.mem_gb = inf: Input should be a finite number"),
        ({"timeout_min": 60, "qos": ""}, "error: slurm.qos = '': it is one word, as sbatch takes it"),
        ({"timeout_min": 60, "partition": "a\n#SBATCH -x b"}, r"error: slurm.partition = 'a\n#SBATCH -x b': it is one"),
        ({"timeout_min": 60, "gpus_per_node": -1}, "error: slurm.gpus_per_node = -1: Input should be greater than or"),
    ],
)
def test_a_section_that_cannot_be_is_one_line(root, cluster, monkeypatch, capsys, section, says):
    content = {key: value for key, value in CONTENT.items() if key != "slurm"}
    assert _refused(root, monkeypatch, {**content, **({} if section is None else {"slurm": section})})
    said = capsys.readouterr().err
    assert said.startswith(says) and said.count("\n") == 1, said


def _refused(root, monkeypatch, content, *flags):
    """Whether the command ends with exit code 2 and leaves everything as it is."""
    (root / "options/tables/t.yml").write_text(yaml.safe_dump(content, sort_keys=False))
    monkeypatch.chdir(root)
    before = tiny.tree(root)
    code = main(["table", "run", "options/tables/t.yml", "--submit", "slurm", *flags])
    return code == 2 and tiny.tree(root) == before


@pytest.mark.parametrize("program", ["sbatch", "srun"])
def test_without_slurm_it_is_one_line(root, cluster, monkeypatch, capsys, program):
    (cluster / program).unlink()
    monkeypatch.setenv("PATH", str(cluster))
    assert _refused(root, monkeypatch, CONTENT)
    said = capsys.readouterr().err
    assert said.startswith(f"error: --submit = 'slurm': {program} is not on the PATH. ") and said.count("\n") == 1


def test_without_submitit_it_is_one_line(root, cluster, monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "submitit", None)
    assert _refused(root, monkeypatch, CONTENT)
    said = capsys.readouterr().err
    assert said.startswith("error: package = 'submitit': --submit slurm needs it") and said.count("\n") == 1
    assert "srkd-plugin[slurm]" in said


@pytest.mark.parametrize("flags", [["--jobs", "2"], ["--gpus", "0"]])
def test_what_slurm_shares_out_is_not_shared_out_here(root, cluster, monkeypatch, capsys, flags):
    assert _refused(root, monkeypatch, CONTENT, *flags)
    assert f"error: {flags[0]} = " in capsys.readouterr().err


def test_the_default_section_asks_for_little():
    assert slurm.parameters(SlurmSection(timeout_min=5), []) == {
        "time": 5,
        "cpus_per_task": 1,
        "stderr_to_stdout": True,
        "srun_args": ["--cpus-per-task=1"],
        "additional_parameters": {"kill-on-invalid-dep": "yes", "signal": "TERM@60"},
    }
