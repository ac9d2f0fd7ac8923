"""All images of a run are looked at before it begins, not a sample; what is wrong is named."""

import shutil

import cv2
import pytest
import tiny
from photos import photo
from PIL import Image

from srkd_plugin.basicsr_patches.parse_options import parse_without_running
from srkd_plugin.errors import OptionsError
from srkd_plugin.preflight import run_checks
from srkd_plugin.preflight.image_pairs import check_pairs

MANY = 200


@pytest.fixture(scope="module")
def many(tmp_path_factory):
    """Folders of as many pairs as a check by samples would not look at."""
    root = tmp_path_factory.mktemp("many")
    for name, shape in (("HR", (16, 20)), ("LR", (8, 10))):
        (root / name).mkdir()
        assert cv2.imwrite(str(root / name / "p000.png"), photo(0, *shape))
        for number in range(1, MANY):
            shutil.copy(root / name / "p000.png", root / name / f"p{number:03d}.png")
    return root


def section(root):
    roots = {"dataroot_gt": str(root / "HR"), "dataroot_lq": str(root / "LR")}
    return {**roots, "io_backend": {"type": "disk"}, "gt_size": 8}


def wrong_size(path):
    cv2.imwrite(str(path), photo(0, 8, 11))


@pytest.mark.parametrize(
    ("spoil", "says"),
    [
        (lambda path: path.write_text("<html>"), r"LR/p157\.png': it cannot be read as an image\. Remove or replace"),
        (lambda path: path.write_bytes(b""), r"LR/p157\.png': it is empty\."),
        (lambda path: path.write_bytes(path.read_bytes()[:-9]), r"LR/p157\.png': it is cut off\."),
        (wrong_size, r"p157\.png is 8x11 there and 16x20 in dataroot_gt, which is not x2"),
    ],
)
def test_one_bad_file_among_many(many, tmp_path, spoil, says):
    shutil.copytree(many, tmp_path / "set")
    assert check_pairs("datasets.train", section(tmp_path / "set"), 2, train=True).pairs == MANY
    spoil(tmp_path / "set/LR/p157.png")
    with pytest.raises(OptionsError, match=rf"datasets\.train\.dataroot_lq = .*{says}"):
        check_pairs("datasets.train", section(tmp_path / "set"), 2, train=True)


def test_more_pixels_than_pillow_decodes(many, tmp_path, monkeypatch):
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 20)
    shutil.copytree(many, tmp_path / "set")
    assert check_pairs("datasets.train", section(tmp_path / "set"), 2, train=True).smallest_gt == (16, 20)


def test_what_a_run_leaves_out_is_a_warning(data, teacher_file, tmp_path):
    opt = tiny.parsed(tiny.distill_options(data, teacher_file), tmp_path)
    for name in ("HR", "LR"):
        shutil.copytree(data / name, tmp_path / name)
    (tmp_path / "LR/more").mkdir()
    opt["datasets"]["val"].update({"dataroot_gt": str(tmp_path / "HR"), "dataroot_lq": str(tmp_path / "LR")})
    assert run_checks.check(opt).warnings == [f"left out of {tmp_path / 'LR'}: 1 subfolder(s) (more)"]


def test_a_slash_behind_an_lmdb_is_left_out_for_our_runs(data, teacher_file, tmp_path):
    opt = tiny.distill_options(data, teacher_file)
    for key in ("dataroot_gt", "dataroot_lq"):
        opt["datasets"]["train"][key] += "/"
    parsed = parse_without_running(tiny.write_options(opt, tmp_path / "o.yml"), tmp_path, is_train=True)
    assert run_checks.check(parsed).data["train"].pairs == 6
    assert parsed["datasets"]["train"]["dataroot_gt"] == str(data / "HR.lmdb")
