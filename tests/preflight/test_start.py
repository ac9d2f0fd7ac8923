"""What is looked at last, before BasicSR archives a folder."""

import sys

import pytest
import tiny
from basicsr.utils import options as stock_options


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
