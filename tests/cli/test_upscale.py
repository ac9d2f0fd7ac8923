"""``srkd upscale``: files and folders, what is done already, and what is refused or left out in one line."""

import os
import re
import shutil

import cv2
import numpy as np
import photos
import pytest
import tiny
import torch
from PIL import Image

from srkd_plugin.cli.main import main
from srkd_plugin.networks.build import build_described
from srkd_plugin.networks.student_file import StudentFile, write_student
from srkd_plugin.runtimes.upscale_files import RECORD

EDSR = {"type": "EDSR", "num_in_ch": 3, "num_out_ch": 3, "num_feat": 4, "num_block": 1, "upscale": 2}


def save_model(path, seed=0, network=EDSR):
    torch.manual_seed(seed)
    write_student(path, StudentFile(network, 2, build_described("network_g", network).state_dict()))
    return path


@pytest.fixture
def model(tmp_path):
    return save_model(tmp_path / "net.safetensors")


@pytest.fixture
def photo_folder(tmp_path):
    return photos.write_photos(tmp_path / "in", 3, 20, 30)


def upscale(model, *arguments):
    return main(["upscale", "--model", str(model), *map(str, arguments)])


def sizes(folder):
    return {file.name: cv2.imread(str(file)).shape[:2] for file in folder.iterdir() if not file.name.startswith(".")}


def refused(capsys, code, before, folder, says):
    """One line, exit code 2, and nothing changed."""
    errors = capsys.readouterr().err
    assert (code, errors.count("\n")) == (2, 1), errors
    assert errors.startswith("error: ") and re.search(says, errors), errors
    assert tiny.tree(folder) == before


def test_a_folder(model, photo_folder, tmp_path, capsys):
    (photo_folder / "notes.txt").write_text("x")
    (photo_folder / "more").mkdir()
    assert upscale(model, photo_folder, tmp_path / "new/out", "--suffix", "_x2") == 0
    assert sizes(tmp_path / "new/out") == {f"p{n}_x2.png": (40, 60) for n in range(3)}
    shown = capsys.readouterr()
    assert shown.out.splitlines() == [
        f"{model}: torch float32, x2, tiles that overlap by 6",
        f"{tmp_path / 'new/out'}: 3 images written",
    ]
    left = "1 file(s) by their extension (notes.txt), 1 subfolder(s) (more)"
    assert shown.err == f"left out of {photo_folder}: {left}\n", "no progress bar where there is no terminal"


@pytest.mark.parametrize(("name", "kind"), [("a.png", "PNG"), ("a.JPG", "JPEG"), ("b.webp", "WEBP")])
def test_one_image_into_a_file(model, photo_folder, tmp_path, name, kind):
    assert upscale(model, photo_folder / "p0.png", tmp_path / name) == 0
    with Image.open(tmp_path / name) as image:
        assert (image.format, image.size) == (kind, (60, 40))


def test_formats_of_a_folder_and_one_image_into_a_folder(model, photo_folder, tmp_path):
    (tmp_path / "out").mkdir()
    assert upscale(model, photo_folder / "p0.png", tmp_path / "out", "--format", "jpg") == 0
    assert sizes(tmp_path / "out") == {"p0.jpg": (40, 60)}


def test_a_photograph_keeps_what_it_brings_along(model, tmp_path):
    tags = Image.Exif()
    tags[0x010F], tags[0x0112] = "a maker", 6
    Image.fromarray(photos.photo(0, 20, 30)).save(tmp_path / "a.jpg", exif=tags, icc_profile=b"a profile")
    assert upscale(model, tmp_path / "a.jpg", tmp_path / "b.png") == 0
    with Image.open(tmp_path / "b.png") as image:
        assert image.size == (40, 60) and image.info["icc_profile"] == b"a profile"
        assert (image.getexif()[0x010F], image.getexif()[0x0112]) == ("a maker", 1)


def test_tiles_give_the_same_file(model, photo_folder, tmp_path):
    outs = []
    for tile in (0, 8, 13):
        assert upscale(model, photo_folder / "p0.png", tmp_path / f"{tile}.png", "--tile", tile, "--threads", 1) == 0
        outs.append((tmp_path / f"{tile}.png").read_bytes())
    assert outs[0] == outs[1] == outs[2]


def test_what_is_done_is_skipped_and_what_has_changed_is_done_again(model, photo_folder, tmp_path, capsys):
    out = tmp_path / "out"

    def written():
        for file in out.iterdir():
            os.utime(file, ns=(0, 0))
        before = tiny.tree(out)
        assert upscale(model, photo_folder, out) == 0
        after = {file.name for file in out.iterdir() if file.stat().st_mtime_ns and file.name != RECORD}
        assert {name for name, content in tiny.tree(out).items() if content != before.get(name)} - {RECORD} <= after
        return after

    assert upscale(model, photo_folder, out) == 0
    capsys.readouterr()
    assert written() == set()
    assert capsys.readouterr().out.endswith(": 0 images written, 3 there already, of the same input and model\n")
    cv2.imwrite(str(photo_folder / "p1.png"), photos.photo(9, 20, 30))
    (out / "p2.png").unlink()
    assert written() == {"p1.png", "p2.png"}
    save_model(model, seed=1)
    os.utime(model, ns=(0, 0))  # an older file can be another model all the same
    assert written() == {"p0.png", "p1.png", "p2.png"}
    assert written() == set()


def test_force_makes_all_again(model, photo_folder, tmp_path, capsys):
    (tmp_path / "out").mkdir()
    for _ in range(2):
        assert upscale(model, photo_folder, tmp_path / "out", "--force") == 0
        assert ": 3 images written\n" in capsys.readouterr().out


def test_a_record_that_a_killed_call_has_torn_is_gone_on_with(model, photo_folder, tmp_path, capsys):
    out = tmp_path / "out"
    assert upscale(model, photo_folder, out) == 0
    lines = (out / RECORD).read_bytes()
    (out / RECORD).write_bytes(lines[:-20])
    assert upscale(model, photo_folder, out) == 2, "its line is lost, so p2.png may be anybody's"
    (out / "p2.png").unlink()
    (out / ".p2.png.1.unfinished").write_bytes(b"half")
    assert upscale(model, photo_folder, out) == 0
    assert not (out / ".p2.png.1.unfinished").exists()
    capsys.readouterr()
    assert upscale(model, photo_folder, out) == 0
    assert ": 0 images written, 3 there" in capsys.readouterr().out


def test_images_that_cannot_be_read_do_not_stop_the_others_and_are_named(model, photo_folder, tmp_path, capsys):
    whole = (photo_folder / "p0.png").read_bytes()
    (photo_folder / "cut.png").write_bytes(whole[:-30])
    (photo_folder / "empty.jpg").write_bytes(b"")
    Image.fromarray(photos.photo(0, 20, 30)).convert("CMYK").save(photo_folder / "print.jpg")
    assert upscale(model, photo_folder, tmp_path / "out") == 1
    shown = capsys.readouterr()
    assert shown.err.splitlines() == [
        f"not upscaled: {photo_folder / 'cut.png'}: it is cut off",
        f"not upscaled: {photo_folder / 'empty.jpg'}: it is empty",
        f"not upscaled: {photo_folder / 'print.jpg'}: its colours are CMYK: convert it to RGB first",
    ]
    assert ": 3 images written\n" in shown.out
    assert sizes(tmp_path / "out") == {f"p{n}.png": (40, 60) for n in range(3)}
    (photo_folder / "cut.png").write_bytes(whole)
    assert upscale(model, photo_folder, tmp_path / "out") == 1
    assert ": 1 images written, 3 there already" in capsys.readouterr().out


def test_alpha_does_not_go_into_jpeg(model, tmp_path, capsys):
    cv2.imwrite(str(tmp_path / "a.png"), np.dstack([photos.photo(0, 20, 30), np.full((20, 30), 9, np.uint8)]))
    assert upscale(model, tmp_path / "a.png", tmp_path / "a.jpg") == 1
    assert "a.png: it has alpha, which JPEG cannot hold: write PNG or WebP\n" in capsys.readouterr().err
    assert not (tmp_path / "a.jpg").exists()


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["none", "out"], r"IN = '.*none': there is no such file"),
        (["empty", "out"], r"IN = '.*empty': there are no images in it"),
        (["in", "in"], r"OUT = '.*in': it is the folder of the inputs\. Give another one"),
        (["in/p0.png", "in"], r"OUT = '.*p0.png': it is the input itself"),
        (["in/p0.png", "in/p0.png"], r"OUT = '.*p0.png': it is the input itself"),
        (["in", "a.png"], r"OUT = '.*a.png': it is a file, and IN is a folder"),
        (["in/p0.png", "a.png"], r"OUT = '.*a.png': it is there, and srkd upscale did not write it \(1 such"),
        (["in/p0.png", "b.tiff"], r"OUT = '.*b.tiff': it is no folder, and no image file's name\. .*\.webp\."),
        (["in/p0.png", "b.png", "--suffix", "_x2"], r"OUT = '.*b.png': it names the file whole\. Leave out --suffix"),
        (["twins", "out"], r"a.jpg and a.png have the same name but for the extension"),
        (["in", "a.png/out"], r"OUT = '.*out': it cannot be written to \(Not a directory\)"),
    ],
)
def test_bad_input_is_one_line_before_anything_is_written(model, photo_folder, tmp_path, capsys, arguments, says):
    (tmp_path / "empty").mkdir()
    shutil.copy(photo_folder / "p0.png", tmp_path / "a.png")
    (tmp_path / "twins").mkdir()
    for name in ("a.png", "a.jpg"):
        shutil.copy(photo_folder / "p0.png", tmp_path / "twins" / name)
    before = tiny.tree(tmp_path)
    paths = [str(tmp_path / one) for one in arguments[:2]]
    refused(capsys, upscale(model, *paths, *arguments[2:]), before, tmp_path, says)


def test_models_that_are_none_are_one_line(model, photo_folder, tmp_path, capsys):
    (tmp_path / "a.pth").write_bytes(b"x")
    torch.save({"params": {"a": torch.zeros(1)}}, tmp_path / "b.pth")
    before = tiny.tree(tmp_path)
    for name, says in (("no.pth", "there is no such file"), ("a.pth", "--model"), ("b.pth", "what network it is of")):
        refused(capsys, upscale(tmp_path / name, photo_folder, tmp_path / "out"), before, tmp_path, says)


def test_tiles_of_a_model_that_sees_the_whole_image_need_an_overlap(photo_folder, tmp_path, capsys):
    rcan = {"type": "RCAN", "num_in_ch": 3, "num_out_ch": 3, "num_feat": 4, "num_group": 1, "num_block": 1}
    model = save_model(tmp_path / "rcan.pth", network={**rcan, "squeeze_factor": 2, "upscale": 2})
    before = tiny.tree(tmp_path)
    code = upscale(model, photo_folder, tmp_path / "out", "--tile", 16)
    refused(capsys, code, before, tmp_path, r"--overlap is missing: the model sees the whole image.*--overlap 32")
    assert upscale(model, photo_folder, tmp_path / "out") == 0
    assert "x2, whole images\n" in capsys.readouterr().out
    assert upscale(model, photo_folder, tmp_path / "out", "--tile", 16, "--overlap", 4) == 0
    assert ": 3 images written\n" in capsys.readouterr().out, "other settings give other images"


@pytest.mark.parametrize("flags", [["--tile", "-1"], ["--suffix", "/x"], ["--format", "gif"], ["--threads", "0"]])
def test_flags_that_cannot_be(model, photo_folder, tmp_path, capsys, flags):
    with pytest.raises(SystemExit, match="2"):
        upscale(model, photo_folder, tmp_path / "out", *flags)
    assert f"argument {flags[0]}: " in capsys.readouterr().err


def test_a_full_disk_ends_with_one_line_and_keeps_what_is_done(model, photo_folder, tmp_path, capsys, monkeypatch):
    from srkd_plugin.runtimes import upscale_files

    write, written = upscale_files.write_image, []

    def full(path, image):
        if written:
            raise OSError(28, "No space left on device")
        written.append(path)
        write(path, image)

    monkeypatch.setattr(upscale_files, "write_image", full)
    assert upscale(model, photo_folder, tmp_path / "out") == 2
    assert re.search(r"OUT = '.*p1.png': it cannot be written \(No space left on device\)", capsys.readouterr().err)
    monkeypatch.undo()
    assert upscale(model, photo_folder, tmp_path / "out") == 0
    assert ": 2 images written, 1 there already" in capsys.readouterr().out
