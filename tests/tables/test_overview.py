"""What a table shows at a terminal: runs that go on, are done, have failed."""

import io
import re

import pytest

from srkd_plugin.tables import overview
from srkd_plugin.tables.overview import DONE, ENDED, FAILED, TRAINS, Logged, Overview, last_line, last_logged

LINE = (
    "2026-01-01 10:00:00,000 INFO: [t_non..][epoch:  1, iter:  {}, lr:(1.000e-04,)] "
    "[eta: {}, time (data): 0.1 (0.0)] l_pix: 1e-2\n"
)


class Terminal(io.StringIO):
    def isatty(self):
        return True


class Run:
    """What of a table's run is shown."""

    def __init__(self, name, total=2000):
        self.name, self.train = name, {"train": {"total_iter": total}}


@pytest.mark.parametrize("eta", ["0:12:34", "1 day, 2:03:04", "12 days, 0:00:01", "-1 day, 23:59:59"])
def test_the_last_iteration_and_the_time_left_are_read(tmp_path, eta):
    log = tmp_path / "log.txt"
    assert last_logged(log) is None
    log.write_text(LINE.format("  100", "9:00:00") + LINE.format("1,200", eta) + "\t # psnr: 30.1\n")
    assert last_logged(log) == Logged(1200, eta)
    assert last_logged(log, begin=log.stat().st_size) is None, "of an earlier start"


def test_a_long_log_is_read_at_its_end(tmp_path, monkeypatch):
    monkeypatch.setattr(overview, "END", 400)
    log = tmp_path / "log.txt"
    log.write_text(LINE.format("  100", "9:00:00") + "é" * 300 + "\n" + LINE.format("1,200", "0:00:01"))
    assert last_logged(log) == Logged(1200, "0:00:01")


def test_the_last_line_is_the_commands_own(tmp_path):
    log = tmp_path / "log.txt"
    assert last_line(log) == ""
    log.write_text("Traceback\nRuntimeError: out of memory\n\n# python train.py: exit code 1 after 1 s\n")
    assert last_line(log) == "RuntimeError: out of memory"


def test_every_run_is_shown(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr("sys.stderr", terminal := Terminal())
    logs = {name: tmp_path / f"{name}.txt" for name in "abcd"}
    logs["a"].write_text(LINE.format("1,999", "0:00:02"))  # of an earlier start
    with Overview("small", 5, done=1) as shown:
        shown.show("python train.py")
        for name in "abc":
            shown.tell(Run(name), TRAINS, logs[name])
        shown.look()
        assert "1999" not in terminal.getvalue()
        for name in "ab":
            with open(logs[name], "a") as log:
                log.write(LINE.format("  500", "0:10:00"))
        shown.look()
        assert re.search(r"a trains:  25%\|.*\| 500/2000, 0:10:00 left", terminal.getvalue())
        shown.tell(Run("a"), "is tested", logs["a"])
        shown.tell(Run("a"), DONE, logs["a"])
        logs["b"].write_text("ValueError: no such thing\n# python train.py: exit code 1\n")
        shown.tell(Run("b"), FAILED, logs["b"])
        shown.tell(Run("c"), ENDED, logs["c"])
        shown.tell(Run("d"), FAILED, logs["d"])
    text = terminal.getvalue()
    assert "a is tested" in text and "done: a\n" in text
    assert "failed: b: ValueError: no such thing\n" in text and "failed: d: it printed nothing; see " in text
    assert "ended: c; the same command goes on with it\n" in text
    assert "failed: c" not in text and "done: c" not in text
    assert "small: 2 of 5 runs done, 0 going on, 2 failed" in text.split("failed: d")[1]
    assert capsys.readouterr().out == "$ python train.py\n"
