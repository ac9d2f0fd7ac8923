"""``srkd compare``: the table of a system, and what is refused in one line."""

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
