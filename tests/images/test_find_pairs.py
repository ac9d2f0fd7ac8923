"""Pairs are those of BasicSR's PairedImageDataset, in its order; what it would refuse, or find out late, is refused."""

import os
import random
import shutil

import cv2
import lmdb
import pytest
from basicsr.data.paired_image_dataset import PairedImageDataset
from photos import photo

from srkd_plugin.errors import InputError
from srkd_plugin.images.decode import png_shape
from srkd_plugin.images.find_pairs import find_pairs, pairs_of_section
from srkd_plugin.images.pairs import match


@pytest.fixture
def folders(data, tmp_path):
    """Copies of the folders, with names in an order that is not the alphabet's, and hidden files and folders."""
    for name in ("HR", "LR"):
        (tmp_path / name).mkdir()
        for file in random.Random(3).sample(sorted(os.listdir(data / name)), 6):
            shutil.copy(data / name / file, tmp_path / name / file)
        (tmp_path / name / "._im0.png").write_bytes(b"")
        (tmp_path / name / "sub").mkdir()
    return tmp_path


def section(root, kind="disk", **changes):
    ending = ".lmdb" if kind == "lmdb" else ""
    roots = {f"dataroot_{side}": f"{root / name}{ending}" for side, name in (("gt", "HR"), ("lq", "LR"))}
    return {**roots, "io_backend": {"type": kind}, "phase": "val", "scale": 2, **changes}


def assert_as_basicsr(options):
    stock = PairedImageDataset({**options, "io_backend": dict(options["io_backend"])})
    pairs = pairs_of_section("datasets.val", options)
    assert [{"lq_path": pair.lq, "gt_path": pair.gt} for pair in pairs.pairs] == stock.paths
    return pairs


def test_folders(folders):
    pairs = assert_as_basicsr(section(folders))
    assert pairs.sizes("lq") == [(24, 20)] * 6
    left_out = "1 hidden file(s) (._im0.png), 1 subfolder(s) (sub)"
    assert [line.split(": ")[1] for line in pairs.left_out] == [left_out] * 2


def test_a_template_and_two_files_of_one_stem(folders):
    for file in list((folders / "LR").glob("[!.]*.png")):
        file.rename(file.with_name(f"{file.stem}x2.png"))
    cv2.imwrite(str(folders / "HR/im0.bmp"), photo(0))
    cv2.imwrite(str(folders / "LR/im0x2.bmp"), photo(0, 24, 32))
    pairs = assert_as_basicsr(section(folders, filename_tmpl="{}x2"))
    assert len(pairs) == 7


def test_a_list_of_names(folders):
    (folders / "HR/more").mkdir()
    shutil.move(folders / "HR/im3.png", folders / "HR/more/im3.png")
    (folders / "list.txt").write_text("im5.png (48,40,3)\nmore/im3.png (48,40,3)\nim0.png\n")
    pairs = assert_as_basicsr(section(folders, meta_info_file=str(folders / "list.txt")))
    assert [pairs.name(index) for index in range(3)] == ["im5.png", "more/im3.png", "im0.png"]


def test_lmdbs(data):
    pairs = assert_as_basicsr(section(data, "lmdb", filename_tmpl="{}x2"))
    assert pairs.size("gt", 0) == (48, 40)
    assert png_shape(pairs.read("lq", 0)) == (24, 20, 3)


def test_an_lmdb_that_lacks_an_image(data, tmp_path):
    for name in ("HR.lmdb", "LR.lmdb"):
        shutil.copytree(data / name, tmp_path / name)
    env = lmdb.open(str(tmp_path / "LR.lmdb"))
    with env.begin(write=True) as transaction:
        transaction.delete(b"im3")
    env.close()
    with pytest.raises(InputError, match=r"dataroot_lq = .*data\.mdb has 5 images, and meta_info\.txt names 6\."):
        pairs_of_section("datasets.val", section(tmp_path, "lmdb"))


@pytest.mark.parametrize(
    ("spoil", "says"),
    [
        (
            lambda r: (r / "LR/im3.png").unlink(),
            r"dataroot_lq = .*it has 5 files, .*\(without a partner: im3\.png\)",
        ),
        (lambda r: (r / "LR/im3.png").rename(r / "LR/im3.PNG"), "there is no im3.png in it"),
        (lambda r: shutil.rmtree(r / "HR"), r"dataroot_gt = .*there is no such folder"),
    ],
)
def test_what_has_no_partner(folders, spoil, says):
    spoil(folders)
    with pytest.raises(InputError, match=says):
        pairs_of_section("datasets.val", section(folders))


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("im0.png\n\nim1.png\n", "line 2 is empty"),
        ("my photo.png (48,40,3)\n", r"line 1 is 'my photo.png \(48,40,3\)', and BasicSR takes 'my' for the name"),
        ("im9.png\n", "there is no im9.png in it"),
        ("", "there are no images in it"),
        ("im0.png\n".encode("utf-16"), "it is no text in UTF-8"),
    ],
)
def test_a_faulty_list_of_names(folders, text, says):
    (folders / "list.txt").write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(InputError, match=says):
        pairs_of_section("datasets.val", section(folders, meta_info_file=str(folders / "list.txt")))


@pytest.mark.parametrize("template", ["x2", 3, "{} {}", "{a}"])
def test_a_template_without_a_place_for_the_name(data, template):
    with pytest.raises(InputError, match=r"datasets\.val\.filename_tmpl = .*it is no template of a name"):
        pairs_of_section("datasets.val", section(data, filename_tmpl=template))


def test_other_backends_are_refused(data):
    with pytest.raises(InputError, match="disk or lmdb is expected"):
        pairs_of_section("datasets.val", section(data, "memcached"))
    with pytest.raises(InputError, match="one of --gt and --lq is an LMDB, the other is not"):
        find_pairs({"gt": "--gt", "lq": "--lq"}, {"gt": data / "HR", "lq": data / "LR.lmdb"})


def test_a_slash_behind_an_lmdb(data):
    """BasicSR would take it for no LMDB; a run of ours leaves it out before (``parse_options``)."""
    options = section(data, "lmdb")
    with pytest.raises(InputError, match=r"without anything behind \.lmdb.*Write .*HR\.lmdb\."):
        pairs_of_section("datasets.val", {**options, "dataroot_gt": f"{options['dataroot_gt']}/"})


def test_match_keeps_the_order_and_names_what_is_alone():
    found = match(["b.png", "sub/a.png", "c.png"], ["a_x.png", "d_x.png", "b_x.png"], "{}_x")
    assert found.pairs == [("b.png", "b_x.png"), ("sub/a.png", "a_x.png")]
    assert (found.gt_alone, found.lq_alone) == ([("c.png", "c_x.png")], ["d_x.png"])
    assert [str(fault) for fault in found.faults("--gt", "--lq")] == [
        "--gt: lacks d_x, which --lq has",
        "--lq: lacks c_x, which --gt has",
    ]
    assert match(["a/b"], ["a/b"], template=None).is_complete


def test_a_file_that_is_no_image_is_named(folders):
    (folders / "LR/im2.png").write_text("<html>")
    pairs = pairs_of_section("datasets.val", section(folders))
    says = r"datasets\.val\.dataroot_lq = .*im2\.png.*cannot be read as an image\. Remove"
    with pytest.raises(InputError, match=says):
        pairs.sizes("lq")
