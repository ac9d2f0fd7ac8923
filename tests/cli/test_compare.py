"""``srkd compare``: the table of a system, and what is refused in one line."""

import io
import os
import shutil

import pytest

from srkd_plugin.cli.main import main


@pytest.mark.parametrize("flags", [("--gt", "--lq"), ("--hr", "--lr")])
def test_a_table(data, tmp_path, capsys, flags):
    for file in (data / "HR").glob("*.png"):
        shutil.copy(file, tmp_path / f"{file.stem}_run.png")
    pair = [flags[0], str(data / "HR"), flags[1], str(data / "LR")]
    assert main(["compare", *pair, "--scale", "2", "--system", f"same={tmp_path}"]) == 0
    assert "| same |" in capsys.readouterr().out


def test_bad_input_is_one_line(data, tmp_path, capsys):
    pair = ["compare", "--gt", str(data / "HR"), "--lq", str(data / "LR"), "--scale", "2"]
    assert main([*pair, "--system", f"none={tmp_path}"]) == 2
    errors = capsys.readouterr().err
    assert errors.startswith("error: ") and errors.count("\n") == 1
    assert main([*pair, "--system", f"a={tmp_path}", "--system", f"a={data}"]) == 2
    assert "--system = 'a': it is given twice" in capsys.readouterr().err
    with pytest.raises(SystemExit, match="2"):
        main([*pair, "--system", "nothing"])
    assert "argument --system: 'nothing' is not NAME=DIR" in capsys.readouterr().err


def test_a_picture_that_cannot_be_is_said_before_any_work(tmp_path, capsys):
    nowhere = ["compare", "--gt", str(tmp_path / "gt"), "--lq", str(tmp_path / "lq"), "--scale", "2"]
    assert main([*nowhere, "--picture", str(tmp_path / "x.doc")]) == 2
    assert "x.doc': pictures end in " in capsys.readouterr().err
    assert main([*nowhere, "--picture", str(tmp_path)]) == 2
    assert "it is a folder" in capsys.readouterr().err


def test_names_of_systems_are_drawn_as_they_are(data, tmp_path):
    for file in (data / "HR").glob("*.png"):
        shutil.copy(file, tmp_path / f"{file.stem}_run.png")
    pair = ["--gt", str(data / "HR"), "--lq", str(data / "LR"), "--scale", "2"]
    picture = tmp_path / "new" / "crops.png"
    assert main(["compare", *pair, "--system", f"a $\\frac$ b={tmp_path}", "--picture", str(picture)]) == 0
    assert picture.stat().st_size > 1000


def test_names_that_are_no_text_and_an_encoding_without_their_letters(data, tmp_path, monkeypatch):
    """A file called in Latin-1, on a terminal of ASCII: table, picture and page are made."""
    for folder in ("HR", "LR", "SR"):
        (tmp_path / folder).mkdir()
        name = b"caf\xe9_run.png" if folder == "SR" else b"caf\xe9.png"
        image = next((data / ("LR" if folder == "LR" else "HR")).glob("im0*"))
        shutil.copy(image, os.fsencode(tmp_path / folder) + b"/" + name)
    flags = ["--gt", "HR", "--lq", "LR", "--scale", "2", "--system", "ä=SR", "--html", "c.html", "--picture", "c.png"]
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("sys.stdout", io.TextIOWrapper(shown := io.BytesIO(), encoding="ascii"))
    assert main(["compare", *flags]) == 0
    assert rb"| \xe4 |" in shown.getvalue()
    assert "caf?" in (tmp_path / "c.html").read_text("utf-8") and (tmp_path / "c.png").stat().st_size > 1000
