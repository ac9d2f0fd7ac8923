"""The examples in the package's docstrings give what they show."""

import doctest
from importlib import import_module

import pytest
import tiny

MODULES = sorted(
    ".".join(file.relative_to(tiny.PROJECT).with_suffix("").parts)
    for file in tiny.PROJECT.glob("srkd_plugin/**/*.py")
    if ">>> " in file.read_text("utf-8")
)


def test_losses_and_options_have_examples():
    assert {name.split(".")[1] for name in MODULES} >= {"losses", "options", "errors"}


@pytest.mark.parametrize("name", MODULES)
def test_examples_give_what_they_show(name):
    result = doctest.testmod(import_module(name), optionflags=doctest.ELLIPSIS)
    assert result.attempted >= 1
    assert result.failed == 0
