"""The command ``srkd`` as a whole: its help, what it imports, its flags, its exit codes, and where it is found."""

import os
import re
import subprocess
import sys

import pytest
import tiny

from srkd_plugin.cli import main as cli
from srkd_plugin.cli.exit_codes import MEANING, run_command
from srkd_plugin.cli.main import COMMANDS, main
from srkd_plugin.cli.parser import Parser
from srkd_plugin.training.stop_signals import STOPPED

GROUPS = {
    "prepare": ("train", "benchmark", "verify", "demo"),
    "cache": ("make", "repair", "info"),
    "teacher": ("verify", "convert"),
    "table": ("run", "report"),
    "options": ("list", "copy"),
}
EVERY_COMMAND = [(name,) for name in COMMANDS] + [(group, name) for group in GROUPS for name in GROUPS[group]]
SCRIPTS = {
    "prepare_data": "prepare",
    "cache_teacher": "cache make",
    "verify_teacher": "teacher verify",
    "compare_results": "compare",
    "convert_edsr": "teacher convert",
    "run_table": "table",
}


def ended(*arguments):
    """The exit code of a command that argparse ends."""
    with pytest.raises(SystemExit) as leaving:
        main(arguments)
    return leaving.value.code


def test_help_imports_nothing_heavy():
    code = (
        "import sys\nfrom srkd_plugin.cli.main import main\ntry:\n    main(['--help'])\nexcept SystemExit:\n    pass\n"
    )
    heavy = "torch numpy cv2 basicsr pydantic yaml scipy lmdb PIL"
    shown = tiny.run_ok("-c", f"{code}print(sorted(set('{heavy}'.split()) & set(sys.modules)))", cwd=tiny.PROJECT)
    assert shown.startswith("usage: srkd ") and shown.endswith("\n[]\n")


def test_the_help_lists_all_commands_and_exit_codes(capsys):
    assert ended("--help") == 0
    shown = capsys.readouterr().out
    assert re.findall(r"^    (\w+) ", shown, re.MULTILINE) == list(COMMANDS)
    assert MEANING in shown and f"\n  {STOPPED}  " in shown


@pytest.mark.parametrize("command", EVERY_COMMAND, ids=" ".join)
def test_every_command_has_a_readable_help_with_an_example_that_is_parsed(command, capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "120")
    assert ended(*command, "--help") == 0
    shown = capsys.readouterr().out
    assert all(len(line) <= 120 for line in shown.splitlines())
    assert not re.search(r"--(?!nproc)\w+_|--hr|--lr", shown)
    examples = shown.split("\nexamples:\n")[1].replace("\\\n", " ")
    commands = re.findall(r"^  .*?\b(?:srkd|srkd_plugin) (.*)", examples, re.MULTILINE)
    assert commands
    monkeypatch.setattr("srkd_plugin.cli.parser.Path.is_file", lambda file: True)
    for one in commands:
        words = one.split()
        assert words[: len(command)] == list(command)
        assert cli.command_line(words[:1]).parse_known_args(words)[1] == []


def test_a_flag_has_one_spelling_in_the_help_and_older_ones_are_understood():
    parser = Parser()
    parser.add_argument("--self-ensemble", action="store_true")
    parser.add_argument("--gt", aliases=("--hr",))
    parser.add_argument("-opt", aliases=("--opt",))
    parser.add_argument("--system")
    for arguments in (
        ["--self_ensemble", "--hr", "a", "--opt", "f", "--system", "x_y=z"],
        ["--self-ensemble", "--gt=a", "-opt", "f", "--system=x_y=z"],
        ["--self_ensemble", "--hr=a", "--opt=f", "--system=x_y=z"],
    ):
        assert vars(parser.parse_args(arguments)) == {"self_ensemble": True, "gt": "a", "opt": "f", "system": "x_y=z"}
    assert "_ensemble" not in parser.format_help() and "--hr" not in parser.format_help()
    assert parser.parse_known_args(["--of_a_fork", "1"])[1] == ["--of_a_fork", "1"]


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        ([], "error: the following arguments are required: COMMAND; see srkd --help"),
        (["prepare"], "error: the following arguments are required: COMMAND; see srkd prepare --help"),
        (["doctor", "--fix"], "error: unrecognized arguments: --fix; see srkd doctor --help"),
        (["cache", "make"], "error: the following arguments are required: -opt; see srkd cache make --help"),
        (["train", "-opt", "no.yml"], "error: argument -opt: there is no file 'no.yml' (relative paths start at /"),
        (["test"], "error: the following arguments are required: -opt; see srkd test --help"),
        (["dactor"], "error: argument COMMAND: invalid choice: 'dactor'"),
    ],
)
def test_arguments_that_cannot_be_parsed_are_one_line_and_code_2(capsys, arguments, line):
    assert ended(*arguments) == 2
    captured = capsys.readouterr()
    assert captured.err.startswith(line) and captured.err.count("\n") == 1 and captured.out == ""


def test_ctrl_c_is_130_and_says_whether_the_command_continues(capsys, monkeypatch):
    def interrupt(*_):
        raise KeyboardInterrupt

    assert run_command(interrupt, "") == 130
    assert capsys.readouterr().err == "interrupted\n"
    monkeypatch.setattr("srkd_plugin.datasets.demo_set.make_demo_data", interrupt)
    assert main(["prepare", "demo"]) == 130
    assert capsys.readouterr().err == "interrupted; the same command continues\n"


def test_the_shell_completes_where_argcomplete_is_installed(monkeypatch):
    import types

    asked = []
    monkeypatch.setenv("_ARGCOMPLETE", "1")
    monkeypatch.setitem(sys.modules, "argcomplete", types.SimpleNamespace(autocomplete=asked.append))
    assert ended("--version") == 0
    assert asked[0].parse_args(["cache", "info", "x"]).kind == "info"


@pytest.mark.parametrize(
    "name", [*SCRIPTS, "srkd_plugin", "srkd_plugin.train", "srkd_plugin.test", "srkd_plugin.check"]
)
def test_older_names_are_the_same_command(name):
    script = [f"scripts/{name}.py"] if name in SCRIPTS else ["-m", name]
    command = ["srkd", *SCRIPTS.get(name, name.partition(".")[2]).split()]
    shown = tiny.run_ok(*script, "--help", cwd=tiny.PROJECT)
    assert shown.startswith(f"usage: {' '.join(command)} [")


@pytest.mark.integration
def test_a_wheel_has_the_command_and_the_options_files_and_no_developer_tools(tmp_path):
    listed = subprocess.run(["git", "ls-files"], cwd=tiny.PROJECT, capture_output=True, text=True, check=False)
    if listed.returncode != 0:
        pytest.skip("not a git checkout")
    pytest.importorskip("wheel")
    import zipfile

    for file in filter(None, listed.stdout.splitlines()):
        if (tiny.PROJECT / file).is_file():
            (tmp_path / "source" / file).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / "source" / file).write_bytes((tiny.PROJECT / file).read_bytes())
    build = ["-m", "pip", "wheel", "-q", "--no-deps", "--no-build-isolation", "--no-index", "-w", tmp_path]
    tiny.run_ok(*build, tmp_path / "source", cwd=tmp_path, PYTHONPATH="")
    (wheel,) = tmp_path.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        names = archive.namelist()
        (entries,) = (archive.read(n).decode() for n in names if n.endswith("entry_points.txt"))
    assert "srkd = srkd_plugin.cli.main:main" in entries and "[torch.backends]" in entries
    tops = {name.split("/")[0] for name in names}
    assert all(re.match(r"srkd_plugin(-.*\.(data|dist-info))?$", top) for top in tops), tops
    shared = {name.split("/options/")[1] for name in names if "/share/srkd_plugin/options/" in name}
    options = tiny.PROJECT / "options"
    wanted = [*options.rglob("*.yml"), *options.glob("tables/*.txt")]
    assert {str(file.relative_to(options)) for file in wanted} <= shared

    tiny.run_ok("-m", "venv", "--without-pip", tmp_path / "env", cwd=tmp_path)
    (python,) = (tmp_path / "env").glob("*/python")
    pip = ["-m", "pip", "--python", python, "install", "-q", "--no-deps", "--no-index", "--ignore-installed", wheel]
    tiny.run_ok(*pip, cwd=tmp_path, PYTHONPATH="")
    tiny.run_ok("-m", "srkd_plugin", "options", "copy", "--all", "mine", python=python, cwd=tmp_path, PYTHONPATH="")
    assert {str(file.relative_to(tmp_path / "mine")) for file in (tmp_path / "mine").rglob("*.yml")} <= shared
    assert list((tmp_path / "mine/tables").glob("meta_info_*.txt")), "lists of images go with the table that names them"
    assert (tmp_path / "mine/tables/cpu.yml").read_bytes() == (options / "tables/cpu.yml").read_bytes()
    (readme,) = (tmp_path / "env").rglob("README.md")
    links = re.findall(r"\]\(([^)#\s]+)", readme.read_text())
    missing = [link for link in links if not link.startswith("http") and not (readme.parent / link).exists()]
    assert len(links) > 20 and not missing, "the README's links lead somewhere in what is installed"
    find = "from srkd_plugin.utils.shared_files import shared_folder; print(shared_folder('docs'))"
    found = tiny.run_ok("-c", find, python=python, cwd=tmp_path, PYTHONPATH="")
    assert found.strip() == str((readme.parent / "docs").resolve())


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["schema", "--out", "{tmp}"], "it is a folder"),
        (["schema", "--out", "."], "it is a folder"),
        (["schema", "--out", "{tmp}/pipe"], "a device or a pipe"),
        (["schema", "--out", "{tmp}/file/x"], "file"),
        (["schema", "--out", "{tmp}/" + 300 * "x"], "too long"),
        (["prepare", "demo", "--out", "{tmp}/file/x"], "it cannot be written"),
        (["options", "copy", "--all", ""], "the path is empty"),
        (["prepare", "demo", "--out", ""], "the path is empty"),
        (["cache", "info", ""], "the path is empty"),
        (["teacher", "verify", "-opt", "{tmp}/file", "--device", "9"], "'9' is no device"),
        (["cache", "make", "-opt", "{tmp}/file", "--device", "x"], "'x' is no device"),
        (["upscale", "--model", "{tmp}/file", "a", "b", "--device", "cuda:99"], "torch finds no cuda:99 here"),
        (["upscale", "--model", "{tmp}/file", "a", "b", "--device", "xpu:99"], "torch finds no xpu:99 here"),
        (["compare", "--gt", "{tmp}", "--lq", "{tmp}", "--scale", "0"], "--scale"),
    ],
)
def test_paths_and_values_that_cannot_be_are_one_line(arguments, says, tmp_path, monkeypatch, capsys):
    (tmp_path / "file").write_text("x")
    os.mkfifo(tmp_path / "pipe")
    monkeypatch.chdir(tmp_path)
    before = sorted(tmp_path.iterdir())
    try:
        code = main([argument.format(tmp=tmp_path) for argument in arguments])
    except SystemExit as end:
        code = end.code
    errors = capsys.readouterr().err
    assert (code, errors.count("\n"), sorted(tmp_path.iterdir())) == (2, 1, before), errors
    assert errors.startswith("error: ") and says in errors
