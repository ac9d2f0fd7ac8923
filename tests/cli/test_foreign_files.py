"""Files that are no options files: ``srkd train``, ``test`` and ``check`` say the same line, and write nothing."""

import sys

import pytest
import tiny
import torch

from srkd_plugin.cli.main import main

FILES = {
    "empty": "",
    "a comment": "# nothing",
    "a list": "- a\n- b\n",
    "a number": "3",
    "broken YAML": "name: [a\nscale: 2\n",
    "a tab": "name: a\n\tscale: 2\n",
    "another tool's": "version: 2\njobs:\n  build: {steps: [checkout]}\n",
    "no paths": "name: a\nscale: 2\nnum_gpu: 0\ndatasets: {}\n",
    "a section that is none": "name: a\nscale: 2\nnum_gpu: 0\ndatasets: [a]\npath: {}\n",
    "JSON with a trailing comma": '{"task": "sr", "netG": {"net_type": "edsr"},,}',
    "a key twice": "name: a\nname: b\n",
    "a tag of its own": "name: !mine a\n",
    "UTF-16": "name: a".encode("utf-16"),
    "a picture": b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR",
}


@pytest.fixture
def ended(tmp_path, monkeypatch, capfd):
    """The exit code of a command on a file, and what it wrote to stderr."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["srkd"])

    def run(command, file):
        with torch.random.fork_rng(devices=[]):
            try:
                code = main([command, "-opt", file])
            except SystemExit as end:
                code = end.code
        return code, capfd.readouterr().err

    return run


@pytest.mark.parametrize("content", FILES.values(), ids=FILES)
def test_all_commands_say_the_same(ended, tmp_path, content):
    (tmp_path / "o.yml").write_bytes(content if isinstance(content, bytes) else content.encode())
    before = tiny.tree(tmp_path)
    said = {command: ended(command, "o.yml") for command in ("check", "test", "train")}
    assert said["test"] == said["check"]
    for code, error in said.values():
        assert code == 2 and error.count("\n") == 1 and error.startswith("srkd_plugin: options error: "), said
    assert tiny.tree(tmp_path) == before


def test_a_training_without_a_section_is_the_same_line_as_in_check(ended, data, tmp_path):
    for key in ("name", "num_gpu", "datasets", "path"):
        opt = tiny.stock_options(data)
        del opt[key]
        tiny.write_options(opt, tmp_path / "o.yml")
        code, error = ended("train", "o.yml")
        assert (code, error) == ended("check", "o.yml")
        assert code == 2 and error.count("\n") == 1, error


def test_basicsrs_own_scripts_are_left_to_basicsr(tmp_path, monkeypatch):
    from basicsr.train import train_pipeline

    (tmp_path / "o.yml").write_text(FILES["another tool's"])
    monkeypatch.setattr(sys, "argv", ["train.py", "-opt", str(tmp_path / "o.yml")])
    with torch.random.fork_rng(devices=[]), pytest.raises(KeyError):
        train_pipeline(str(tmp_path))
