"""scripts/quickstart.sh as a script: a stand-in for Python takes note of the commands and trains nothing."""

import os
import shutil
import subprocess

import pytest
import tiny

PYTHON = """#!/usr/bin/env bash
case "$*" in
  *find_spec*) echo "$STUB/basicsr" ;;
  *" export "*) printf 'a-x2.onnx: 1 kB\\ntest, PSNR in dB (Y): onnx 34.605, int8 34.501\\n' ;;
  *scripts/compare_results.py*) printf '| PSNR |\\n\\npicture: crops.png\\npage: compare.html\\n' ;;
esac
echo "$*" >> "$STUB/commands.txt"
"""


@pytest.fixture(scope="module")
def quickstart(tmp_path_factory):
    """What it printed, the commands that it gave to Python, and its folder."""
    root = tmp_path_factory.mktemp("quickstart")
    for folder in ("scripts", "options"):
        shutil.copytree(tiny.PROJECT / folder, root / folder)
    stub = root / "stub"
    (stub / "basicsr").mkdir(parents=True)
    (stub / "bin").mkdir()
    (stub / "bin/python").write_text(PYTHON)
    (stub / "bin/python").chmod(0o755)
    done = subprocess.run(
        ["bash", root / "scripts/quickstart.sh"],
        env={**os.environ, "SRKD_VENV": str(stub), "STUB": str(stub)},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stdout
    return done.stdout, (stub / "commands.txt").read_text().splitlines(), root / "quickstart"


def test_paths_are_right_from_where_they_are_read(quickstart):
    shown, _, folder = quickstart
    assert "picture: quickstart/crops.png" in shown.splitlines()
    assert "page:    quickstart/compare.html" in shown.splitlines()
    assert not {"picture: crops.png", "page: compare.html"} & set(shown.splitlines())
    assert (folder / "table.md").read_text() == "| PSNR |\n\n![crops](crops.png)\n"


def test_it_names_options_files_that_are_there(quickstart):
    _, commands, folder = quickstart
    named = [word for command in commands for word in command.split() if word.startswith("options/")]
    assert {f"options/demo_{name}.yml" for name in ("teacher", "student", "distill_cl_l1")} <= set(named)
    assert all((folder / name).is_file() for name in named)


def test_it_ends_with_the_exported_student_on_one_line(quickstart):
    shown, commands, _ = quickstart
    exported = shown.split("== export")[1].splitlines()
    assert "test, PSNR in dB (Y): onnx 34.605, int8 34.501" in exported
    assert "a-x2.onnx: 1 kB" not in exported
    wanted = "--int8 --int8-crops 16 --calibrate datasets/demo/train_LR_x2_sub.lmdb --test datasets/demo/test"
    assert any(wanted in command for command in commands)
    assert any(command.endswith("[demo,export]") for command in commands)
