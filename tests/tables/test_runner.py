"""Carrying out a table, with scripts in BasicSR's place: what is run, skipped, resumed, refused and shared out."""

import io
import json
import math
import os
import subprocess
import sys
import threading
import time
from dataclasses import replace

import cv2
import numpy as np
import other_process
import photos
import pytest
import tiny
import torch
import yaml
from basicsr.archs import build_network
from stand_in_scripts import TEST, TRAIN

from srkd_plugin.cli import table
from srkd_plugin.errors import OptionsError
from srkd_plugin.tables import overview, plan, results, run_selection, runner

CONTENT = {
    "name": "t",
    "seeds": [0, 1],
    "baseline": "none",
    "teacher": {"file": "student.yml", "seed": 7},
    "methods": {"none": {"file": "student.yml"}, "other": {"file": "student.yml", "set": {"train": {"x": 1}}}},
    "sets": {"S": {"dataroot_gt": "data/HR", "dataroot_lq": "data/LR"}},
}
TWO_SETS = {**CONTENT, "sets": {**CONTENT["sets"], "U": CONTENT["sets"]["S"]}}


@pytest.fixture
def root(tmp_path):
    """A checkout whose basicsr/train.py and test.py take no time."""
    (tmp_path / "basicsr").mkdir()
    (tmp_path / "basicsr/train.py").write_text(TRAIN)
    (tmp_path / "basicsr/test.py").write_text(TEST)
    hr, _ = photos.write_pairs(tmp_path / "data")
    for file in hr.iterdir():
        cv2.imwrite(str(file), np.minimum(cv2.imread(str(file)), 250))  # room for an offset
    (tmp_path / "options/tables").mkdir(parents=True)
    student = {"name": "s", "scale": 2, "network_g": {"type": "EDSR"}, "train": {"total_iter": 2000}}
    student["datasets"] = {"train": {"type": "PairedImageDataset"}}
    (tmp_path / "options/student.yml").write_text(yaml.safe_dump(student))
    test = {"name": "t", "scale": 2, "path": {}, "val": {}, "network_g": {}}
    (tmp_path / "options/test_student.yml").write_text(yaml.safe_dump(test))
    return tmp_path


def make(root, content=CONTENT, shown=None, **keys):
    file = root / "options/tables/t.yml"
    file.write_text(yaml.safe_dump(content))
    runs = plan.plan_runs(plan.read_table(file), file)
    show = (lambda command: None) if shown is None else shown.append
    return runner.Runner(root, root / "tables/t", show, **keys), runs


def calls(root):
    return [line.rstrip() for line in (root / "calls.txt").read_text().splitlines()]


def test_every_run_is_two_printed_commands_and_done_ones_are_skipped(root):
    shown = []
    machine, runs = make(root, shown=shown)
    machine.run_all(runs)
    assert shown[:3] == [
        "python basicsr/train.py -opt tables/t/options/t_teacher.yml --auto_resume",
        "python basicsr/test.py -opt tables/t/options/t_teacher_test.yml",
        "python basicsr/train.py -opt tables/t/options/t_none_s0.yml --auto_resume",
    ]
    assert calls(root)[0] == "train t_teacher" and len(calls(root)) == 2 * 5
    assert yaml.safe_load((root / "tables/t/options/t_other_s1.yml").read_text()) == runs[-1].train
    make(root)[0].run_all(runs)
    assert len(calls(root)) == 2 * 5


def test_a_record_has_the_images_the_curve_and_bicubic(root):
    (root / "basicsr/train.py").write_text(TRAIN + "while time.process_time() < 0.2: pass\n")
    machine, runs = make(root)
    machine.run_all(runs[:2])
    record = json.loads(machine.record_file(runs[1]).read_text())
    assert set(record["psnr"]["run"]["S"]) == {"p0", "p1", "p2"}
    by_hand = 20 * math.log10(255 / (5 * 219 / 255))  # the script added 5
    assert list(record["psnr"]["run"]["S"].values()) == [pytest.approx(by_hand, abs=1e-3)] * 3
    assert record["psnr"]["bicubic"]["S"] != record["psnr"]["run"]["S"]
    assert record["curve"] == [[1000, 30.5], [2000, 31.25]]
    assert (record["parameters"], record["iterations"]) == (12345, 2000)
    assert record["seconds"] > 0
    assert record["cpu_seconds"] >= 0.1
    assert record["cache_cpu_seconds"] == 0


ENDED_FROM_OUTSIDE = """
import sys
from pathlib import Path
from srkd_plugin.tables import plan, runner
root = Path(sys.argv[1])
file = root / "options/tables/t.yml"
runner.Runner(root, root / "tables/t", print).run_all(plan.plan_runs(plan.read_table(file), file))
"""


def test_sigterm_ends_the_training_that_is_under_way_too(root):
    """What is left of it would go on beside the one that the same command starts, and its CPU time would be lost."""
    (root / "basicsr/train.py").write_text(
        "import os, time\nopen('pid', 'w').write(str(os.getpid()))\ntime.sleep(300)\n"
    )
    make(root)
    command = [sys.executable, "-c", ENDED_FROM_OUTSIDE, str(root)]
    process = subprocess.Popen(command, cwd=root, env=tiny.child_environment(), stderr=subprocess.PIPE, text=True)
    until = time.monotonic() + 60
    while not ((root / "pid").exists() and (root / "pid").read_text()) and time.monotonic() < until:
        time.sleep(0.05)
    child = int((root / "pid").read_text())
    process.terminate()
    _, error = process.communicate(timeout=60)
    assert "KeyboardInterrupt" in error
    with pytest.raises(ProcessLookupError):
        os.kill(child, 0)
    assert "exit code -15 after" in (root / "tables/t/logs/t_teacher_train.txt").read_text()


def test_a_cache_is_there_when_all_that_its_flags_ask_for_is(root):
    machine, runs = make(root)
    run = replace(runs[1], cache_flags=["--with-images", "--zoom-in", "2", "--zoom-out"])
    for folder, is_there in (("c.lmdb", False), ("c.lmdb/zoom_in", False), ("c.lmdb/zoom_out", True)):
        (root / folder).mkdir()
        assert machine.has_cache(run, "c.lmdb") is is_there
    assert machine.has_cache(runs[1], "c.lmdb")


def test_a_failure_names_the_command_and_the_next_start_goes_on_there(root):
    (root / "break").write_text("t_none_s1")
    machine, runs = make(root)
    with pytest.raises(
        runner.RunFailed, match=r"exit code 3 of: python basicsr/train.py .*t_none_s1.yml(.|\n)*it broke"
    ):
        machine.run_all(runs)
    done = [run.name for run in runs if machine.record_file(run).exists()]
    assert done == ["t_teacher", "t_none_s0", "t_other_s0"]
    (root / "break").unlink()
    make(root)[0].run_all(runs)
    assert calls(root).count("train t_none_s1") == 2
    assert calls(root).count("train t_none_s0") == 1
    assert json.loads(machine.record_file(runs[3]).read_text())["curve"] == [[1000, 30.5], [2000, 31.25]]


def test_a_finished_run_of_other_options_is_refused_and_nothing_starts(root):
    machine, runs = make(root)
    machine.run_all(runs[:3])
    before = calls(root)
    content = json.loads(json.dumps(CONTENT))
    content["methods"]["other"]["set"]["train"]["x"] = 2
    machine, runs = make(root, content)
    with pytest.raises(OptionsError, match=r"t_other_s0.*other options than the table has now.*remove .*t_other_s0"):
        machine.run_all(runs)
    assert calls(root) == before


def test_after_another_set_was_added_runs_are_tested_again_and_not_trained(root):
    machine, runs = make(root)
    machine.run_all(runs)
    machine, runs = make(root, TWO_SETS)
    with pytest.raises(OptionsError, match=r"t_teacher.*sets have changed.*t_teacher/models/net_g_latest.pth is not"):
        machine.run_all(runs)
    for run in runs:
        weights = root / run.test["path"]["pretrain_network_g"]
        weights.parent.mkdir(parents=True)
        weights.touch()
    assert [len(machine.missing(run)) for run in runs] == [1] * 5
    machine.run_all(runs)
    assert [machine.missing(run) for run in runs] == [[]] * 5
    assert sum(line.startswith("train") for line in calls(root)) == 5
    assert sum(line.startswith("test") for line in calls(root)) == 10
    record = json.loads(machine.record_file(runs[1]).read_text())
    assert set(record["psnr"]["run"]) == {"S", "U"}
    assert record["curve"] == [[1000, 30.5], [2000, 31.25]]


def test_the_command_reports_rows_that_are_not_yet_tested_on_a_new_set(root):
    """A table of two sets, one of which was added after the first start; then one row is asked for."""

    def run_table(content, *flags):
        (root / "options/tables/t.yml").write_text(yaml.safe_dump(content))
        command = [sys.executable, tiny.PROJECT / "scripts/run_table.py", "run", "options/tables/t.yml", *flags]
        done = subprocess.run(command, cwd=root, capture_output=True, text=True, env=tiny.child_environment())
        assert done.returncode == 0, done.stderr
        return done.stdout

    tiny.write_tables_options(root / "options", root / "data")
    torch.save({"params_ema": build_network(dict(tiny.STUDENT)).state_dict()}, root / "student.pth")
    train_too = "\nimport shutil; weights = pathlib.Path('experiments', opt['name'], 'models/net_g_latest.pth')\n"
    train_too += "weights.parent.mkdir(parents=True); shutil.copy('student.pth', weights)\n"
    (root / "basicsr/train.py").write_text(TRAIN + train_too)
    assert "5 of 5 runs" in run_table(CONTENT)
    dry = run_table(TWO_SETS, "--methods", "none", "--dry_run")
    assert dry.count("basicsr/test.py") == 3
    assert "basicsr/train.py" not in dry
    assert "5 of 5 runs" in run_table(TWO_SETS, "--methods", "none")
    stored = (root / "tables/t/images.csv").read_text()
    assert ("none,1,U,p0" in stored, "other,1,S,p0" in stored, "other,1,U,p0" in stored) == (True, True, False)
    assert cv2.imread(str(root / "tables/t/crops.png")).std() > 10


def test_images_that_are_not_those_of_the_log_are_refused(root):
    (root / "lie").touch()
    machine, runs = make(root)
    with pytest.raises(OptionsError, match=r"t_teacher.*BasicSR logged \d+.\d+ dB of S, and its images have"):
        machine.run_all(runs)
    assert not machine.record_file(runs[0]).exists()


def test_gpus_are_shared_out_one_run_each(root):
    machine, runs = make(root, gpus=["3", "5"])
    machine.run_all(runs)
    used = [line.split()[-1] for line in calls(root) if line.startswith("train")]
    assert set(used) == {"3", "5"}


def test_jobs_run_beside_each_other(root):
    """Two runs that wait for each other's file: they end only if both are under way at once."""
    wait = "\nimport time; pathlib.Path(opt['name']).touch(); end = time.time() + 60\n"
    wait += "others = {'t_none_s0', 't_other_s0'}\n"
    wait += "while opt['name'] in others and not all(pathlib.Path(o).exists() for o in others):\n"
    wait += "    time.sleep(0.05); assert time.time() < end\n"
    (root / "basicsr/train.py").write_text(TRAIN + wait)
    machine, runs = make(root, jobs=2)
    before = threading.active_count()
    machine.run_all(runs[:3])
    assert all(machine.record_file(run).exists() for run in runs[:3])
    assert threading.active_count() == before


def test_runs_without_a_teacher_do_not_wait_for_it(root):
    """The teacher's training ends only when a run without one is under way; one that needs the teacher comes after."""
    wait = "\nif opt['name'] == 't_teacher':\n    end = time.time() + 60\n"
    wait += "    while not pathlib.Path('experiments/t_none_s0').exists():\n"
    wait += "        time.sleep(0.05); assert time.time() < end\n"
    wait += "pathlib.Path('experiments', opt['name']).mkdir(parents=True)\n"
    wait += "assert 'network_t' not in opt or pathlib.Path('experiments/t_teacher').exists()\n"
    (root / "basicsr/train.py").write_text(TRAIN + wait)
    content = json.loads(json.dumps(CONTENT))
    content["methods"]["other"]["set"] = {"network_t": {"type": "EDSR"}}
    machine, runs = make(root, content, jobs=2)
    assert [run.needs_teacher for run in runs] == [False, False, True, False, True]
    machine.run_all(runs)
    assert all(machine.record_file(run).exists() for run in runs)


def test_torchrun_and_a_root_without_a_checkout(root):
    machine, runs = make(root, processes=4)
    train, test = machine.commands(runs[1])
    assert train[:7] == ["python", *runner.TORCHRUN, "--nproc_per_node=4", "basicsr/train.py"]
    assert train[-2:] == ["--launcher", "pytorch"] and "--launcher" not in test
    (root / "basicsr/train.py").unlink()
    assert make(root)[0].commands(runs[1])[0][1:3] == ["-m", "srkd_plugin.train"]


def test_caches_that_rows_name_are_made_once(root):
    (root / "srkd_plugin").mkdir()  # in place of ours: -m looks in the working directory first
    (root / "srkd_plugin/__init__.py").touch()
    (root / "srkd_plugin/__main__.py").write_text(
        "import sys, pathlib; pathlib.Path('calls.txt').open('a').write(' '.join(sys.argv[1:]) + '\\n');"
        "pathlib.Path(sys.argv[6]).mkdir(parents=True); sum(range(10**7))"  # some CPU time
    )
    content = json.loads(json.dumps(CONTENT))
    content["caches"] = {"x8": ["--self_ensemble"]}
    content["methods"]["other"]["cache"] = "x8"
    machine, runs = make(root, content)
    cached = [run for run in runs if run.method == "other"]
    assert [run.caches for run in cached] == [{"tables/t/cache_x8.lmdb": []}] * 2
    assert all(run.needs_teacher for run in cached)
    machine.run_all(runs)
    machine.run_all(runs)
    record = json.loads(machine.record_file(cached[0]).read_text())
    assert record["cache_cpu_seconds"] > 0
    made = [line for line in calls(root) if line.startswith("cache")]
    assert made == ["cache make -opt tables/t/options/t_other_s0.yml --out tables/t/cache_x8.lmdb --self_ensemble"]


MAKES = """
import fcntl, pathlib, sys, time
words = sys.argv[1:]
shard = words[words.index("--shard") + 1] if "--shard" in words else ""
out = pathlib.Path(words[words.index("--out") + 1])
def note(line):
    with open("calls.txt", "a") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        file.write(line + "\\n")
note("begin " + " ".join(words))
if pathlib.Path("fails").exists() and shard == pathlib.Path("fails").read_text():
    sys.exit("shard " + shard + " fails")
beside = pathlib.Path("beside")
if beside.exists():  # how many are made at the same time: each waits for the others
    (beside / out.name).touch()
    until = time.monotonic() + 60
    while len(list(beside.iterdir())) < 2 and time.monotonic() < until:
        time.sleep(0.01)
    note(f"beside {len(list(beside.iterdir()))}")
out.mkdir(parents=True)
note("end " + shard)
"""
"""Stands in for ours, which -m finds first in the working directory: srkd cache make, for shards."""
IN_SHARDS = {
    **CONTENT,
    "seeds": [0],
    "caches": {"plain": {"flags": ["--with-images"], "shards": 3}},
    "methods": {"none": {"file": "student.yml"}, "other": {"file": "student.yml", "cache": "plain"}},
}


@pytest.fixture
def makes(root):
    (root / "srkd_plugin").mkdir()
    (root / "srkd_plugin/__init__.py").touch()
    (root / "srkd_plugin/__main__.py").write_text(MAKES)
    return root


def test_a_cache_in_shards_is_made_part_by_part_and_read_as_a_list(makes):
    machine, runs = make(makes, IN_SHARDS)
    shards = [f"tables/t/cache_plain_{i}of3.lmdb" for i in (1, 2, 3)]
    assert runs[-1].train["datasets"]["train"]["dataroot_teacher"] == shards
    machine.run_all(runs)
    machine.run_all(runs)
    begun = [line for line in calls(makes) if "cache" in line or "end" in line or "other" in line]
    flags = "-opt tables/t/options/t_other_s0.yml --out"
    lines = [f"begin cache make {flags} {shard} --shard {i}/3 --with-images" for i, shard in enumerate(shards, 1)]
    assert begun == [
        *(line for i, made in enumerate(lines, 1) for line in (made, f"end {i}/3")),
        "train t_other_s0",
        "test t_other_s0_test",
    ]


def test_shards_are_made_in_the_slots_of_the_runs(makes):
    (makes / "beside").mkdir()
    machine, runs = make(makes, IN_SHARDS, jobs=2)
    machine.run_all(runs)
    assert "beside 2" in calls(makes) and sum(line.startswith("end") for line in calls(makes)) == 3


def test_a_shard_that_fails_is_named_and_the_others_are_kept(makes):
    (makes / "fails").write_text("2/3")
    said = []
    machine, runs = make(makes, IN_SHARDS, tell=lambda run, state, log: said.append((run.name, state, log.name)))
    with pytest.raises(runner.RunFailed, match=r"--shard 2/3 --with-images\nshard 2/3 fails"):
        machine.run_all(runs)
    assert ("t_other_s0", overview.FAILED, "cache_plain_2of3.txt") in said
    assert not any("--shard 3/3" in line for line in calls(makes)), "none is begun after it"
    (makes / "fails").unlink()
    make(makes, IN_SHARDS)[0].run_all(runs)
    assert sum("--shard 1/3" in line for line in calls(makes)) == 1
    assert "test t_other_s0_test" in calls(makes)


def test_each_of_several_teachers_has_its_shards(root):
    teachers = {name: {"network_t": {"type": "EDSR"}, "pretrain_network_t": f"{name}.pth"} for name in ("a", "b")}
    content = json.loads(json.dumps(IN_SHARDS))
    content["caches"]["plain"]["shards"] = 2
    content["methods"]["other"]["set"] = {"teachers": teachers}
    run = make(root, content)[1][-1]
    shards = {name: [f"tables/t/cache_plain_{name}_{i}of2.lmdb" for i in (1, 2)] for name in ("a", "b")}
    assert run.train["datasets"]["train"]["dataroot_teacher"] == shards
    assert run.caches[shards["b"][1]] == ["--teacher", "b", "--shard", "2/2"] and len(run.caches) == 4


def test_the_caches_of_several_teachers_are_made_one_by_one(root):
    """Each with the flags of the row's cache; one of the teachers is another row of the table, which is run before."""
    (root / "srkd_plugin").mkdir()
    (root / "srkd_plugin/__init__.py").touch()
    (root / "srkd_plugin/__main__.py").write_text(
        "import sys, pathlib; pathlib.Path('calls.txt').open('a').write(' '.join(sys.argv[1:]) + '\\n');"
        "pathlib.Path(sys.argv[6]).mkdir(parents=True)"
    )
    content = json.loads(json.dumps(CONTENT))
    content.update(caches={"plain": ["--with-images"]}, seeds=[0])
    files = {name: f"experiments/t_{run}/models/net_g_latest.pth" for name, run in (("a", "teacher"), ("b", "none_s0"))}
    teachers = {name: {"network_t": {"type": "EDSR"}, "pretrain_network_t": file} for name, file in files.items()}
    content["methods"]["both"] = {"file": "student.yml", "cache": "plain", "set": {"teachers": teachers}}
    machine, runs = make(root, content)
    both = next(run for run in runs if run.method == "both")
    assert both.train["datasets"]["train"]["dataroot_teacher"] == {
        name: f"tables/t/cache_plain_{name}.lmdb" for name in ("a", "b")
    }
    assert both.after == ("t_none_s0", "t_teacher")
    machine.run_all(runs)
    made = [line for line in calls(root) if "cache" in line or "t_both_s0" in line or "train t_none" in line]
    flags = "-opt tables/t/options/t_both_s0.yml --out tables/t/cache_plain_{0}.lmdb --teacher {0} --with-images"
    assert made == [
        "train t_none_s0",
        *(f"cache make {flags.format(name)}" for name in ("a", "b")),
        "train t_both_s0",
        "test t_both_s0_test",
    ]


def test_selection(root):
    _, runs = make(root)
    assert [run.name for run in run_selection.select(runs, ["other"], [1])] == ["t_teacher", "t_other_s1"]
    with pytest.raises(OptionsError, match=r"--methods = 'otter': the table has none. It has: none, other"):
        run_selection.select(runs, ["otter"], None)


CHAIN = {
    **CONTENT,
    "methods": {
        "quarter": {"file": "distill.yml", "start_from": "half"},
        "half": {"file": "distill.yml", "start_from": "none"},
        "none": {"file": "student.yml"},
    },
}


def write_distillation(root):
    opt = yaml.safe_load((root / "options/student.yml").read_text())
    (root / "options/distill.yml").write_text(yaml.safe_dump({**opt, "model_type": "DistillModel"}))


@pytest.mark.parametrize("jobs", [1, 2])
def test_rows_that_start_from_each_other_are_run_one_after_another(root, jobs):
    """Each training looks whether the weights that it is cut from are there."""
    write_distillation(root)
    look = "\nfile = opt.get('student', {}).get('cut_from', {}).get('pretrain_network_g')\n"
    look += "assert file is None or pathlib.Path(file).exists(), file\n"
    look += "weights = pathlib.Path('experiments', opt['name'], 'models'); weights.mkdir(parents=True)\n"
    look += "(weights / 'net_g_latest.pth').touch()\n"
    (root / "basicsr/train.py").write_text(TRAIN + look)
    machine, runs = make(root, CHAIN, jobs=jobs)
    assert [run.name for run in runs[:4]] == ["t_teacher", "t_half_s0", "t_none_s0", "t_quarter_s0"]
    machine.run_all(runs)
    assert all(machine.record_file(run).exists() for run in runs)
    order = [line.split()[1] for line in calls(root) if line.startswith("train")]
    for seed in ("s0", "s1"):
        assert order.index(f"t_none_{seed}") < order.index(f"t_half_{seed}") < order.index(f"t_quarter_{seed}")


def test_a_chain_goes_on_where_it_failed(root):
    write_distillation(root)
    (root / "break").write_text("t_half_s0")
    machine, runs = make(root, CHAIN)
    with pytest.raises(runner.RunFailed, match="t_half_s0"):
        machine.run_all(runs)
    assert not [line for line in calls(root) if "quarter" in line]
    (root / "break").unlink()
    make(root, CHAIN)[0].run_all(runs)
    assert (calls(root).count("train t_none_s0"), calls(root).count("train t_quarter_s0")) == (1, 1)


def test_the_rows_that_a_chosen_row_starts_from_are_chosen_too(root):
    write_distillation(root)
    _, runs = make(root, CHAIN)
    chosen = run_selection.select(runs, ["quarter"], [1])
    assert [run.name for run in chosen] == ["t_teacher", "t_half_s1", "t_none_s1", "t_quarter_s1"]
    assert [run.name for run in run_selection.select(runs, ["half"], [0])] == ["t_teacher", "t_half_s0", "t_none_s0"]


def test_stored_results_are_read_back_equal(root, tmp_path):
    machine, runs = make(root)
    machine.run_all(runs[:3])
    records = {run.name: json.loads(machine.record_file(run).read_text()) for run in runs[:3]}
    found = results.collect(runs, records)
    results.save(found, tmp_path / "kept")
    assert results.load(tmp_path / "kept") == found
    assert {one.method for one in found.images} == {"bicubic", "teacher", "none", "other"}
    (tmp_path / "kept/images.csv").write_text("method,seed\na,b\n")
    with pytest.raises(OptionsError, match=r"images.csv.*cannot be read as the table's images"):
        results.load(tmp_path / "kept")


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"method,seed,set,image,psnr\n",
        b"\x89PNG\r\n\x1a\n\x00\x00\x00\rIHDR",
        b"method,seed,set,image,psnr\nnone,0,S\n",
        b"method,seed,set,image,psnr\nnone,0,S,i,nan\n",
        b"method,seed,set,image,psnr,more\nnone,0,S,i,30.0,1\n",
    ],
    ids=["empty", "header alone", "binary", "short row", "nan", "another column"],
)
def test_stored_results_that_are_none(root, tmp_path, content):
    machine, runs = make(root)
    machine.run_all(runs[:2])
    results.save(
        results.collect(runs, {r.name: json.loads(machine.record_file(r).read_text()) for r in runs[:2]}), tmp_path
    )
    (tmp_path / "images.csv").write_bytes(content)
    with pytest.raises(OptionsError, match=r"images.csv.*(cannot be read as the table's images|holds no results)"):
        results.load(tmp_path)


@pytest.mark.parametrize(
    "change",
    [
        lambda record: None,
        lambda record: [],
        lambda record: {},
        lambda record: {**record, "psnr": {"run": record["psnr"]["run"]}},
        lambda record: {**record, "curve": [1000, 30.0]},
        lambda record: {**record, "curve": [[1000, math.nan]]},
        lambda record: {**record, "psnr": {**record["psnr"], "run": {"S": {"p0": "30"}}}},
        lambda record: {key: value for key, value in record.items() if key != "parameters"},
    ],
)
def test_a_damaged_record_is_named(root, change):
    machine, runs = make(root)
    machine.run_all(runs[:1])
    file = machine.record_file(runs[0])
    results.of_finished(runs, machine.record_file)
    file.write_text(json.dumps(change(json.loads(file.read_text()))))
    with pytest.raises(OptionsError, match=r"record = '.*t_teacher.json': it cannot be read as the record of a run"):
        results.of_finished(runs, machine.record_file)


def test_names_with_commas_are_stored_and_read(tmp_path):
    found = results.Results([results.ImageResult("a, b", 0, "S", 'x,"1"', 30.0)], [], [])
    results.save(found, tmp_path)
    assert results.load(tmp_path) == found


def test_the_sheet_of_crops_has_a_row_a_set(root, tmp_path):
    from srkd_plugin.tables.plots import draw_sheet

    machine, runs = make(root)
    machine.run_all(runs[:3])
    table = plan.read_table(root / "options/tables/t.yml")
    draw_sheet(table, runs[:3], root, tmp_path / "sheet.png")
    assert cv2.imread(str(tmp_path / "sheet.png")).std() > 10


OTHER = """
from pathlib import Path
from srkd_plugin.utils.owner import owned
with owned("table", Path(sys.argv[1])):
    wait()
"""


def test_a_table_that_another_process_carries_out(root):
    machine, runs = make(root)
    with other_process.waiting(OTHER, machine.folder) as other, other_process.is_named(other):
        machine.run_all(runs)
    assert not (root / "calls.txt").exists()


def test_what_each_run_does_is_told_and_why_one_failed(root):
    told = []
    machine, runs = make(root)
    machine.tell = lambda run, state, log: told.append((run.name, state, log.name))
    machine.run_all(runs[:2])
    assert told == [
        ("t_teacher", "trains", "t_teacher_train.txt"),
        ("t_teacher", "is tested", "t_teacher_test.txt"),
        ("t_teacher", "done", "t_teacher_test.txt"),
        ("t_none_s0", "trains", "t_none_s0_train.txt"),
        ("t_none_s0", "is tested", "t_none_s0_test.txt"),
        ("t_none_s0", "done", "t_none_s0_test.txt"),
    ]
    told.clear()
    (root / "break").write_text(name := runs[2].name)
    machine, _ = make(root)
    machine.tell = lambda run, state, log: told.append((run.name, state, log.name))
    with pytest.raises(runner.RunFailed):
        machine.run_all(runs[:3])
    assert told == [(name, "trains", f"{name}_train.txt"), (name, "failed", f"{name}_train.txt")]
    assert overview.last_line(machine.log_file(runs[2], "train")) == "it broke"


class Terminal(io.StringIO):
    def isatty(self):
        return True


def test_the_command_shows_its_runs_at_a_terminal_and_otherwise_the_commands_alone(root, monkeypatch, capsys):
    machine, runs = make(root)
    machine.show = table._show
    table._run_all(machine, runs[:1], "t")
    quiet = capsys.readouterr()
    assert quiet.err == "" and all(line.startswith("$ python basicsr/") for line in quiet.out.splitlines())

    (root / "break").write_text(name := runs[2].name)
    machine, _ = make(root)
    monkeypatch.setattr("sys.stderr", terminal := Terminal())
    with pytest.raises(runner.RunFailed):
        table._run_all(machine, runs[:3], "t")
    assert capsys.readouterr().out.splitlines()[0] == f"$ {' '.join(['python', *machine.commands(runs[1])[0][1:]])}"
    assert "done: t_none_s0\n" in terminal.getvalue() and f"failed: {name}: it broke\n" in terminal.getvalue()
    assert "t: 1 of 3 runs done" in terminal.getvalue() and "t: 2 of 3 runs done" in terminal.getvalue()
