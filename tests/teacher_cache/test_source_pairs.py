"""Training images as a cache knows them: keys that come once, sizes as BasicSR reads them, each folder listed once."""

import copy
import os
import random
import shutil

import cached
import cv2
import numpy as np
import pytest
import tiny
import torch
from basicsr.data.paired_image_dataset import PairedImageDataset
from photos import photo
from PIL import Image

from srkd_plugin.errors import InputError
from srkd_plugin.images import lmdb_store
from srkd_plugin.parallel import ranks
from srkd_plugin.preflight import on_all_ranks, run_checks
from srkd_plugin.teacher_cache.make import make_cache
from srkd_plugin.teacher_cache.store import CacheReader
from srkd_plugin.teacher_cache.teacher_cache_dataset import TeacherCacheDataset


@pytest.fixture
def opt(data, teacher_file):
    return tiny.distill_options(data, teacher_file)


@pytest.fixture
def twins(opt, data, tmp_path):
    """A training set in folders with im0.png and im0.bmp, which are different images."""
    for name, shape in (("HR", (48, 40)), ("LR", (24, 20))):
        shutil.copytree(data / name, tmp_path / name)
        cv2.imwrite(str(tmp_path / name / "im0.bmp"), photo(9, *shape))
    roots = {"dataroot_gt": str(tmp_path / "HR"), "dataroot_lq": str(tmp_path / "LR")}
    opt["datasets"]["train"].update(io_backend={"type": "disk"}, **roots)
    return opt


def test_two_images_of_one_stem_are_refused(twins, cache, tmp_path):
    says = r"im0\.\w+ and im0\.\w+ have the same name but for the extension, and one key in a cache"
    with pytest.raises(InputError, match=says):
        make_cache(cached.job(twins, tmp_path / "c.lmdb"))
    run_checks.check(tiny.parsed(copy.deepcopy(twins), tmp_path))  # without a cache they are two images
    twins["datasets"]["train"].update(type="TeacherCacheDataset", dataroot_teacher=str(cache))
    with pytest.raises(InputError, match=says):
        run_checks.check(tiny.parsed(copy.deepcopy(twins), tmp_path))
    with pytest.raises(InputError, match=says):
        TeacherCacheDataset({**twins["datasets"]["train"], "scale": 2, "phase": "train"})


def turn(folder, name):
    """Make an image a JPEG that is stored turned, and shown as it was."""
    image = Image.open(folder / name)
    tags = Image.Exif()
    tags[0x0112] = 6
    image.transpose(Image.Transpose.ROTATE_90).save(folder / f"{name[:-4]}.jpg", "JPEG", quality=95, exif=tags)
    (folder / name).unlink()


def test_a_set_with_turned_images_has_a_cache(opt, data, tmp_path):
    for name in ("HR", "LR"):
        shutil.copytree(data / name, tmp_path / name)
        turn(tmp_path / name, "im2.png")
    roots = {"dataroot_gt": str(tmp_path / "HR"), "dataroot_lq": str(tmp_path / "LR")}
    train_set = opt["datasets"]["train"]
    train_set.update(io_backend={"type": "disk"}, **roots)
    make_cache(cached.job(opt, tmp_path / "c.lmdb", with_images=True))
    with CacheReader("c", tmp_path / "c.lmdb").views() as view:
        assert view("teacher", "im2").shape == (48, 40, 3)
    train_set.update(type="TeacherCacheDataset", dataroot_teacher=str(tmp_path / "c.lmdb"))
    run_checks.check(tiny.parsed(copy.deepcopy(opt), tmp_path))
    dataset = TeacherCacheDataset({**train_set, "scale": 2, "phase": "train", "gt_size": 40})
    assert len([dataset[index] for index in range(6)]) == 6


def test_what_a_cache_leaves_out_is_said(opt, data, tmp_path, capsys):
    for name in ("HR", "LR"):
        shutil.copytree(data / name, tmp_path / name)
    (tmp_path / "HR/._im0.png").write_bytes(b"")
    roots = {"dataroot_gt": str(tmp_path / "HR"), "dataroot_lq": str(tmp_path / "LR")}
    opt["datasets"]["train"].update(io_backend={"type": "disk"}, **roots)
    make_cache(cached.job(opt, tmp_path / "c.lmdb"))
    assert capsys.readouterr().err.count(f"left out of {tmp_path / 'HR'}: 1 hidden file(s) (._im0.png)\n") == 1


def test_16_bits_are_read_as_8_with_a_cache_and_without(opt, data, tmp_path, capsys):
    for name in ("HR", "LR"):
        shutil.copytree(data / name, tmp_path / name)
    file = str(tmp_path / "LR/im2.png")
    deep = cv2.imread(file).astype(np.uint16) * 256 + 200  # rounded, it would be another image
    assert cv2.imwrite(file, deep)
    roots = {"dataroot_gt": str(tmp_path / "HR"), "dataroot_lq": str(tmp_path / "LR")}
    train_set = opt["datasets"]["train"]
    train_set.update(io_backend={"type": "disk"}, **roots)
    line = "datasets.train.dataroot_lq: 1 images have 16 bits per sample (im2); BasicSR reads the upper 8"
    assert line in run_checks.check(tiny.parsed(copy.deepcopy(opt), tmp_path)).warnings
    make_cache(cached.job(opt, tmp_path / "c.lmdb"))
    assert f"{line}\n" in capsys.readouterr().err
    train_set.update(type="TeacherCacheDataset", dataroot_teacher=str(tmp_path / "c.lmdb"))
    assert line in run_checks.check(tiny.parsed(copy.deepcopy(opt), tmp_path)).warnings
    section = {**train_set, "scale": 2, "phase": "train", "gt_size": 40, "use_hflip": False, "use_rot": False}
    items = []
    for dataset in (TeacherCacheDataset, PairedImageDataset):
        random.seed(0)
        opened = dataset(copy.deepcopy(section))
        items.append(opened[[path["lq_path"] for path in opened.paths].index(file)]["lq"])
    assert torch.equal(*items)


@pytest.mark.parametrize("backend", ["disk", "lmdb"])
def test_8_bits_need_no_note(opt, data, tmp_path, backend):
    ending = ".lmdb" if backend == "lmdb" else ""
    roots = {f"dataroot_{side}": f"{data / name}{ending}" for side, name in (("gt", "HR"), ("lq", "LR"))}
    opt["datasets"]["train"].update(io_backend={"type": backend}, **roots)
    assert not any("16 bits" in line for line in run_checks.check(tiny.parsed(opt, tmp_path)).warnings)


@pytest.fixture
def listed(monkeypatch):
    """The paths of folders that are listed and of LMDBs whose keys are read, as often as they are."""
    listed, scandir, read_meta_info = [], os.scandir, lmdb_store.read_meta_info

    def count_folder(path="."):
        listed.append(str(path))
        return scandir(path)

    def count_lmdb(option, folder):
        listed.append(str(folder))
        return read_meta_info(option, folder)

    monkeypatch.setattr(os, "scandir", count_folder)
    monkeypatch.setattr(lmdb_store, "read_meta_info", count_lmdb)
    return listed


@pytest.mark.parametrize("kind", ["disk", "lmdb"])
def test_a_cached_run_on_several_ranks_lists_its_images_once(opt, data, cache, tmp_path, monkeypatch, listed, kind):
    """The check of the data, that of the cache and the comparison of the ranks have one listing; no set is built."""
    ending = ".lmdb" if kind == "lmdb" else ""
    roots = {f"dataroot_{side}": f"{data / name}{ending}" for side, name in (("gt", "HR"), ("lq", "LR"))}
    train_set = {"type": "TeacherCacheDataset", "dataroot_teacher": str(cache), "io_backend": {"type": kind}, **roots}
    opt["datasets"]["train"].update(train_set)
    del opt["datasets"]["val"]
    opt["val"] = None
    monkeypatch.setattr(ranks, "count", lambda: 2)
    monkeypatch.setattr(on_all_ranks, "told_by_all", lambda facts, error, what: [(facts, error)] * 2)
    monkeypatch.setattr(on_all_ranks, "raise_first_error", lambda by_rank, error: None)
    compared = []
    monkeypatch.setattr(on_all_ranks, "refuse_differences", lambda _, by_rank, __: compared.append(by_rank[0][0]))
    monkeypatch.setattr(on_all_ranks, "build_dataset", lambda section: pytest.fail("built"))
    on_all_ranks.check_on_all_ranks(run_checks.check, tiny.parsed(opt, tmp_path))
    assert sorted(path for path in listed if str(data) in path) == sorted(roots.values())
    assert compared[-1]["data"]["datasets.train"].startswith("6 images (names in order: ")
