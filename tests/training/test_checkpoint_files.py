"""Checkpoints on disk: whole pairs, broken ones, and which are removed."""

import os
import stat
import subprocess
import sys

import pytest
import tiny
import torch

from srkd_plugin.training import checkpoint_files as files


@pytest.fixture
def folders(tmp_path):
    for name in ("models", "training_states"):
        (tmp_path / name).mkdir()
    return tmp_path / "models", tmp_path / "training_states"


def save_pair(folders, iteration):
    models, states = folders
    digest = files.save_verified({"params": {"w": torch.arange(500.0) + iteration}}, models / f"net_g_{iteration}.pth")
    state = {"iter": iteration, "epoch": 0, "x": torch.rand(300), files.NET_DIGEST: digest}
    files.save_verified(state, states / f"{iteration}.state")


def test_a_whole_pair_is_loaded(folders):
    save_pair(folders, 4)
    state, fault = files.load_pair(folders[1] / "4.state", folders[0])
    assert fault == "" and state["iter"] == 4


def truncate(file):
    file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])


def flip_a_byte_of_a_tensor(file):
    content = bytearray(file.read_bytes())
    zipped = content.index(b"/data/0") + 200
    content[zipped] ^= 1
    file.write_bytes(content)


def empty(file):
    file.write_bytes(b"")


def another(file):
    torch.save({"params": {}}, file)


@pytest.mark.parametrize("which", ["training_states/4.state", "models/net_g_4.pth"])
@pytest.mark.parametrize("damage", [truncate, flip_a_byte_of_a_tensor, empty, os.unlink, another])
def test_a_broken_pair_is_told(folders, which, damage):
    save_pair(folders, 4)
    file = folders[0].parent / which
    damage(file)
    state, fault = files.load_pair(folders[1] / "4.state", folders[0])
    assert state is None
    assert fault.startswith(f"{file}: it is ")


@pytest.mark.parametrize("content", [{"a": lambda: None}, "disk full", "read back wrong"])
def test_a_failed_save_leaves_the_old_file_and_nothing_else(tmp_path, monkeypatch, content):
    path = tmp_path / "x.state"
    files.save_verified({"a": torch.ones(1)}, path)
    if content == "disk full":

        def full(descriptor):
            raise OSError(28, "No space left on device")

        monkeypatch.setattr(os, "fsync", full)
    elif content == "read back wrong":
        monkeypatch.setattr(files, "sha256_of_file", lambda path: "0" * 64)
    with pytest.raises(Exception, match=r"[Pp]ickle|local|No space left|not read back"):
        files.save_verified(content, path)
    assert torch.load(path, weights_only=True)["a"].item() == 1.0
    assert [p.name for p in tmp_path.iterdir()] == ["x.state"]


def test_what_a_killed_save_left_is_removed_by_the_next(tmp_path):
    (tmp_path / ".net_g_2.pth.123.unfinished").write_bytes(b"half")
    files.save_verified({}, tmp_path / "net_g_4.pth")
    assert [p.name for p in tmp_path.iterdir()] == ["net_g_4.pth"]


def test_what_another_process_is_writing_is_left_alone(tmp_path):
    """Two starts of one run: the second must not make the first one's checkpoint fail."""
    code = f"""
import sys, pathlib
from srkd_plugin.utils.files import open_atomically
with open_atomically(pathlib.Path({str(tmp_path)!r}) / "net_g_2.pth") as file:
    file.write(b"half, ")
    print("writing", flush=True)
    sys.stdin.readline()
    file.write(b"whole")
"""
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    with subprocess.Popen([sys.executable, "-c", code], env=tiny.child_environment(), **pipes) as other:
        assert other.stdout.readline() == "writing\n"
        files.save_verified({}, tmp_path / "net_g_4.pth")
        other.communicate("go on\n")
    assert other.returncode == 0
    assert (tmp_path / "net_g_2.pth").read_bytes() == b"half, whole"


def test_a_name_of_an_unfinished_file_that_cannot_be_removed_stops_no_save(tmp_path):
    (tmp_path / ".net_g_2.pth.123.unfinished").mkdir()
    files.save_verified({}, tmp_path / "net_g_4.pth")
    assert (tmp_path / "net_g_4.pth").is_file()


def test_a_saved_file_and_then_its_name_in_the_folder_are_flushed_to_the_disk(tmp_path, monkeypatch):
    """Without the second the file may be gone after a power failure, though it was said to be saved."""
    path, flushed, sync = tmp_path / "x.state", [], os.fsync

    def fsync(descriptor):
        flushed.append((stat.S_ISDIR(os.fstat(descriptor).st_mode), path.exists()))
        sync(descriptor)

    monkeypatch.setattr(os, "fsync", fsync)
    files.save_verified({}, path)
    assert flushed[0] == (False, False)
    assert flushed[-1] == (True, True)


def names(folders):
    return {p.name for folder in folders for p in folder.iterdir()}


@pytest.mark.parametrize("which", ["the student", "the state"])
def test_a_pair_that_does_not_fit_on_the_disk_leaves_no_half(folders, monkeypatch, which):
    save_pair(folders, 2)
    before, failing = names(folders), {"the student": ".pth", "the state": ".state"}[which]
    save = files.save_verified

    def save_until_full(content, path):
        if path.suffix == failing:
            raise OSError(28, "No space left on device")
        return save(content, path)

    monkeypatch.setattr(files, "save_verified", save_until_full)
    with pytest.raises(OSError, match="No space left"):
        files.save_pair({"params": {}}, {"iter": 4}, *folders)
    assert names(folders) == before
    assert files.load_pair(folders[1] / "2.state", folders[0])[1] == ""


def test_a_pair_is_whole(folders):
    digest = files.save_pair({"params": {"w": torch.ones(3)}}, {"iter": 4, "x": 1}, *folders)
    state, fault = files.load_pair(folders[1] / "4.state", folders[0])
    assert (state, fault) == ({"iter": 4, "x": 1, files.NET_DIGEST: digest}, "")


@pytest.mark.parametrize("which", ["training_states/2.state", "models/net_g_2.pth"])
def test_a_file_that_cannot_be_removed_is_told_and_the_others_go(folders, which):
    models, states = folders
    for iteration in (2, 4, 6):
        save_pair(folders, iteration)
    stays = models.parent / which
    stays.unlink()
    stays.mkdir()
    told = []
    assert files.remove_all_but({6}, 6, models, states, lambda file, error: told.append(file)) == [4]
    assert told == [stays]
    assert files.iterations_in(states, "", ".state")[0] == 6


def test_only_older_checkpoints_are_removed_and_nothing_else(folders):
    models, states = folders
    for iteration in (2, 4, 6, 8, 10):
        save_pair(folders, iteration)
    for name in ("net_g_latest.pth", "net_g_mine.pth", "net_g_4.pth.bak"):
        (models / name).write_bytes(b"mine")
    assert files.remove_all_but({4, 8}, 8, models, states, warn=lambda *what: pytest.fail(str(what))) == [2, 6]
    assert files.iterations_in(states, "", ".state") == [10, 8, 4]
    assert files.iterations_in(models, "net_g_", ".pth") == [10, 8, 4]
    assert {"net_g_latest.pth", "net_g_mine.pth", "net_g_4.pth.bak"} <= {p.name for p in models.iterdir()}


def test_the_best_iteration():
    values = {2: 30.0, 4: 31.0, 6: float("nan"), 8: 31.0, 10: 29.0}
    assert files.best_iteration(values, "higher") == 4
    assert files.best_iteration(values, "lower") == 10
    assert files.best_iteration({2: float("nan")}, "higher") is None
