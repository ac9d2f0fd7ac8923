from __future__ import annotations

import hashlib
import os
import pickle

import pytest

from srkd_plugin.cli.exit_codes import run_command
from srkd_plugin.errors import InputError, OptionsError
from srkd_plugin.utils.files import read_json, sha256_of_file, sha256_of_lines, write_atomically, write_json


def test_a_failed_write_leaves_the_old_file(tmp_path, monkeypatch):
    path = tmp_path / "deep/file"
    write_atomically(path, b"old")

    def full(descriptor):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(InputError, match=r"deep/file.*No space left on device"):
        write_atomically(path, b"new")
    assert path.read_bytes() == b"old"
    assert [entry.name for entry in path.parent.iterdir()] == ["file"]


def test_json(tmp_path):
    write_json(tmp_path / "x.json", {"a": [1, 2]})
    assert read_json(tmp_path / "x.json") == {"a": [1, 2]}
    (tmp_path / "x.json").write_text("{")
    with pytest.raises(InputError, match=r"x\.json.*cannot be read as JSON"):
        read_json(tmp_path / "x.json")


def test_hashes_are_those_of_sha256sum(tmp_path):
    (tmp_path / "keys").write_text("a\nb\n")
    expected = hashlib.sha256(b"a\nb\n").hexdigest()
    assert sha256_of_file(tmp_path / "keys") == sha256_of_lines(["a", "b"]) == expected


def test_errors_survive_the_way_between_processes():
    error = pickle.loads(pickle.dumps(InputError("--hr", "x", "problem", "Remedy.")))
    assert (error.key, error.value, str(error)) == ("--hr", "x", "--hr = 'x': problem. Remedy.")


def test_how_commands_end(capsys):
    def fail():
        raise OptionsError("key", 1, "problem", "Remedy.")

    def interrupt():
        raise KeyboardInterrupt

    assert run_command(lambda: 1) == 1
    assert run_command(fail) == 2
    assert run_command(interrupt) == 130
    assert capsys.readouterr().err == "error: key = 1: problem. Remedy.\ninterrupted; the same command continues\n"
