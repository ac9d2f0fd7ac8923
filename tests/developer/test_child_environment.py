"""Processes that tests start: they import the plugin that is tested."""

import sys
from pathlib import Path

import tiny

WHERE = "import srkd_plugin; print(srkd_plugin.__file__)"


def test_they_import_this_checkout_and_not_another_that_is_installed(tmp_path, monkeypatch):
    other = tmp_path / "other/srkd_plugin"
    other.mkdir(parents=True)
    (other / "__init__.py").touch()
    monkeypatch.setenv("PYTHONPATH", str(other.parent))
    ours = tiny.PROJECT / "srkd_plugin/__init__.py"
    for more in ({}, {"PYTHONPATH": str(tiny.PROJECT / "tests")}):
        assert Path(tiny.run_ok("-c", WHERE, cwd=tmp_path, **more).strip()) == ours
    shown = tiny.run_ok("-c", WHERE, cwd=tmp_path, PYTHONPATH=str(other.parent))
    assert Path(shown.strip()) == other / "__init__.py", "a test may put another in front"


def test_another_python_imports_what_is_installed_for_it(tmp_path, monkeypatch):
    monkeypatch.setenv("PYTHONPATH", str(tiny.PROJECT))
    assert tiny.child_environment(tmp_path / "python")["PYTHONPATH"] == ""
    assert str(tiny.PROJECT) in tiny.child_environment(sys.executable)["PYTHONPATH"]
