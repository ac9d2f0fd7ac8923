"""What is looked at last, before BasicSR archives a folder."""

import sys

import other_process
import pytest
import tiny
from basicsr.utils import options as stock_options

from srkd_plugin.preflight import describe_run

OWN = """
from pathlib import Path
from srkd_plugin.utils.owner import owned
with owned("name", Path(sys.argv[1])):
    wait()
"""


def test_torchrun_without_the_launcher_flag(data, tmp_path, monkeypatch, capfd):
    """Each of its processes would train the whole run, in one folder."""
    file = tiny.write_options(tiny.distill_options(data, None), tmp_path / "options.yml")
    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.setattr(sys, "argv", ["train.py", "-opt", str(file)])
    with pytest.raises(SystemExit) as ended:
        stock_options.parse_options(str(tmp_path), is_train=True)
    assert ended.value.code == 2
    assert "--launcher = 'none': torchrun has started 2 processes" in capfd.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ["options.yml"]


def test_a_look_says_who_runs_it_and_takes_nothing(data, tmp_path):
    opt = tiny.parsed(tiny.distill_options(data, None), tmp_path)
    with other_process.waiting(OWN, opt["path"]["experiments_root"]) as other:
        before = tiny.tree(tmp_path)
        facts = describe_run.describe(opt)
        assert f"a start is refused: process {other.pid} on " in "\n".join(describe_run.lines(facts))
        assert tiny.tree(tmp_path) == before
    other.wait()
    assert describe_run.describe(opt)["folder"]["in_use_by"] is None
