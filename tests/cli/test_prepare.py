"""The command line of scripts/prepare_data.py."""

from __future__ import annotations

import importlib.util
import sys

import cv2
import pytest
import tiny
from photos import photo, write_photos

SCRIPT = tiny.PROJECT / "scripts/prepare_data.py"


@pytest.fixture
def command(monkeypatch, capsys):
    """Runs the script in this process; gives exit code, output and errors (without progress bars)."""
    spec = importlib.util.spec_from_file_location("prepare_data", SCRIPT)
    script = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(script)

    def call(*arguments):
        monkeypatch.setattr(sys, "argv", ["prepare_data.py", *map(str, arguments)])
        try:
            code = script.main()
        except SystemExit as leaving:  # argparse's
            code = leaving.code
        captured = capsys.readouterr()
        return code, captured.out, [line for line in captured.err.splitlines() if line.startswith("error: ")]

    return call


def test_train_verify_and_train_again(command, tmp_path):
    hr, out = write_photos(tmp_path / "photos", 3), tmp_path / "Photos"
    train = ("train", "--hr", hr, "--out", out, "--size", 32, "--step", 16, "--scale", 2, 4, "--workers", 1)
    code, shown, _ = command(*train)
    assert code == 0
    assert f"{out / 'Photos_train_HR_sub.lmdb'}: 18 images" in shown
    assert shown.count("sha256 of the keys") == 3
    assert command(*train) == (0, shown, [])
    for scale in (2, 4):
        lr = out / f"Photos_train_LR_bicubic_X{scale}_sub.lmdb"
        code, shown, _ = command("verify", "--hr", out / "Photos_train_HR_sub.lmdb", "--lr", lr, "--scale", scale)
        assert (code, shown.splitlines()[-1]) == (0, "nothing wrong")


def test_benchmark_and_verify(command, tmp_path):
    hr, out = write_photos(tmp_path / "photos", 3), tmp_path / "set"
    code, shown, _ = command("benchmark", "--hr", hr, "--out", out, "--workers", 1)
    assert code == 0
    assert f"{out / 'LR_bicubic/X2'}: 3 images" in shown
    pair = ("--hr", out / "HR", "--lr", out / "LR_bicubic/X2", "--workers", 1)
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
        (("train", "--hr", "none", "--out", "out"), "--hr = 'none': there is no such folder"),
        (("train", "--hr", "photos", "--out", "out", "--size", "31"), "--size = 31: it is not a multiple"),
        (("train", "--hr", "photos", "--lr", "a", "b", "--out", "out"), "--lr = 2: --scale names 1 scales"),
        (("benchmark", "--hr", "none", "--out", "out"), "--hr = 'none'"),
        (("verify", "--hr", "photos", "--lr", "none"), "--lr = 'none'"),
        (("verify", "--hr", "photos", "--lr", "photos", "--set", "Set6"), "--set = 'Set6'"),
    ],
)
def test_bad_input_is_one_line_and_changes_nothing(command, tmp_path, monkeypatch, arguments, words):
    monkeypatch.chdir(tmp_path)
    write_photos(tmp_path / "photos", 1)
    code, shown, errors = command(*arguments)
    assert (code, shown, len(errors)) == (2, "", 1)
    assert errors[0].startswith(f"error: {words}")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("name", ["train", "benchmark", "verify", "demo"])
def test_help_is_readable(command, name):
    code, shown, _ = command(name, "--help")
    assert code == 0
    assert all(len(line) <= 120 for line in shown.splitlines())
    assert name == "demo" or f"examples:\n  prepare_data.py {name}" in shown or f"  prepare_data.py {name} " in shown
