"""Tables in Markdown: a cell stays in its cell, whatever it holds."""

import re

import pytest

from srkd_plugin.utils import markdown
from srkd_plugin.utils.markdown import Markdown


def test_a_table():
    assert markdown.table(["", "b"], [["x", 1], ["", 2.5]]) == "| | b |\n|---|---|\n| x | 1 |\n|  | 2.5 |"


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("a|b", r"a\|b"),
        ("a\\|b", r"a\|b"),
        ("a\\\\|b", r"a\\\|b"),
        ("two\nlines\r\nand\ta tab", "two lines and a tab"),
        ("<img src=x onerror=alert(1)>", "&lt;img src=x onerror=alert(1)&gt;"),
        ("L1 & <b>bold</b>", "L1 &amp; &lt;b&gt;bold&lt;/b&gt;"),
        ("\x1b[31mred\x07", "\ufffd[31mred\ufffd"),
        ("±0.1 − größer", "±0.1 − größer"),  # noqa: RUF001
    ],
)
def test_text_stays_text_in_one_cell(text, shown):
    line = markdown.row([text, "next"])
    assert line == f"| {shown} | next |"
    cells = re.split(r"(?<!\\)(?:\\\\)*\|", line)
    assert len(cells) == 4
    assert markdown.heading([text]).startswith(f"| {shown} |\n|---|")


def test_markdown_stays_markdown():
    assert markdown.row([Markdown("**1**<br>`a`"), Markdown("a | b")]) == r"| **1**<br>`a` | a \| b |"
