"""Checkpoints on disk: whole pairs, broken ones, and which are removed."""

import os

import pytest
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


def test_only_older_checkpoints_are_removed_and_nothing_else(folders):
    models, states = folders
    for iteration in (2, 4, 6, 8, 10):
        save_pair(folders, iteration)
    for name in ("net_g_latest.pth", "net_g_mine.pth", "net_g_4.pth.bak"):
        (models / name).write_bytes(b"mine")
    assert files.remove_all_but({4, 8}, 8, models, states) == [2, 6]
    assert files.iterations_in(states, "", ".state") == [10, 8, 4]
    assert files.iterations_in(models, "net_g_", ".pth") == [10, 8, 4]
    assert {"net_g_latest.pth", "net_g_mine.pth", "net_g_4.pth.bak"} <= {p.name for p in models.iterdir()}


def test_the_best_iteration():
    values = {2: 30.0, 4: 31.0, 6: float("nan"), 8: 31.0, 10: 29.0}
    assert files.best_iteration(values, "higher") == 4
    assert files.best_iteration(values, "lower") == 10
    assert files.best_iteration({2: float("nan")}, "higher") is None
