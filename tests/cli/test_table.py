"""``srkd table``: the report of stored results, what would be run, and what is refused in one line."""

import pytest
import tiny

from srkd_plugin.cli.main import main

TABLE = str(tiny.PROJECT / "options/tables/cpu.yml")
RESULTS = str(tiny.PROJECT / "docs/results/cpu")


@pytest.mark.parametrize("flag", ["--dry-run", "--dry_run"])
def test_a_dry_run_prints_the_commands_and_writes_nothing(tmp_path, monkeypatch, capsys, flag):
    monkeypatch.chdir(tmp_path)
    assert main(["table", "run", TABLE, "--methods", "fakd", "--seeds", "0", flag]) == 0
    shown = capsys.readouterr().out.splitlines()
    assert all(line.startswith("$ python -m srkd_plugin.t") for line in shown) and len(shown) >= 2
    assert tiny.tree(tmp_path) == {}


def test_a_report_of_stored_results(tmp_path, capsys):
    assert main(["table", "report", TABLE, "--results", RESULTS, "--out", str(tmp_path / "out")]) == 0
    assert capsys.readouterr().out.strip() == (tmp_path / "out/table.md").read_text("utf-8").strip()


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["run", "none.yml"], "error: file = 'none.yml'"),
        (["run", TABLE, "--methods", "fakt"], "error: --methods = 'fakt': the table has none"),
        (["report", TABLE, "--results", "a", "b"], "error: --out is missing: results of several folders"),
        (["report", TABLE, "--results", "none"], "error: "),
    ],
)
def test_bad_input_is_one_line_and_writes_nothing(tmp_path, monkeypatch, capsys, arguments, words):
    monkeypatch.chdir(tmp_path)
    assert main(["table", *arguments]) == 2
    errors = capsys.readouterr().err
    assert errors.startswith(words) and errors.count("\n") == 1
    assert tiny.tree(tmp_path) == {}
