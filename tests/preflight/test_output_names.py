"""Names in a test's options: what BasicSR would write outside of results/."""

import sys

import pytest
import tiny
from basicsr.utils import options as stock_options

from srkd_plugin.cli.main import main


@pytest.fixture
def opt(data, tmp_path):
    """A test of a DistillModel file, as parse_options reads it."""
    opt = tiny.distill_options(data, None)
    opt["datasets"] = {"test_1": opt["datasets"]["val"]}
    opt["val"]["suffix"] = None
    del opt["train"], opt["logger"]
    return opt


def parse(opt, root, monkeypatch):
    file = tiny.write_options(opt, root / "options.yml")
    monkeypatch.setattr(sys, "argv", ["test.py", "-opt", str(file)])
    return stock_options.parse_options(str(root), is_train=False)


@pytest.mark.parametrize(
    ("key", "value", "says"),
    [
        ("name", "../../escaped", "it names the experiment's folder: one name without / or"),
        ("datasets.test_1.name", "../../../x", "it names a folder of images"),
        ("val.suffix", "/../../x", "it names the end of images' names"),
        ("path.models", "/anywhere", "a test does not use it, and BasicSR would make a folder of it"),
        ("path.elsewhere", "/anywhere", "unknown key, of which BasicSR would make a folder"),
    ],
)
def test_a_test_writes_below_results_alone(opt, key, value, says, tmp_path, monkeypatch, capfd):
    *parents, last = key.split(".")
    section = opt
    for parent in parents:
        section = section[parent]
    section[last] = value
    says = f"{key} = {value!r}: {says}"
    with pytest.raises(SystemExit) as ended:
        parse(opt, tmp_path, monkeypatch)
    assert ended.value.code == 2
    assert says in capfd.readouterr().err
    assert sorted(path.name for path in tmp_path.iterdir()) == ["options.yml"]
    assert main(["check", "-opt", str(tmp_path / "options.yml"), "--root", str(tmp_path)]) == 2
    assert says in capfd.readouterr().err


def test_a_test_of_ours_is_accepted_with_what_basicsr_sets(opt, tmp_path, monkeypatch):
    parsed, _ = parse(opt, tmp_path, monkeypatch)
    assert parsed["path"]["results_root"] == str(tmp_path / "results/tiny_distill")
