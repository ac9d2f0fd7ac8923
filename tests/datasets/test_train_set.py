"""Training sets: BasicSR's recipe, continued after interruptions, never overwritten."""

from __future__ import annotations

import json
import shutil

import cv2
import numpy as np
import other_process
import pytest
from basicsr.data.paired_image_dataset import PairedImageDataset
from photos import photo, write_photos

from srkd_plugin.datasets import train_set
from srkd_plugin.datasets.sub_images import starts
from srkd_plugin.datasets.train_set import TrainSet, make_train_set
from srkd_plugin.errors import InputError
from srkd_plugin.images.decode import decode
from srkd_plugin.images.lmdb_store import LmdbImages
from srkd_plugin.images.matlab_resize import downscale
from srkd_plugin.utils.files import sha256_of_lines


@pytest.fixture
def wanted(tmp_path):
    hr = write_photos(tmp_path / "photos", 3, h=50, w=67)
    return TrainSet((hr,), tmp_path / "out", "train", (2, 3), size=24, step=12)


def content(wanted):
    stored = {kind: LmdbImages("out", path) for kind, path in wanted.lmdbs.items()}
    return {kind: {key: images.read(key) for key in images.keys()} for kind, images in stored.items()}  # noqa: SIM118


def test_the_recipe_is_basicsrs():
    # extract_subimages.py on a DIV2K photograph: np.arange(0, 1356 - 480 + 1, 240), and one at the border
    assert starts(1356, 480, 240) == [0, 240, 480, 720, 876]
    assert starts(2040, 480, 240) == [0, 240, 480, 720, 960, 1200, 1440, 1560]
    assert starts(480, 480, 240) == starts(321, 480, 240) == [0]


def test_sub_images_are_pairs(wanted):
    make_train_set(wanted)
    stored = content(wanted)
    hr = photo(1, 50, 67)[:48, :66]
    assert len(stored["HR"]) == 3 * 3 * 5
    for scale in (2, 3):
        lr = downscale(np.ascontiguousarray(photo(1, 50, 67)[: 50 - 50 % scale, : 67 - 67 % scale]), scale)
        assert stored[scale].keys() == stored["HR"].keys()
        for number, (y, x) in enumerate([(y, x) for y in (0, 12, 24) for x in (0, 12, 24, 36, 42)], start=1):
            key = f"p1_s{number:03d}"
            np.testing.assert_array_equal(decode(stored["HR"][key]), hr[y : y + 24, x : x + 24])
            size, y, x = 24 // scale, y // scale, x // scale
            np.testing.assert_array_equal(decode(stored[scale][key]), lr[y : y + size, x : x + size])


def test_basicsr_trains_from_it(wanted):
    make_train_set(wanted)
    opt = {
        "dataroot_gt": str(wanted.lmdbs["HR"]),
        "dataroot_lq": str(wanted.lmdbs[2]),
        "io_backend": {"type": "lmdb"},
        "scale": 2,
        "phase": "train",
        "gt_size": 16,
        "use_hflip": True,
        "use_rot": True,
    }
    dataset = PairedImageDataset(opt)
    assert len(dataset) == 45
    assert dataset[44]["gt"].shape == (3, 16, 16)
    assert dataset[44]["lq"].shape == (3, 8, 8)


def test_what_is_written_beside_it(wanted):
    info = make_train_set(wanted)
    keys = list(LmdbImages("out", wanted.lmdbs[2]).shapes)
    entry = info["lmdbs"]["train_LR_bicubic_X2_sub.lmdb"]
    assert entry["images"] == 45
    assert entry["bytes"] == (wanted.lmdbs[2] / "data.mdb").stat().st_size
    assert entry["sha256 of keys"] == sha256_of_lines(keys)
    assert json.loads(wanted.info.read_text()) == info
    assert wanted.meta_info.read_text().splitlines()[0] == "p0_s001.png (24,24,3)"
    assert not wanted.work.exists()


def test_what_is_left_out_is_said_once(wanted, capsys):
    (wanted.hr[0] / "p9.gif").write_bytes(b"")
    make_train_set(wanted)
    assert capsys.readouterr().err.count(f"left out of {wanted.hr[0]}: 1 file(s) by their extension (p9.gif)\n") == 1


def test_official_lr_is_cut_and_checked(wanted, tmp_path):
    lr = tmp_path / "X2"
    lr.mkdir()
    for number in range(3):
        cv2.imwrite(str(lr / f"p{number}x2.png"), photo(100 + number, 25, 33))
    with_lr = TrainSet(wanted.hr, tmp_path / "out", "train", (2,), {2: lr}, size=24, step=12)
    make_train_set(with_lr)
    np.testing.assert_array_equal(decode(content(with_lr)[2]["p0_s002"]), photo(100, 25, 33)[:12, 6:18])

    cv2.imwrite(str(lr / "p1x2.png"), photo(101, 25, 32))
    with pytest.raises(InputError, match=r"p1x2\.png.*\(25, 32\).*\(25, 33\)"):
        make_train_set(TrainSet(wanted.hr, tmp_path / "out2", "train", (2,), {2: lr}, size=24, step=12))
    (lr / "p1x2.png").unlink()
    with pytest.raises(InputError, match=r"--lq = .*no p1 and no p1x2"):
        make_train_set(TrainSet(wanted.hr, tmp_path / "out3", "train", (2,), {2: lr}, size=24, step=12))
    assert not (tmp_path / "out3").exists()


def test_small_and_gray_photographs(tmp_path):
    hr = tmp_path / "photos"
    hr.mkdir()
    cv2.imwrite(str(hr / "small.png"), photo(0, 21, 33)[:, :, 0])
    wanted = TrainSet((hr,), tmp_path / "out", "train", (2,), size=24, step=12)
    make_train_set(wanted)
    assert LmdbImages("out", wanted.lmdbs["HR"]).shapes == {"small_s001": (20, 24, 3), "small_s002": (20, 24, 3)}
    assert set(LmdbImages("out", wanted.lmdbs[2]).shapes.values()) == {(10, 12, 3)}


@pytest.mark.parametrize("moment", ["cutting", "moving"])
def test_an_interrupted_run_is_continued(wanted, moment, monkeypatch):
    reference = TrainSet(wanted.hr, wanted.out.parent / "whole", "train", wanted.scales, size=24, step=12)
    make_train_set(reference)
    monkeypatch.setattr(train_set, "FLUSH_BYTES", 1)
    cut, seen = train_set.cut, []

    def cut_two(job):
        seen.append(job.stem)
        if moment == "cutting" and len(seen) == 3:
            raise KeyboardInterrupt
        return cut(job)

    replace = train_set.os.replace

    def replace_two(source, target):
        if moment == "moving" and str(target) == str(wanted.lmdbs[3]):
            raise KeyboardInterrupt
        replace(source, target)

    with monkeypatch.context() as patch:
        patch.setattr(train_set, "cut", cut_two)
        patch.setattr(train_set.os, "replace", replace_two)
        with pytest.raises(KeyboardInterrupt):
            make_train_set(wanted)
    assert not wanted.info.exists()
    monkeypatch.setattr(train_set, "cut", lambda job: seen.append(job.stem) or cut(job))
    info = make_train_set(wanted)
    assert seen == (["p0", "p1", "p2", "p2"] if moment == "cutting" else ["p0", "p1", "p2"]), "nothing is done twice"
    assert content(wanted) == content(reference)
    assert [entry["sha256 of keys"] for entry in info["lmdbs"].values()] == [
        entry["sha256 of keys"] for entry in make_train_set(reference)["lmdbs"].values()
    ]


def test_a_complete_set_is_verified_and_kept(wanted, monkeypatch):
    info = make_train_set(wanted)
    before = {path: path.stat().st_mtime_ns for path in wanted.out.rglob("*") if path.name != "lock.mdb"}
    monkeypatch.setattr(train_set, "cut", None)
    assert make_train_set(wanted) == info
    assert {path: path.stat().st_mtime_ns for path in before} == before


def test_another_set_is_replaced_only_by_force(wanted):
    make_train_set(wanted)
    before = content(wanted)
    other = TrainSet(wanted.hr, wanted.out, "train", wanted.scales, size=36, step=12)
    with pytest.raises(InputError, match=r"another set .*size: 24, and not 36.*--force"):
        make_train_set(other)
    assert content(wanted) == before
    assert not wanted.work.exists()
    make_train_set(other, force=True)
    assert LmdbImages("out", other.lmdbs["HR"]).shapes["p0_s001"] == (36, 36, 3)
    assert not wanted.work.exists()


def test_a_damaged_set_is_named_and_replaced_by_force(wanted):
    make_train_set(wanted)
    before = content(wanted)
    meta = wanted.lmdbs[3] / "meta_info.txt"
    meta.write_text("".join(meta.read_text().splitlines(keepends=True)[1:]))
    with pytest.raises(InputError, match=r"X3_sub\.lmdb is damaged: meta_info\.txt: lacks p0_s001"):
        make_train_set(wanted)
    make_train_set(wanted, force=True)
    assert content(wanted) == before


def test_unfinished_work_of_another_recipe_is_kept(wanted):
    wanted.work.mkdir(parents=True)
    (wanted.work / "recipe.json").write_text(json.dumps({**wanted.recipe, "step": 99}))
    with pytest.raises(InputError, match=r"unfinished work is there: .*step: 99"):
        make_train_set(wanted)
    make_train_set(wanted, force=True)
    assert wanted.info.exists()


def test_a_strangers_lmdb_is_kept(wanted):
    wanted.lmdbs["HR"].mkdir(parents=True)
    (wanted.lmdbs["HR"] / "data.mdb").write_bytes(b"precious")
    with pytest.raises(InputError, match="not made by this command"):
        make_train_set(wanted)
    assert (wanted.lmdbs["HR"] / "data.mdb").read_bytes() == b"precious"
    assert not wanted.work.exists()


def test_bad_sources_are_named_and_nothing_is_written(wanted, tmp_path):
    dotted = write_photos(tmp_path / "dotted", 1)
    (dotted / "p0.png").rename(dotted / "p0.v2.png")
    twice = write_photos(tmp_path / "twice", 1)
    for folders, words in (
        ((dotted,), r"p0\.v2.*first dot"),
        ((*wanted.hr, twice), "p0 is in .*photos too"),
        ((tmp_path / "none",), "no such folder"),
    ):
        with pytest.raises(InputError, match=words):
            make_train_set(TrainSet(folders, wanted.out, "train", (2,), size=24, step=12))
    with pytest.raises(InputError, match=r"--size = 25: .*multiple of the scale, 2"):
        TrainSet(wanted.hr, wanted.out, "train", (2,), size=25, step=12)
    with pytest.raises(InputError, match=r"--name = 'a/b'"):
        TrainSet(wanted.hr, wanted.out, "a/b", (2,))
    assert not wanted.out.exists()


def test_a_broken_photograph_keeps_the_others(wanted, monkeypatch):
    path = wanted.hr[0] / "p1.png"
    whole = path.read_bytes()
    path.write_bytes(whole[:-100] + b"\0" * 100)
    with pytest.raises(InputError, match=r"p1\.png.*it is"):
        make_train_set(wanted)
    path.write_bytes(whole)
    cut, seen = train_set.cut, []
    monkeypatch.setattr(train_set, "cut", lambda job: seen.append(job.stem) or cut(job))
    make_train_set(wanted)
    assert seen == ["p1", "p2"]
    assert len(content(wanted)["HR"]) == 45


def made(hr, name):
    """A set of the same photographs, made at once."""
    reference = TrainSet((hr,), hr.parent / name, "train", (2, 3), size=24, step=12)
    make_train_set(reference)
    return reference


def again(wanted):
    """The same command later."""
    return TrainSet(wanted.hr, wanted.out, wanted.name, wanted.scales, size=24, step=12)


@pytest.fixture
def cuts(monkeypatch):
    """Stems of the photographs that are cut."""
    cut, seen = train_set.cut, []
    monkeypatch.setattr(train_set, "cut", lambda job: seen.append(job.stem) or cut(job))
    return seen


def break_photograph(path):
    whole = path.read_bytes()
    path.write_bytes(whole[:-100] + b"\0" * 100)


def test_a_mended_photograph_is_gone_on_with(wanted, cuts, capsys):
    """Mended by a file of another size, and one that was cut before is changed, one removed, one added."""
    hr = write_photos(wanted.hr[0], 6, h=50, w=67)
    break_photograph(hr / "p4.png")
    words = r"p4\.png.*4 of 6 photographs are done and kept in .*\.train\.unfinished; the same command goes on\."
    with pytest.raises(InputError, match=words):
        make_train_set(wanted)
    cv2.imwrite(str(hr / "p4.png"), photo(40, 50, 67))
    cv2.imwrite(str(hr / "p1.png"), photo(41, 40, 30))  # has fewer sub-images than before
    (hr / "p2.png").unlink()
    cv2.imwrite(str(hr / "q.png"), photo(42, 50, 67))
    cuts.clear()
    make_train_set(again(wanted))
    assert cuts == ["p1", "p4", "p5", "q"], "p0 and p3 were done and are unchanged"
    line = (
        "1 changed, which are made again (p1), 1 removed, which are dropped (p2); 2 made before are unchanged and kept"
    )
    assert f".train.unfinished: {line}\n" in capsys.readouterr().err
    assert content(wanted) == content(made(hr, "reference"))


def test_of_a_complete_set_what_is_unchanged_is_copied(wanted, cuts, capsys):
    hr = write_photos(wanted.hr[0], 4, h=50, w=67)
    make_train_set(wanted)
    cv2.imwrite(str(hr / "p1.png"), photo(41, 40, 30))
    (hr / "p2.png").unlink()
    cv2.imwrite(str(hr / "q.png"), photo(42, 50, 67))
    cuts.clear()
    info = make_train_set(again(wanted))
    assert cuts == ["p1", "q"]
    assert "1 changed, which are made again (p1), 1 added (q), 1 removed, which are dropped (p2); 2 made" in (
        capsys.readouterr().err
    )
    reference = made(hr, "reference")
    assert content(wanted) == content(reference)
    assert info["sources"] == json.loads(reference.info.read_text())["sources"]
    cuts.clear()
    assert make_train_set(again(wanted)) == info
    assert cuts == []


def test_photographs_that_are_mostly_others_are_another_set(wanted, tmp_path):
    write_photos(wanted.hr[0], 5, h=50, w=67)
    make_train_set(wanted)
    before = content(wanted)
    others = write_photos(tmp_path / "others", 5, h=50, w=67, first_seed=70)
    shutil.copy(wanted.hr[0] / "p4.png", others)
    other = TrainSet((others,), wanted.out, "train", (2, 3), size=24, step=12)
    with pytest.raises(
        InputError, match=r"another set .*of 5 images .* 1 are unchanged here\)\. Use another --out .*--force"
    ):
        make_train_set(other)
    assert content(wanted) == before
    make_train_set(other, force=True)
    assert content(wanted) == content(made(others, "reference"))


def test_unfinished_work_on_other_photographs_is_kept(wanted, tmp_path):
    break_photograph(wanted.hr[0] / "p2.png")
    with pytest.raises(InputError, match="2 of 3 photographs are done and kept"):
        make_train_set(wanted)
    others = write_photos(tmp_path / "others", 3, h=50, w=67, first_seed=70)
    other = TrainSet((others,), wanted.out, "train", (2, 3), size=24, step=12)
    with pytest.raises(
        InputError, match=r"unfinished work is there: .*of 2 images .* 0 are unchanged.*--force to drop it"
    ):
        make_train_set(other)
    make_train_set(other, force=True)
    assert content(wanted) == content(made(others, "reference"))


def test_nothing_is_left_of_work_that_came_to_nothing(wanted):
    break_photograph(wanted.hr[0] / "p0.png")
    with pytest.raises(InputError, match=r"p0\.png.*Download or convert it again\.$"):
        make_train_set(wanted)
    assert not wanted.out.exists()


def test_a_kill_after_the_moving_leaves_the_set_as_it_is(wanted, cuts, monkeypatch):
    with monkeypatch.context() as patch:
        patch.setattr(train_set.shutil, "rmtree", lambda *_, **__: None)
        info = make_train_set(wanted)
    assert (wanted.work / "done.txt").exists()
    cuts.clear()
    assert make_train_set(again(wanted)) == info
    assert (cuts, wanted.work.exists()) == ([], False)


def test_official_lr_that_has_changed_is_cut_again(wanted, cuts, tmp_path):
    lr = tmp_path / "X2"
    lr.mkdir()
    for number in range(3):
        cv2.imwrite(str(lr / f"p{number}.png"), photo(100 + number, 25, 33))

    def make():
        make_train_set(TrainSet(wanted.hr, wanted.out, "train", (2,), {2: lr}, size=24, step=12))

    make()
    cv2.imwrite(str(lr / "p1.png"), photo(110, 25, 33))
    cuts.clear()
    make()
    assert cuts == ["p1"]
    with pytest.raises(InputError, match=r"scales of official LR: \['X2'\], and not \[\]"):
        make_train_set(TrainSet(wanted.hr, wanted.out, "train", (2,), size=24, step=12))


def test_many_workers_give_the_same(wanted, monkeypatch):
    monkeypatch.setattr("srkd_plugin.images.worker_pool.ITEMS_A_WORKER", 1)
    alone = TrainSet(wanted.hr, wanted.out.parent / "alone", "train", wanted.scales, size=24, step=12)
    make_train_set(alone, workers=1)
    make_train_set(wanted, workers=3)
    assert content(wanted) == content(alone)
    shutil.rmtree(alone.out)


SECOND = """
from pathlib import Path
from srkd_plugin.datasets import train_set
train_set._build = wait
wanted = train_set.TrainSet((Path(sys.argv[1]),), Path(sys.argv[2]), "train", (2, 3), size=24, step=12)
train_set.make_train_set(wanted)
"""


def test_a_set_that_another_process_makes(wanted):
    with other_process.waiting(SECOND, wanted.hr[0], wanted.out) as other:
        with other_process.is_named(other):
            make_train_set(wanted)
        assert (wanted.work / "recipe.json").exists(), "the other's work was thrown away"
        other.kill()
        other.wait()
    make_train_set(wanted)
    assert len(content(wanted)["HR"]) == 45
    assert not list(wanted.out.glob(".*"))
