"""``srkd cache``: make, repair and info on a tiny teacher, and what is refused in one line."""

import json

import pytest
import tiny

from srkd_plugin.cli.main import main


@pytest.fixture
def file(data, teacher_file, tmp_path):
    return str(tiny.write_options(tiny.distill_options(data, teacher_file), tmp_path / "o.yml"))


def test_make_info_and_repair(file, tmp_path, capsys):
    out = str(tmp_path / "c.lmdb")
    flags = ["-opt", file, "--out", out, "--with-images", "--storage", "uint8", "--device", "cpu"]
    assert main(["cache", "make", *flags]) == 0
    made = capsys.readouterr().out
    assert "6 images x2, uint8 with HR and LR" in made
    assert main(["cache", "info", out]) == 0
    assert made.endswith(capsys.readouterr().out)
    assert main(["cache", "info", out, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["making"]["with_images"] is True
    assert main(["cache", "repair", *flags]) == 0
    assert capsys.readouterr().out.splitlines()[-1] == "0 images mended"
    short = ["-opt", file, "--out", out, "--device", "cpu"]
    assert main(["cache", "repair", *short]) == 0, "how it was made is read from it"
    assert capsys.readouterr().out.splitlines()[-1] == "0 images mended"
    for flags_that_differ, words in (
        (["--storage", "uint16"], f"--storage = 'uint16': the cache in {out} was made with uint8"),
        (["--tile", "64"], f"--tile = 64: the cache in {out} was made with none"),
        (["--self-ensemble"], f"--self-ensemble = True: the cache in {out} was made with False"),
    ):
        assert main(["cache", "repair", *short, *flags_that_differ]) == 2
        assert capsys.readouterr().err == f"error: {words}. Leave it out: the cache says it.\n"
    before = ["--with_images" if flag == "--with-images" else flag for flag in flags]
    assert main(["cache", "make", *before, "--repair"]) == 0, "as cache_teacher.py took it"
    assert capsys.readouterr().out.splitlines()[-1] == "0 images mended"


@pytest.mark.parametrize(("switch", "drawn"), [("1", 2), ("0", 0)])
def test_a_log_has_the_begin_and_the_end_of_the_bar(file, tmp_path, monkeypatch, capsys, switch, drawn):
    monkeypatch.setenv("SRKD_PROGRESS", switch)
    assert main(["cache", "make", "-opt", file, "--out", str(tmp_path / "c.lmdb"), "--device", "cpu"]) == 0
    assert capsys.readouterr().err.count("teacher: ") == drawn


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (
            ["info", "none.lmdb"],
            "error: LMDB = 'none.lmdb': there is no such folder. Make the cache with srkd cache make",
        ),
        (["make", "-opt", "none.yml"], "error: -opt = 'none.yml'"),
        (["make", "-opt", "FILE", "--device", "cpu"], "error: --out = None: the options have no TeacherCacheDataset"),
        (["make", "-opt", "FILE", "--out", "c", "--tile", "4"], "error: srkd cache make.tile = 4"),
        (["repair", "-opt", "FILE", "--out", "c", "--device", "cpu"], "error: --out = 'c': there is no such folder"),
    ],
)
def test_bad_input_is_one_line_and_writes_nothing(file, tmp_path, monkeypatch, capsys, arguments, words):
    monkeypatch.chdir(tmp_path)
    before = tiny.tree(tmp_path)
    assert main(["cache", *(file if one == "FILE" else one for one in arguments)]) == 2
    errors = capsys.readouterr().err
    assert errors.startswith(words) and errors.count("\n") == 1
    assert tiny.tree(tmp_path) == before
