"""``srkd doctor``: what it says where BasicSR finds the plugin, where it does not, and where an import fails."""

import platform
import re

import pytest
import tiny
import torch

from srkd_plugin import _autoload, registration


def doctor(cwd, before="", **environment):
    code = f"import sys\n{before}\nfrom srkd_plugin.cli.main import main\nsys.exit(main(['doctor']))"
    done = tiny.run("-c", code, cwd=cwd, PYTHONPATH=str(tiny.PROJECT), **environment)
    return done.returncode, done.stdout


@pytest.mark.integration
def test_the_state_of_the_installation(tmp_path):
    code, shown = doctor(tmp_path, "from srkd_plugin import _autoload; _autoload.install()")
    assert code == 0, shown
    assert f"torch {torch.__version__}\nPython {platform.python_version()}, torchvision " in shown
    assert re.search(r"GPU: (none|\S.*)\n", shown)
    assert f"\ndocuments: {tiny.PROJECT / 'README.md'}, {tiny.PROJECT / 'docs'}\n" in shown
    assert f"registered in BasicSR: {', '.join(registration.names())}" in shown
    assert "BasicSR finds the plugin by itself: python basicsr/train.py" in shown


@pytest.mark.integration
def test_switched_off_it_says_what_to_use(tmp_path):
    code, shown = doctor(tmp_path, **{_autoload.OFF_SWITCH: "0"})
    assert code == 1 and "BasicSR does not find the plugin by itself: " in shown
    assert shown.splitlines()[-1].startswith("Use: srkd train -opt ...")


@pytest.mark.parametrize(
    ("missing", "line"), [("torch", "torch cannot be imported: "), ("basicsr", "registered in BasicSR: nothing. ")]
)
def test_what_cannot_be_imported_is_said_without_a_traceback(tmp_path, missing, line):
    code, shown = doctor(tmp_path, f"sys.modules[{missing!r}] = None")
    assert code == 1 and f"\n{line}" in shown and "Traceback" not in shown
