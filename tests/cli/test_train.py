"""``srkd train`` and ``srkd test``: BasicSR's flags reach BasicSR as it spells them, and a run is BasicSR's."""

import sys

import pytest
import tiny

from srkd_plugin import registration
from srkd_plugin.cli.main import main
from srkd_plugin.errors import RegistrationError
from srkd_plugin.tables.runner import TORCHRUN


@pytest.fixture
def passed(monkeypatch, tmp_path):
    """Runs a command with BasicSR's pipelines replaced; gives the process's arguments as these would see them."""
    seen = []
    monkeypatch.setattr("basicsr.train.train_pipeline", lambda root: seen.append((root, sys.argv[1:])))
    monkeypatch.setattr("basicsr.test.test_pipeline", lambda root: seen.append((root, sys.argv[1:])))
    monkeypatch.setattr(sys, "argv", ["srkd"])
    monkeypatch.chdir(tmp_path)
    (tmp_path / "o.yml").touch()

    def run(*arguments):
        assert main(arguments) == 0
        root, given = seen.pop()
        assert root == str(tmp_path)
        return given

    return run


def test_flags_are_basicsrs(passed):
    assert passed("train", "-opt", "o.yml") == ["-opt", "o.yml"]
    assert passed("test", "--opt=o.yml", "--force_yml", "a:b=1", "c=2") == [
        "-opt",
        "o.yml",
        "--force_yml",
        "a:b=1",
        "c=2",
    ]
    every = ["-opt", "o.yml", "--launcher", "pytorch", "--auto_resume", "--debug", "--local_rank", "1"]
    assert passed("train", *every, "--of_a_fork", "x") == [*every, "--of_a_fork", "x"]
    assert passed("train", *(one.replace("_", "-") for one in every)) == every


def test_modules_are_imported_and_not_handed_over(passed, tmp_path, monkeypatch):
    monkeypatch.setattr(sys, "path", list(sys.path))
    (tmp_path / "own_module_of_a_test.py").touch()
    assert passed("train", "-opt", "o.yml", "--import", "own_module_of_a_test") == ["-opt", "o.yml"]
    assert sys.modules.pop("own_module_of_a_test")


def test_flags_that_do_nothing_in_a_test_are_understood_and_not_offered(passed, capsys):
    assert passed("test", "-opt", "o.yml", "--auto-resume", "--debug") == ["-opt", "o.yml", "--auto_resume", "--debug"]
    for command, offered in (("train", True), ("test", False)):
        with pytest.raises(SystemExit):
            main([command, "--help"])
        shown = capsys.readouterr().out
        assert ("--auto-resume" in shown) == ("--debug" in shown) == offered, shown


@pytest.mark.parametrize("command", ["train", "test"])
def test_a_plugin_that_cannot_register_is_one_line_and_code_2(passed, monkeypatch, capsys, command):
    def fail():
        raise RegistrationError("srkd_plugin registered nothing: for a test")

    monkeypatch.setattr(registration, "register", fail)
    with pytest.raises(SystemExit) as leaving:
        main([command, "-opt", "o.yml"])
    assert leaving.value.code == 2
    assert capsys.readouterr().err == "error: srkd_plugin registered nothing: for a test\n"


@pytest.mark.integration
def test_a_run_through_torchrun_and_a_mistake_in_its_options(data, teacher_file, elsewhere, tmp_path):
    file = tiny.write_options(tiny.distill_options(data, teacher_file, iters=2), tmp_path / "o.yml")
    environment = {"PYTHONPATH": str(tiny.PROJECT), "SRKD_PLUGIN_AUTOLOAD": "0"}
    torchrun = [*TORCHRUN, "--nproc_per_node=1", "-m", "srkd_plugin"]
    tiny.run_ok(*torchrun, "train", "--opt", file, "--launcher", "pytorch", cwd=elsewhere, **environment)
    assert (elsewhere / "experiments/tiny_distill/models/net_g_latest.pth").is_file()
    opt = tiny.distill_options(data, teacher_file)
    opt["teacher"] = {"precison": "bf16"}
    bad = tiny.run("-m", "srkd_plugin", "train", "-opt", tiny.write_options(opt, tmp_path / "bad.yml"), cwd=elsewhere)
    assert bad.returncode == 2 and bad.stdout.splitlines()[-1].startswith(
        "srkd_plugin: options error: teacher.precison"
    )
