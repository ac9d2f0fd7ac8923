"""``srkd teacher``: verify and convert on a tiny network, and what is refused in one line."""

import pytest
import tiny

from srkd_plugin.cli.main import main


def test_verify(data, teacher_file, tmp_path, capsys):
    file = str(tiny.write_options(tiny.distill_options(data, teacher_file), tmp_path / "o.yml"))
    assert main(["teacher", "verify", "-opt", file, "--device", "cpu"]) in (0, 1)  # random weights are below bicubic
    from_options, errors = capsys.readouterr()
    assert errors == "", "no progress bar where there is no terminal"
    assert from_options.startswith("6 images\nPSNR (RGB, crop = scale): ")
    pair = ["--hr", str(data / "HR"), "--lr", str(data / "LR")]
    main(["teacher", "verify", "--opt", file, *pair, "--device", "cpu"])
    assert capsys.readouterr().out == from_options
    assert main(["teacher", "verify", "-opt", file, "--filename-tmpl", "{}x2", "--device", "cpu"]) == 2
    assert "there is no im0x2.png in it" in capsys.readouterr().err


def test_convert(tmp_path, capsys):
    teacher = tiny.save_teacher(tmp_path / "teacher.pth")
    assert main(["teacher", "convert", str(teacher), "--param_key", "params", "--out", str(tmp_path / "t.pt")]) == 0
    assert "2 blocks, 12 channels, x2, 12,435 parameters" in capsys.readouterr().out
    assert main(["teacher", "convert", str(tmp_path / "t.pt")]) == 0
    assert "official format" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (["verify", "-opt", "x.yml", "--gt", "HR"], "error: --lq is missing: --gt and --lq go together. Give both,"),
        (["verify", "-opt", "x.yml", "--lr", "LR"], "error: --gt is missing: --gt and --lq go together. Give both,"),
        (["verify", "-opt", "none.yml"], "error: -opt = 'none.yml'"),
        (["convert", "none.pt"], "error: weights = 'none.pt'"),
    ],
)
def test_bad_input_is_one_line(capsys, arguments, line):
    assert main(["teacher", *arguments]) == 2
    errors = capsys.readouterr().err
    assert errors.startswith(line) and errors.count("\n") == 1
