"""Bars of progress on standard error: in a log, on a terminal, and switched off."""

import sys
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
