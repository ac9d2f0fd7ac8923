"""The corpus of faulty options files in ``tests/bad_options/``.

A case is a shipped file (``base``), what is ``set`` in it and ``remove``d from it (dotted keys), or ``append``ed to its
text, and what the error ``says``. ``{files}`` stands for the folder that the fixture ``files`` makes. Every case goes
through BasicSR's own ``parse_options``; a few go through ``basicsr/train.py``. To add cases, add a file or an entry.
"""

import copy
import os
import random
import resource
import shutil
import sys
from pathlib import Path

import cached
import cv2
import numpy as np
import pytest
import tiny
import torch
import yaml
from basicsr.archs import build_network
from basicsr.utils import options as stock_options

from srkd_plugin.parallel.cuda import has_cuda
from srkd_plugin.teacher_cache.info import Shard
from srkd_plugin.teacher_cache.make import make_cache

CORPUS = Path(__file__).with_name("bad_options")
CASES = [(file.stem, case) for file in sorted(CORPUS.glob("*.yml")) for case in yaml.safe_load(file.read_text())]
PRECIOUS = "models/net_g_latest.pth"
LIMIT = 10
"""Seconds of processor time, start of Python and torch included."""


def case_id(entry):
    changes = entry.get("set") or entry.get("remove") or entry.get("append")
    return f"{entry['base']}: {changes}"[:90].strip()


def load(name):
    return yaml.safe_load((tiny.PROJECT / f"options/{name}.yml").read_text())


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """Images large enough for the shipped files, weights, and what is wrong with other people's files."""
    root = tiny.make_pairs(tmp_path_factory.mktemp("files"), height=120, width=108)
    demo = load("demo_distill_cl_l1")
    for key, name in (("network_g", "demo_student"), ("network_t", "demo_teacher")):
        torch.save({"params": build_network(copy.deepcopy(demo[key])).state_dict()}, root / f"{name}.pth")
    whole = (root / "demo_teacher.pth").read_bytes()
    (root / "truncated.pth").write_bytes(whole[: len(whole) // 2])
    (root / "text.pth").write_text("a web page instead of the file")
    torch.save({"params": {"opener": os.system}}, root / "program.pth")
    (root / "empty").mkdir()
    shutil.copytree(root / "HR.lmdb", root / "no_meta_info.lmdb")
    (root / "no_meta_info.lmdb/meta_info.txt").unlink()
    shutil.copytree(root / "HR.lmdb", root / "no_cache.lmdb")
    make_caches(root, demo)
    (root / "X4").mkdir()
    for image in (root / "HR").iterdir():
        cv2.imwrite(str(root / "X4" / image.name), cv2.resize(cv2.imread(str(image)), None, fx=1 / 4, fy=1 / 4))
    (root / "meta_info_of_another.txt").write_text("0801.png (120,108,3)\n")
    return root


def make_caches(root, demo):
    """The cache of another teacher, one that was not finished, and a shard."""
    torch.save({"params": build_network(copy.deepcopy(demo["network_t"])).state_dict()}, root / "another_teacher.pth")
    opt = {**copy.deepcopy(demo), "num_gpu": 0}
    opt["datasets"]["train"].update(dataroot_gt=str(root / "HR.lmdb"), dataroot_lq=str(root / "LR.lmdb"))
    opt["path"]["pretrain_network_t"] = str(root / "another_teacher.pth")
    make_cache(cached.job(opt, root / "cache_of_another.lmdb"))
    shutil.copytree(root / "cache_of_another.lmdb", root / "stopped.lmdb.unfinished")
    make_cache(cached.job(opt, root / "shard.lmdb", Shard(index=1, count=2)))


def good(base, files):
    """A shipped file that can be run here: its data and weights are elsewhere, all else is as shipped."""
    opt = load(base)
    opt["num_gpu"] = 0
    opt["datasets"]["train"].update(dataroot_gt=str(files / "HR.lmdb"), dataroot_lq=str(files / "LR.lmdb"))
    opt["datasets"]["val"].update(dataroot_gt=str(files / "HR"), dataroot_lq=str(files / "LR"))
    if opt["model_type"] == "RealESRDistillModel":
        del opt["datasets"]["train"]["dataroot_lq"]
        opt["datasets"]["val"]["dataroot_lq"] = str(files / "X4")
    if "demo" in base:
        opt["path"]["pretrain_network_t"] = str(files / "demo_teacher.pth")
    else:  # 163 MB of weights for nothing
        opt["path"]["pretrain_network_t"], opt["teacher"]["random_init"] = None, True
    return opt


def faulty(case, files):
    """The text of a case's options file."""
    opt = good(case["base"], files)
    for path in case.get("remove", []):
        section, key = walk(opt, path)
        del section[key]
    for path, value in case.get("set", {}).items():
        section, key = walk(opt, path)
        section[key] = with_files(value, files)
    return yaml.safe_dump(opt, sort_keys=False) + case.get("append", "")


def with_files(value, files):
    if isinstance(value, list):
        return [with_files(one, files) for one in value]
    return value.replace("{files}", str(files)) if isinstance(value, str) else value


def walk(opt, path):
    *parents, key = path.split(".")
    for parent in parents:
        opt = opt.setdefault(parent, {})
    return opt, key


@pytest.fixture
def root(tmp_path):
    """A BasicSR root with an earlier experiment of every base's name, which stock would archive."""
    for base in sorted({case["base"] for _, case in CASES}):
        file = tmp_path / "root/experiments" / load(base)["name"] / PRECIOUS
        file.parent.mkdir(parents=True)
        file.write_bytes(b"precious")
    return tmp_path / "root"


@pytest.fixture
def random_states_kept():
    """BasicSR seeds all generators when it parses options."""
    states = random.getstate(), np.random.get_state()
    with torch.random.fork_rng(devices=[]):
        yield
    random.setstate(states[0])
    np.random.set_state(states[1])


def stats(folder):
    """Every file and folder with size and time, for folders that are too large to be read for each case."""
    return {p: (p.stat().st_size, p.stat().st_mtime_ns) for p in [folder, *folder.rglob("*")]}


def parse(file, root, monkeypatch):
    monkeypatch.chdir(root)
    monkeypatch.setattr(sys, "argv", ["train.py", "-opt", str(file)])
    return stock_options.parse_options(str(root), is_train=True)


def assert_one_line(text, says):
    lines = [line for line in text.splitlines() if line.startswith("srkd_plugin: options error: ")]
    assert len(lines) == 1, text
    assert says in lines[0]
    assert "Traceback" not in text


def test_the_corpus_is_large_and_has_no_case_twice():
    assert len(CASES) >= 60
    cases = [{k: v for k, v in case.items() if k != "says"} for _, case in CASES]
    assert all(cases.count(case) == 1 for case in cases)
    assert all(case.keys() <= {"base", "set", "remove", "append", "says", "unless"} for _, case in CASES)


@pytest.mark.usefixtures("random_states_kept")
@pytest.mark.parametrize("base", sorted({case["base"] for _, case in CASES}))
def test_without_its_fault_the_file_is_accepted(base, files, root, tmp_path, monkeypatch):
    file = tiny.write_options(good(base, files), tmp_path / "good.yml")
    opt, _ = parse(file, root, monkeypatch)
    assert opt["name"] == load(base)["name"]


@pytest.mark.usefixtures("random_states_kept")
@pytest.mark.parametrize("case", [case for _, case in CASES], ids=[f"{f}: {case_id(case)}" for f, case in CASES])
def test_one_line_and_nothing_on_disk_changes(case, files, root, tmp_path, monkeypatch, capfd):
    if case.get("unless") == "cuda" and has_cuda():
        pytest.skip("there is a CUDA device")
    file = tmp_path / "bad.yml"
    file.write_text(faulty(case, files))
    before = tiny.tree(tmp_path), stats(files)
    with pytest.raises(SystemExit) as ended:
        parse(file, root, monkeypatch)
    assert ended.value.code == 2
    assert_one_line(capfd.readouterr().err, case["says"])
    assert (tiny.tree(tmp_path), stats(files)) == before


@pytest.mark.usefixtures("random_states_kept")
def test_a_key_that_looks_like_one_of_basicsrs_is_said_once_and_the_run_begins(
    files, root, tmp_path, monkeypatch, capfd
):
    changes = {"train.ema_decy": 0.999, "val.metrics.psnr.test_y_chanel": True}
    file = tmp_path / "fork.yml"
    file.write_text(faulty({"base": "demo_distill_cl_l1", "set": changes}, files))
    parse(file, root, monkeypatch)
    said = [line for line in capfd.readouterr().err.splitlines() if line.startswith("srkd_plugin: ")]
    left = "unknown key, which is left to BasicSR. Did you mean"
    assert said == [
        f"srkd_plugin: warning: train.ema_decy = 0.999: {left} 'ema_decay'?",
        f"srkd_plugin: warning: val.metrics.psnr.test_y_chanel = True: {left} 'test_y_channel'?",
    ]


def with_says(part):
    (case,) = (case for _, case in CASES if part in case["says"])
    return case


@pytest.mark.integration
@tiny.needs_autoload
@pytest.mark.parametrize(
    "part", ["simularity", "stop (100)", "it holds more", "'../../elsewhere'", "name is missing"], ids=lambda part: part
)
def test_basicsrs_own_script(part, files, checkout, root, elsewhere):
    case = with_says(part)
    shutil.copytree(root / "experiments", checkout / "experiments")
    file = elsewhere / "bad.yml"
    file.write_text(faulty(case, files))
    before = tiny.tree(checkout / "experiments"), set(checkout.iterdir()), tiny.tree(elsewhere), stats(files)
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    done = tiny.run(checkout / "basicsr/train.py", "-opt", file, cwd=elsewhere)
    now = resource.getrusage(resource.RUSAGE_CHILDREN)
    assert done.returncode == 2, done.stdout
    assert_one_line(done.stdout, case["says"])
    assert now.ru_utime + now.ru_stime - used.ru_utime - used.ru_stime < LIMIT
    assert (tiny.tree(checkout / "experiments"), set(checkout.iterdir()), tiny.tree(elsewhere), stats(files)) == before
