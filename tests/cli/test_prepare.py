"""``srkd prepare``."""

from __future__ import annotations

import cv2
import pytest
from photos import photo, write_photos

from srkd_plugin.cli.main import main


@pytest.fixture
def command(capsys):
    """Runs ``srkd prepare`` in this process; gives exit code, output and errors (without progress bars)."""

    def call(*arguments):
        try:
            code = main(["prepare", *map(str, arguments)])
        except SystemExit as leaving:  # argparse's
            code = leaving.code
        captured = capsys.readouterr()
        return code, captured.out, [line for line in captured.err.splitlines() if line.startswith("error: ")]

    return call


def test_train_verify_and_train_again(command, tmp_path):
    hr, out = write_photos(tmp_path / "photos", 3), tmp_path / "Photos"
    train = ("train", "--gt", hr, "--out", out, "--size", 32, "--step", 16, "--scale", 2, 4, "--workers", 1)
    code, shown, _ = command(*train)
    assert code == 0
    assert f"{out / 'Photos_train_HR_sub.lmdb'}: 18 images" in shown
    assert shown.count("sha256 of the keys") == 3
    assert command(*train) == (0, shown, [])
    for scale in (2, 4):
        lr = out / f"Photos_train_LR_bicubic_X{scale}_sub.lmdb"
        code, shown, _ = command("verify", "--gt", out / "Photos_train_HR_sub.lmdb", "--lq", lr, "--scale", scale)
        assert (code, shown.splitlines()[-1]) == (0, "nothing wrong")


def test_benchmark_and_verify(command, tmp_path):
    hr, out = write_photos(tmp_path / "photos", 3), tmp_path / "set"
    code, shown, _ = command("benchmark", "--gt", hr, "--out", out, "--workers", 1)
    assert code == 0
    assert f"{out / 'LR_bicubic/X2'}: 3 images" in shown
    pair = ("--gt", out / "HR", "--lq", out / "LR_bicubic/X2", "--workers", 1)
    code, shown, _ = command("verify", *pair)
    assert code == 0
    assert "LR is MATLAB's bicubic, bit for bit: 3 of 3" in shown
    cv2.imwrite(str(out / "HR/p1.png"), photo(1, 47, 64))
    code, shown, _ = command("verify", *pair)
    assert code == 1
    assert "FAULT p1: LR is (24, 32), where HR of (47, 64) at x2 asks for (23, 32)" in shown
    code, shown, _ = command("verify", *pair, "--against", hr)
    assert shown.count("FAULT leak:") == 3


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("train", "--gt", "none", "--out", "out"), "--gt = 'none': there is no such folder"),
        (("train", "--gt", "photos", "--out", "out", "--size", "31"), "--size = 31: it is not a multiple"),
        (("train", "--gt", "photos", "--lq", "a", "b", "--out", "out"), "--lq = 2: --scale names 1 scales"),
        (("benchmark", "--gt", "none", "--out", "out"), "--gt = 'none'"),
        (("verify", "--gt", "photos", "--lq", "none"), "--lq = 'none'"),
        (("verify", "--gt", "photos", "--lq", "photos", "--set", "Set6"), "--set = 'Set6'"),
    ],
)
def test_bad_input_is_one_line_and_changes_nothing(command, tmp_path, monkeypatch, arguments, words):
    monkeypatch.chdir(tmp_path)
    write_photos(tmp_path / "photos", 1)
    code, shown, errors = command(*arguments)
    assert (code, shown, len(errors)) == (2, "", 1)
    assert errors[0].startswith(f"error: {words}")
    assert not (tmp_path / "out").exists()


def test_hr_and_lr_are_understood_and_errors_name_the_flag_of_the_help(command, tmp_path):
    hr, out = write_photos(tmp_path / "photos", 2), tmp_path / "set"
    assert command("benchmark", "--hr", hr, "--out", out, "--workers", 1)[0] == 0
    pair = ("--hr", out / "HR", f"--lr={out / 'LR_bicubic/X2'}", "--filename_tmpl", "{}", "--workers", 1)
    assert command("verify", *pair)[0] == 0
    code, _, errors = command("verify", "--hr", out / "HR", "--lr", tmp_path / "none")
    assert code == 2 and errors[0].startswith("error: --lq = ")
    code, _, errors = command("verify", "--lr", out / "HR")
    assert code == 2 and errors == ["error: the following arguments are required: --gt; see srkd prepare verify --help"]
