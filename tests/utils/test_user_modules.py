"""Modules of the user's: found by name and by file, and a line where one cannot be imported."""

import sys

import pytest

from srkd_plugin.errors import OptionsError
from srkd_plugin.utils.user_modules import import_modules


@pytest.fixture(autouse=True)
def nothing_stays(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    before = set(sys.modules)
    yield
    for name in set(sys.modules) - before:
        del sys.modules[name]


@pytest.fixture
def package(tmp_path):
    """A package with a module that imports relatively."""
    (tmp_path / "src/own_package/archs").mkdir(parents=True)
    for folder in ("own_package", "own_package/archs"):
        (tmp_path / "src" / folder / "__init__.py").touch()
    (tmp_path / "src/own_package/archs/parts.py").write_text("width = 8")
    (tmp_path / "src/own_package/archs/own_arch.py").write_text("from .parts import width")
    return tmp_path / "src/own_package"


def test_by_name_from_the_working_directory_and_by_file(tmp_path):
    (tmp_path / "own_module.py").write_text("value = 1")
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder/own_file.py").write_text("value = 2")
    import_modules(["own_module", "folder/own_file.py"])
    assert (sys.modules["own_module"].value, sys.modules["own_file"].value) == (1, 2)


def test_a_file_in_a_package_is_a_part_of_it(package, monkeypatch):
    import_modules([str(package / "archs/own_arch.py"), str(package / "__init__.py")])
    assert sys.modules["own_package.archs.own_arch"].width == 8


def test_a_package_that_is_loaded_from_elsewhere_is_one_line(tmp_path):
    """A fork's basicsr/, where BasicSR has been imported as installed."""
    import basicsr

    (tmp_path / "basicsr").mkdir()
    (tmp_path / "basicsr/__init__.py").touch()
    (tmp_path / "basicsr/own_arch.py").touch()
    with pytest.raises(OptionsError) as caught:
        import_modules(["basicsr/own_arch.py"])
    says = f"basicsr is another one already, {basicsr.__file__}. Start python -m srkd_plugin in {tmp_path}, "
    assert says in str(caught.value)


def test_an_installed_module_is_found_too():
    import_modules(["wave"])
    assert "wave" in sys.modules


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("no_such_module", "it cannot be imported (ModuleNotFoundError: No module named 'no_such_module')"),
        ("no/such.py", "there is no such file. Relative paths start at /"),
        ("needs", "it cannot be imported (ModuleNotFoundError: No module named 'no_such_package')"),
        ("wrong", "it cannot be imported (SyntaxError: "),
        ("script.py", "it cannot be imported (SystemExit: 3)"),
        ("two words", "it cannot be imported (ModuleNotFoundError: No module named 'two words')"),
        ("", "it cannot be imported (ValueError: Empty module name)"),
        (".own", "it cannot be imported (TypeError: "),
        ("folder/json.py", "json is another one already, "),
    ],
)
def test_what_cannot_be_imported_is_one_line(tmp_path, name, says):
    import json  # noqa: F401  (that another module of that name is there)

    (tmp_path / "folder").mkdir()
    sources = {"needs": "import no_such_package", "wrong": "def", "script": "raise SystemExit(3)", "folder/json": ""}
    for module, source in sources.items():
        (tmp_path / f"{module}.py").write_text(source)
    with pytest.raises(OptionsError) as caught:
        import_modules([name])
    assert str(caught.value).startswith(f"--import = {name!r}: {says}") and "\n" not in str(caught.value)
