"""A cache whose images have changed since: what is unchanged is kept, made from the very images that are there."""

import shutil

import cached
import cv2
import pytest
import tiny
from cached import stored

from srkd_plugin.errors import InputError
from srkd_plugin.teacher_cache import make
from srkd_plugin.teacher_cache.make import make_cache
from srkd_plugin.teacher_cache.repair import repair_cache
from srkd_plugin.teacher_cache.store import unfinished


@pytest.fixture
def images(data, tmp_path):
    """Folders of HR and LR of one's own."""
    for side in ("HR", "LR"):
        shutil.copytree(data / side, tmp_path / side)
    return tmp_path


@pytest.fixture
def opt(data, teacher_file, images):
    opt = tiny.distill_options(data, teacher_file)
    folders = {"dataroot_gt": str(images / "HR"), "dataroot_lq": str(images / "LR")}
    opt["datasets"]["train"].update(**folders, io_backend={"type": "disk"})
    return opt


@pytest.fixture
def made(monkeypatch):
    """Keys of the images that the teacher runs on."""
    real, keys = make.entries_of, []

    def entries_of(job, teacher, index):
        entries = real(job, teacher, index)
        keys.append(job.source.keys[index])
        return entries

    monkeypatch.setattr(make, "entries_of", entries_of)
    return keys


def replace(images, key, size=(48, 40), like="im0"):
    """Another picture, of HR's size."""
    hr = cv2.resize(255 - cv2.imread(str(images / f"HR/{like}.png")), size[::-1])
    cv2.imwrite(str(images / f"HR/{key}.png"), hr)
    cv2.imwrite(str(images / f"LR/{key}.png"), cv2.resize(hr, (size[1] // 2, size[0] // 2)))


def break_image(path):
    """Leave the header and the end."""
    whole = path.read_bytes()
    path.write_bytes(whole[:200] + bytes(20) + whole[220:])


@pytest.mark.parametrize("with_images", [False, True])
def test_a_mended_image_is_gone_on_with(opt, images, tmp_path, made, capsys, with_images):
    """Mended by a picture of another size; of those that were done one is changed, one removed, one added."""
    out = tmp_path / "c.lmdb"
    *done, bad = cached.job(opt, out).source.keys
    whole = (images / f"LR/{bad}.png").read_bytes()
    break_image(images / f"LR/{bad}.png")
    words = rf"{bad}\.png.*5 of 6 images are done and kept in .*c\.lmdb\.unfinished; the same command goes on\."
    with pytest.raises(InputError, match=words):
        make_cache(cached.job(opt, out, with_images=with_images))
    assert made == done
    (images / f"LR/{bad}.png").write_bytes(whole)
    replace(images, bad, size=(40, 48))
    replace(images, done[1])
    for side in ("HR", "LR"):
        (images / f"{side}/{done[2]}.png").unlink()
    replace(images, "new", like="im1")
    made.clear()
    info = make_cache(cached.job(opt, out, with_images=with_images))
    assert sorted(made) == sorted([bad, done[1], "new"])
    assert (
        f"c.lmdb.unfinished: 1 changed, which are made again ({done[1]}), 1 removed, which are dropped ({done[2]}); "
        "3 made before are unchanged and kept\n" in capsys.readouterr().err
    )
    assert info.source.images == 6
    make_cache(cached.job(opt, tmp_path / "reference.lmdb", with_images=with_images))
    assert stored(out) == stored(tmp_path / "reference.lmdb")


def test_of_a_complete_cache_what_is_unchanged_is_kept(opt, images, tmp_path, made, capsys):
    out = tmp_path / "c.lmdb"
    make_cache(cached.job(opt, out))
    replace(images, "im3", size=(40, 48))
    replace(images, "new", like="im1")
    made.clear()
    with pytest.raises(InputError, match=r"made of other images: the number of images: 6 .* Run srkd cache make"):
        repair_cache(cached.job(opt, out))
    make_cache(cached.job(opt, out))
    assert sorted(made) == ["im3", "new"]
    assert "c.lmdb: 1 changed, which are made again (im3), 1 added (new); 5 made" in capsys.readouterr().err
    make_cache(cached.job(opt, tmp_path / "reference.lmdb"))
    assert stored(out) == stored(tmp_path / "reference.lmdb")


@pytest.mark.parametrize("complete", [True, False])
def test_images_that_are_mostly_others_are_another_set(opt, images, tmp_path, complete):
    out = tmp_path / "c.lmdb"
    make_cache(cached.job(opt, out))
    folder = out if complete else unfinished(out)
    out.rename(folder)
    before = stored(folder)
    for number in range(4):
        replace(images, f"im{number}", size=(40, 48))
    words = r"the cache of something else: keys and sizes .*; of 6 images that it was made from, 2 are unchanged here"
    with pytest.raises(InputError, match=words):
        make_cache(cached.job(opt, out))
    assert stored(folder) == before


def test_nothing_is_left_where_nothing_was_done(opt, images, tmp_path):
    first = cached.job(opt, tmp_path / "c.lmdb").source.keys[0]
    break_image(images / f"LR/{first}.png")
    with pytest.raises(InputError, match=r"Run srkd prepare verify on the set\.$"):
        make_cache(cached.job(opt, tmp_path / "c.lmdb"))
    assert not list(tmp_path.glob("*c.lmdb*"))


def test_a_teacher_that_does_not_fit_is_said_before_anything_is_written(opt, tmp_path):
    opt["scale"] = 1
    opt["datasets"]["train"]["dataroot_gt"] = opt["datasets"]["train"]["dataroot_lq"]
    with pytest.raises(ValueError, match="where scale asks for"):
        make_cache(cached.job(opt, tmp_path / "c.lmdb"))
    assert not list(tmp_path.glob("*c.lmdb*"))
