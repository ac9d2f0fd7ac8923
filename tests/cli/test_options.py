"""``srkd options``: the shipped files are listed and copied, and nobody's file is overwritten."""

import re
import subprocess
import sys

import pytest
import tiny

from srkd_plugin.cli.main import main
from srkd_plugin.options import shipped
from srkd_plugin.utils import shared_files

OPTIONS = tiny.PROJECT / "options"


def test_list_has_every_file_with_a_line_for_people(capsys):
    assert main(["options", "list"]) == 0
    rows = dict(line.split(maxsplit=1) for line in capsys.readouterr().out.splitlines())
    assert set(rows) == {str(file.relative_to(OPTIONS))[:-4] for file in OPTIONS.rglob("*.yml")}
    assert rows["distill_fakd"].startswith("EDSR 32x256 -> 16x64, x2, FAKD")
    assert not any("yaml-language-server" in summary for summary in rows.values())
    assert all(summary.endswith(".") for summary in rows.values()), "a sentence is cut"
    assert rows["distill_cl_cs"].endswith('Row "Ours (CS)" of the paper\'s Table 2, in a reading that trains.')
    assert rows["demo_teacher"].endswith("with L1 alone. CPU, minutes.")


def test_copy_by_name_and_all(tmp_path, capsys):
    to = tmp_path / "new/options"
    assert main(["options", "copy", "distill_fakd", "tables/cpu.yml", str(to)]) == 0
    assert str(to / "tables/cpu.yml") in capsys.readouterr().out.splitlines()
    assert {file.name for file in to.rglob("*.yml")} == {"distill_fakd.yml", "cpu.yml"}
    assert main(["options", "copy", "--all", str(to)]) == 0
    for file in OPTIONS.rglob("*.yml"):
        assert (to / file.relative_to(OPTIONS)).read_bytes() == file.read_bytes()


def test_a_file_that_differs_is_kept_unless_forced_and_then_nothing_is_copied(tmp_path, capsys):
    (tmp_path / "distill_fakd.yml").write_text("mine")
    before = tiny.tree(tmp_path)
    assert main(["options", "copy", "--all", str(tmp_path)]) == 2
    assert tiny.tree(tmp_path) == before
    assert re.fullmatch(
        r"error: DIR = '.*distill_fakd\.yml': it is there and differs\. Use another folder, or --force\.\n",
        capsys.readouterr().err,
    )
    assert main(["options", "copy", "distill_fakd", str(tmp_path), "--force"]) == 0
    assert (tmp_path / "distill_fakd.yml").read_bytes() == (OPTIONS / "distill_fakd.yml").read_bytes()


@pytest.mark.parametrize(
    ("names", "line"),
    [
        (
            ["distill_fakt"],
            "error: NAME = 'distill_fakt': there is no such options file. Did you mean 'distill_fakd'?\n",
        ),
        ([], "error: NAME is missing: no file is named. Name options files, or give --all.\n"),
    ],
)
def test_bad_names(tmp_path, capsys, names, line):
    assert main(["options", "copy", *names, str(tmp_path / "o")]) == 2
    assert capsys.readouterr().err == line
    assert not (tmp_path / "o").exists()


def test_the_schema_goes_where_the_files_go(tmp_path, monkeypatch):
    (tmp_path / "shipped").mkdir()
    (tmp_path / "shipped/a.yml").write_text("# yaml-language-server: $schema=srkd.schema.json\n# What it is.\na: 1\n")
    (tmp_path / "shipped" / shipped.SCHEMA).write_text("{}")
    monkeypatch.setattr(shipped, "shared_folder", lambda name: tmp_path / "shipped")
    assert shipped.shipped_options()["a"].summary == "What it is."
    assert shipped.copy_options(["a"], tmp_path / "o") == [tmp_path / "o/a.yml", tmp_path / "o" / shipped.SCHEMA]
    assert (tmp_path / "o" / shipped.SCHEMA).read_text() == "{}"


def test_installed_files_are_found_and_where_there_are_none_it_is_said(tmp_path, monkeypatch):
    import importlib.metadata

    package = tmp_path / "site/srkd_plugin"
    monkeypatch.setattr(shared_files, "PACKAGE", package)
    record = importlib.metadata.PackagePath("../share/srkd_plugin/options/a.yml")
    record.dist = importlib.metadata.Distribution.at(tmp_path / "site/x.dist-info")
    monkeypatch.setattr(shared_files, "files", lambda name: [record])
    with pytest.raises(shipped.InputError, match="neither beside the package nor installed with it"):
        shipped.shipped_options()
    share = f"{shared_files.SHARE}/options"
    for folder in (tmp_path / "site" / share, tmp_path / share):  # pip --target, then pip
        folder.mkdir(parents=True)
        (folder / "a.yml").write_text("# What it is.\n")
        assert shipped.shipped_options()["a"].file == folder / "a.yml"


def test_a_reader_that_leaves_early_is_no_error(tmp_path):
    code = "import sys; from srkd_plugin.cli.main import main; sys.exit(main(['options', 'list']))"
    command = [sys.executable, "-c", code]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=tiny.child_environment())
    process.stdout.close()
    assert process.stderr.read() == b""
    assert process.wait() == 1
