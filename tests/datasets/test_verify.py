"""Planted faults, each of which ``verify`` must name; and sound sets, in which it must find none."""

from __future__ import annotations

import shutil
from pathlib import Path

import cv2
import numpy as np
import pytest
from photos import photo, write_pairs, write_photos
from PIL import Image
from real_data import real_data

from srkd_plugin.datasets import published_figures
from srkd_plugin.datasets.train_set import TrainSet, make_train_set
from srkd_plugin.datasets.verify import verify
from srkd_plugin.errors import InputError
from srkd_plugin.images.decode import encode_png
from srkd_plugin.images.lmdb_store import LmdbImages, LmdbWriter
from srkd_plugin.images.matlab_resize import downscale


@pytest.fixture
def pair(tmp_path):
    return write_pairs(tmp_path, 4)


@pytest.fixture
def lmdbs(tmp_path):
    hr = write_photos(tmp_path / "photos", 3)
    wanted = TrainSet((hr,), tmp_path / "out", "train", (2,), size=32, step=16)
    make_train_set(wanted)
    return wanted.lmdbs["HR"], wanted.lmdbs[2]


def faults(hr, lr, scale=2, **kwargs):
    return [str(fault) for fault in verify(hr, lr, scale, **kwargs).faults]


def read(path):
    return cv2.imread(str(path), cv2.IMREAD_UNCHANGED)


def write(path, image):
    assert cv2.imwrite(str(path), image)


@pytest.mark.parametrize("scale", [2, 3, 4])
def test_a_sound_set(tmp_path, scale):
    hr, lr = write_pairs(tmp_path, 3, scale, h=50, w=67)
    for path in lr.iterdir():  # HR as it is, LR of its crop
        h, w = (side - side % scale for side in (50, 67))
        write(path, downscale(np.ascontiguousarray(read(hr / path.name)[:h, :w]), scale))
    report = verify(hr, lr, scale)
    assert (report.faults, report.pairs, report.exact, report.known_set) == ([], 3, 3, None)
    assert report.bicubic_y > 20
    assert "nothing wrong" in report.describe()


def test_sound_lmdbs(lmdbs):
    report = verify(*lmdbs, 2, workers=2)
    assert report.faults == []
    assert report.exact == report.pairs == len(LmdbImages("--gt", lmdbs[0]).shapes)


# planted faults of files


@pytest.mark.parametrize("kind", ["HR", "LR"])
@pytest.mark.parametrize("share", [0.02, 0.5, 0.99])
def test_truncated_png(pair, kind, share):
    path = pair[kind == "LR"] / "p1.png"
    content = path.read_bytes()
    path.write_bytes(content[: int(share * len(content))])
    (fault,) = faults(*pair)
    assert fault.startswith(f"p1: {kind}: it ")


def test_damaged_png(pair):
    content = bytearray((pair[0] / "p1.png").read_bytes())
    content[len(content) // 2] ^= 0xFF
    (pair[0] / "p1.png").write_bytes(content)
    assert faults(*pair) == ["p1: HR: it is damaged: a PNG checksum is wrong"]


def test_truncated_jpeg(tmp_path):
    hr, lr = write_pairs(tmp_path, 2)
    for folder in (hr, lr):
        for path in list(folder.iterdir()):
            write(path.with_suffix(".jpg"), read(path))
            path.unlink()
    content = (hr / "p1.jpg").read_bytes()
    (hr / "p1.jpg").write_bytes(content[: len(content) // 2])
    assert faults(hr, lr) == ["p1: HR: it is cut off"]


def test_not_an_image(pair):
    (pair[1] / "p2.png").write_bytes(b"<html>quota exceeded</html>")
    assert faults(*pair) == ["p2: LR: it cannot be decoded"]


def test_sixteen_bits(pair):
    write(pair[0] / "p2.png", photo(2).astype(np.uint16) * 257)
    (fault,) = faults(*pair)
    assert "uint16" in fault


# planted faults of pairs


def test_swapped_lr(pair):
    first, second = pair[1] / "p1.png", pair[1] / "p2.png"
    first_lr, second_lr = read(first), read(second)
    write(first, second_lr)
    write(second, first_lr)
    found = faults(*pair)
    assert [fault.split(":")[0] for fault in found] == ["p1", "p2"]
    assert all("not a reduction of this HR" in fault for fault in found)


def test_shifted_lr(pair):
    write(pair[1] / "p1.png", np.roll(read(pair[1] / "p1.png"), 1, axis=1))
    (fault,) = faults(*pair)
    assert fault.startswith("p1: LR is not a reduction of this HR")


@pytest.mark.parametrize("change", [(1, 0), (0, -1)])
def test_off_by_one_size(pair, change):
    lr = read(pair[1] / "p1.png")
    write(pair[1] / "p1.png", cv2.resize(lr, (lr.shape[1] + change[1], lr.shape[0] + change[0])))
    (fault,) = faults(*pair)
    assert fault.startswith("p1: LR is (")
    assert fault.endswith("where HR of (48, 64) at x2 asks for (24, 32)")


def test_wrong_scale(pair):
    found = faults(*pair, scale=4)
    assert len(found) == 4
    assert all("at x4 asks for (12, 16)" in fault for fault in found)


@pytest.mark.parametrize(("kind", "words"), [("HR", "HR is gray"), ("LR", "LR is gray")])
def test_gray_on_one_side(pair, kind, words):
    path = pair[kind == "LR"] / "p1.png"
    write(path, cv2.cvtColor(read(path), cv2.COLOR_BGR2GRAY))
    assert faults(*pair) == [f"p1: {words} and the other is not"]


def test_gray_on_both_sides_is_said(pair):
    gray = cv2.cvtColor(photo(1), cv2.COLOR_BGR2GRAY)
    write(pair[0] / "p1.png", gray)
    write(pair[1] / "p1.png", downscale(gray, 2))
    report = verify(*pair, 2)
    assert (report.faults, report.gray) == ([], ["p1"])
    assert "gray, read by BasicSR as three equal channels: p1" in report.describe()


def test_red_and_blue_exchanged(pair):
    for path in pair[1].iterdir():
        write(path, read(path)[:, :, ::-1])
    found = faults(*pair)
    assert len(found) == 4
    assert all("red and blue are exchanged" in fault for fault in found)


def test_other_degradations_are_no_fault(pair):
    for path in pair[1].iterdir():
        write(path, cv2.GaussianBlur(read(path), (3, 3), 0.8))
    report = verify(*pair, 2)
    assert (report.faults, report.exact) == ([], 0)


# planted faults of sets


@pytest.mark.parametrize(
    ("side", "words"), [(0, "--gt: lacks p1, which --lq has"), (1, "--lq: lacks p1, which --gt has")]
)
def test_missing_image(pair, side, words):
    (pair[side] / "p1.png").unlink()
    assert faults(*pair) == [words]


def test_lr_names_with_the_scale(pair):
    for path in list(pair[1].iterdir()):
        path.rename(path.with_name(f"{path.stem}x2.png"))
    assert faults(*pair) == ["--lq: its names end in x2: say --filename-tmpl '{}x2'"]
    assert faults(*pair, filename_tmpl="{}x2") == []


def test_other_extension(pair):
    (pair[1] / "p1.png").rename(pair[1] / "p1.PNG")
    assert faults(*pair) == ["p1: HR is p1.png and LR p1.PNG; BasicSR needs one extension"]


def test_file_that_is_no_image(pair):
    (pair[0] / "Thumbs.db").write_bytes(b"")
    (pair[0] / ".DS_Store").write_bytes(b"")  # BasicSR leaves hidden files out
    assert faults(*pair) == ["--gt Thumbs.db: is no image, but BasicSR takes every file of the folder for one"]


def test_what_basicsr_leaves_out_is_said_and_is_no_fault(pair):
    (pair[0] / "more").mkdir()
    (pair[1] / "._p1.png").write_bytes(b"")
    report = verify(*pair, 2)
    assert report.faults == []
    assert f"left out of {pair[0]}: 1 subfolder(s) (more)\n" in report.describe()
    assert f"left out of {pair[1]}: 1 hidden file(s) (._p1.png)\n" in report.describe()


def test_turned_images(pair):
    """EXIF says how they are shown, which is how BasicSR reads them."""
    tags = Image.Exif()
    tags[0x0112] = 6
    for folder in pair:
        image = Image.open(folder / "p1.png").transpose(Image.Transpose.ROTATE_90)
        image.save(folder / "p1.png", exif=tags)
    assert faults(*pair) == []


def test_same_image_twice(pair):
    for folder in pair:
        shutil.copy(folder / "p1.png", folder / "p3.png")
    assert faults(*pair) == ["p1, p3: are the same image"] * 2


def test_same_name_twice(pair):
    write(pair[0] / "p1.jpg", photo(7))
    with pytest.raises(InputError, match=r"p1\.jpg and p1\.png have the same name"):
        verify(*pair, 2)


def test_leak_from_the_training_set(pair, tmp_path):
    train = write_photos(tmp_path / "train", 5, first_seed=50)
    leaked = cv2.resize(photo(2), None, fx=1.4, fy=1.3, interpolation=cv2.INTER_CUBIC)[:, ::-1]
    assert cv2.imwrite(str(train / "q.jpg"), leaked, [cv2.IMWRITE_JPEG_QUALITY, 60])
    (fault,) = faults(*pair, against=[train])
    assert fault.startswith(f"leak: {pair[0] / 'p2'} looks like {train / 'q'} (correlation 0.9")


def test_training_images_that_cannot_be_compared_are_faults(pair, tmp_path):
    train = tmp_path / "train"
    train.mkdir()
    (train / "q.png").write_bytes(b"no image")
    assert faults(*pair, against=[train]) == [f"{train / 'q'}: it cannot be decoded: it was not compared by --against"]


def test_training_images_of_one_colour_are_named(pair, tmp_path):
    train = write_photos(tmp_path / "train", 1, first_seed=50)
    cv2.imwrite(str(train / "white.png"), np.full((40, 40, 3), 255, np.uint8))
    report = verify(*pair, 2, against=[train])
    assert f"of one colour, and so not compared by --against: {train / 'white'}\nnothing wrong" in report.describe()


@pytest.mark.parametrize(("folder", "words"), [("none", "there is no such folder"), ("empty", "no images in it")])
def test_a_training_set_that_is_not_there_is_said_before_the_work(pair, tmp_path, monkeypatch, folder, words):
    (tmp_path / "empty").mkdir()
    monkeypatch.setattr("srkd_plugin.datasets.verify.map_images", None)  # the work
    with pytest.raises(InputError, match=rf"--against = '.*{folder}': .*{words}"):
        verify(*pair, 2, against=[tmp_path / folder])


def test_wrong_number_of_images(tmp_path):
    hr, lr = write_pairs(tmp_path / "Set5", 4)
    assert "Set5: has 5 images, and here are 4" in faults(hr, lr)


def test_a_set_that_is_not_what_it_is_called(tmp_path):
    hr, lr = write_pairs(tmp_path, 5)
    assert faults(hr, lr) == []
    (fault,) = faults(hr, lr, known_set="Set5")
    assert "where 33.66 is published: these are not the images of Set5" in fault


def test_half_size_set(tmp_path):
    """What a half-size copy does to the figure, shown on Set5: it falls short of the published one and is named."""
    source = real_data("Set5") / "HR"
    hr, lr = tmp_path / "Set5/HR", tmp_path / "Set5/LR"
    for folder in (hr, lr):
        folder.mkdir(parents=True)
    for path in source.iterdir():
        half = downscale(cv2.imread(str(path)), 2)
        half = np.ascontiguousarray(half[: half.shape[0] // 2 * 2, : half.shape[1] // 2 * 2])
        write(hr / path.name, half)
        write(lr / path.name, downscale(half, 2))
    (fault,) = faults(hr, lr)
    assert fault.endswith("where 33.66 is published: these are not the images of Set5")


@pytest.mark.parametrize(
    ("name", "psnr", "words"),
    [
        ("Urban100", 26.88, None),
        ("Urban100", 26.66, "half-size copy of Urban100"),
        ("Urban100", 25.0, "not the images of Urban100"),
        ("Set5", 33.673, None),
        ("Set14", 30.23, None),
        ("B100", 29.4, "29.56 is published"),
    ],
)
def test_published_figures_judge(name, psnr, words):
    problem = published_figures.judge_bicubic(name, 2, psnr)
    assert problem is None if words is None else words in problem


def test_sets_are_known_by_their_paths():
    assert published_figures.guess_set(Path("datasets/set14/HR")) == "Set14"
    assert published_figures.guess_set(Path("datasets/BSDS100/HR")) == "B100"
    assert published_figures.guess_set(Path("datasets/DIV2K/Set")) is None


@pytest.mark.parametrize("name", ["Set5", "Set14"])
def test_the_real_sets(name):
    report = verify(real_data(name) / "HR", real_data(name) / "LR_bicubic/X2", 2)
    assert (report.faults, report.exact, report.known_set) == ([], report.pairs, name)
    assert report.bicubic_y == pytest.approx({"Set5": 33.673, "Set14": 30.230}[name], abs=0.0005)


# planted faults of LMDBs


def test_missing_key_in_an_lmdb(lmdbs, tmp_path):
    images = LmdbImages("--lq", lmdbs[1])
    with LmdbWriter(tmp_path / "less.lmdb") as writer:
        writer.put((key, images.read(key)) for key in images.shapes if key != "p1_s002")
        writer.finish(1)
    assert faults(lmdbs[0], tmp_path / "less.lmdb") == ["--lq: lacks p1_s002, which --gt has"]


def test_corrupt_lmdb_page(lmdbs):
    data = lmdbs[0] / "data.mdb"
    content = bytearray(data.read_bytes())
    middle = len(content) // 2 // 4096 * 4096
    content[middle : middle + 4096] = b"\xa5" * 4096
    data.write_bytes(content)
    try:
        found = faults(*lmdbs)
    except InputError as error:
        found = [str(error)]
    assert any("damaged" in fault or "HR: " in fault for fault in found)


def test_half_written_lmdb(lmdbs):
    (lmdbs[1] / "meta_info.txt").unlink()
    with pytest.raises(InputError, match=r"--lq = .*not finished"):
        verify(*lmdbs, 2)


def test_swapped_lr_in_an_lmdb(lmdbs, tmp_path):
    images = LmdbImages("--lq", lmdbs[1])
    other = {"p0_s001": "p2_s001", "p2_s001": "p0_s001"}
    with LmdbWriter(tmp_path / "swapped.lmdb") as writer:
        writer.put((key, images.read(other.get(key, key))) for key in images.shapes)
        writer.finish(1)
    assert [fault.split(":")[0] for fault in faults(lmdbs[0], tmp_path / "swapped.lmdb")] == ["p0_s001", "p2_s001"]


# bad arguments


def test_bad_arguments(pair, lmdbs):
    with pytest.raises(InputError, match="the other is not"):
        verify(pair[0], lmdbs[1], 2)
    with pytest.raises(InputError, match=r"--set = 'Set6': .*Known: Set5"):
        verify(*pair, 2, known_set="Set6")
    with pytest.raises(InputError, match=r"--filename-tmpl = 'x2'"):
        verify(*pair, 2, filename_tmpl="x2")
    with pytest.raises(InputError, match=r"--filename-tmpl = '{}x2': BasicSR does not use it for LMDBs"):
        verify(*lmdbs, 2, filename_tmpl="{}x2")


def test_images_of_one_colour_are_no_duplicates(pair):
    for name in ("p1.png", "p2.png"):
        write(pair[0] / name, np.full((48, 64, 3), 255, np.uint8))
        (pair[1] / name).write_bytes(encode_png(np.full((24, 32, 3), 255, np.uint8)))
    assert faults(*pair) == []
