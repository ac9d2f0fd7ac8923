"""The documents: their links lead somewhere, and the files and keys that they name are there."""

import re

import pytest
import tiny
import yaml

from srkd_plugin.cli.main import main
from srkd_plugin.options.terms import read_terms
from srkd_plugin.tables.table_sections import Method, Table, TeacherRow

DOCUMENTS = sorted([*tiny.PROJECT.glob("*.md"), *tiny.PROJECT.glob("docs/*.md"), *tiny.PROJECT.glob("docs/api/*.md")])

SECTIONS_OF_A_TABLE = {"": Table, "teacher.": TeacherRow, "methods.NAME.": Method}


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda d: d.name)
def test_relative_links_lead_somewhere(document):
    targets = re.findall(r"\]\(([^)#\s]+)", document.read_text())
    missing = [t for t in targets if not t.startswith("http") and not (document.parent / t).exists()]
    assert not missing


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda d: d.name)
def test_named_scripts_options_and_tests_exist(document):
    text = document.read_text()
    for path in re.findall(r"(?<!\w/)(?:scripts|options)/\w+\.(?:py|sh|yml)", text):
        assert (tiny.PROJECT / path).exists(), path
    tests = "\n".join(file.read_text() for file in tiny.PROJECT.glob("tests/**/test_*.py"))
    for name in re.findall(r"`(test_\w+?)(?:_?\.{3})?`", text):
        assert f"def {name}" in tests or (tiny.PROJECT / "options" / f"{name}.yml").exists(), name


def test_the_terms_that_are_shown_are_accepted():
    """Every distill_opt block of docs/terms.md is read by the code that reads users' files."""
    blocks = re.findall(r"```yaml\n(.*?)```", (tiny.PROJECT / "docs/terms.md").read_text(), re.S)
    terms = [block for block in blocks if "type:" in block and "model_type" not in block]
    assert len(terms) >= 2
    for block in terms:
        block = "\n".join(line[4:] for line in block.splitlines() if not line.startswith("  distill_opt"))
        read = read_terms(yaml.safe_load(block))
        assert read


def test_the_table_that_is_shown_can_be_run_and_all_keys_are_listed(tmp_path, monkeypatch, capsys):
    """docs/tables.md: its example is planned with the shipped options files alone, and no key is left out."""
    text = (tiny.PROJECT / "docs/tables.md").read_text()
    (block,) = re.findall(r"```yaml\n(.*?)```", text, re.S)
    (tmp_path / "mine.yml").write_text(block)
    monkeypatch.chdir(tmp_path)
    assert main(["table", "run", "mine.yml", "--dry-run"]) == 0
    shown = capsys.readouterr().out
    assert shown.count("srkd_plugin.train") == 6 and shown.count("cache make") == 1
    keys = [f"{start}{key}" for start, model in SECTIONS_OF_A_TABLE.items() for key in model.model_fields]
    named = re.findall(r"^\| (.*?) \|", text, re.M)
    listed = {key for names in named for key in re.findall(r"`([\w.]+)`", names)}
    parts = {key.split(".")[0] for key in listed}
    assert [key for key in keys if key not in (listed if "." in key else parts)] == []


def test_the_readme_is_short_and_leads_to_every_document():
    """One screen of what it is; what it once said in full is in docs/."""
    text = (tiny.PROJECT / "README.md").read_text()
    assert len(text.splitlines()) <= 120
    missing = [file.name for file in tiny.PROJECT.glob("docs/*.md") if f"](docs/{file.name})" not in text]
    assert missing == []


def test_every_options_file_is_in_the_table_of_them():
    """docs/training.md, "Which file do I want?"; the demo's small twins are one row."""
    text = (tiny.PROJECT / "docs/training.md").read_text()
    files = [file.name for file in tiny.PROJECT.glob("options/*.yml") if not file.name.startswith("demo_")]
    assert [name for name in files if f"| `{name}` |" not in text] == []


@pytest.mark.parametrize("page", sorted(tiny.PROJECT.glob("docs/api/*.md")), ids=lambda page: page.stem)
def test_examples_of_the_python_pages_run(page, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for code in re.findall(r"```python\n(.*?)```", page.read_text(), re.S):
        exec(compile(code, str(page), "exec"), {})  # ours
