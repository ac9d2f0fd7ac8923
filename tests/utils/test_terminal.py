"""Bars of progress on standard error: in a log, on a terminal, and switched off."""

import fcntl
import os
import pty
import struct
import sys
import termios
import time

import pytest

from srkd_plugin.utils import terminal


@pytest.fixture(autouse=True)
def not_switched_off(monkeypatch):
    monkeypatch.delenv(terminal.SWITCH, raising=False)


@pytest.fixture
def shown(capsys):
    """What a bar of half a second writes."""

    def run(**keywords):
        for _ in terminal.progress_bar(range(5), **keywords):
            time.sleep(0.11)  # longer than tqdm waits between redraws
        return capsys.readouterr().err

    return run


def test_a_log_has_few_redraws(shown):
    text = shown(in_logs=True)
    assert text.count("\r") == 2, "the begin and the end"
    assert "5/5" in text


def test_a_log_has_no_bar_of_short_work(shown):
    assert shown() == ""


def test_a_terminal_has_a_bar_that_moves(shown, monkeypatch):
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    assert shown().count("\r") > 4
    assert shown(hidden=True) == ""


@pytest.mark.parametrize("on_terminal", [True, False])
def test_there_is_none_where_progress_is_switched_off(shown, monkeypatch, on_terminal):
    monkeypatch.setenv(terminal.SWITCH, "0")
    monkeypatch.setattr(sys.stderr, "isatty", lambda: on_terminal)
    assert shown(in_logs=True) == ""


@pytest.mark.parametrize(("rows", "columns"), [(0, 0), (50, 0), (50, 60)])
def test_a_terminal_that_does_not_say_its_size_has_the_bar(rows, columns):
    ours, its = pty.openpty()
    fcntl.ioctl(its, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))
    with (
        open(its, "w") as file,
        terminal.Bar(desc="seen", total=4, file=file, dynamic_ncols=True, mininterval=0) as bar,
    ):
        bar.update(2)
        file.write("\n.")
        file.flush()
        shown = b""
        while not shown.endswith(b"."):
            shown += os.read(ours, 1 << 16)
    os.close(ours)
    lines = [part.rstrip() for part in shown.decode().split("\r")]
    assert any("seen:  50%" in line for line in lines), lines
    assert max(map(len, lines)) < (columns or 80)
