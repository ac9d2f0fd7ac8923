"""The documents: their links lead somewhere, and the files and keys that they name are there."""

import re

import pytest
import tiny
import yaml

from srkd_plugin.options.terms import read_terms

DOCUMENTS = sorted([*tiny.PROJECT.glob("*.md"), *tiny.PROJECT.glob("docs/*.md")])


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


def test_the_readmes_terms_are_accepted():
    """Every distill_opt block of the README is read by the code that reads users' files."""
    blocks = re.findall(r"```yaml\n(.*?)```", (tiny.PROJECT / "README.md").read_text(), re.S)
    terms = [block for block in blocks if "type:" in block and "model_type" not in block]
    assert len(terms) >= 2
    for block in terms:
        block = "\n".join(line[4:] for line in block.splitlines() if not line.startswith("  distill_opt"))
        read = read_terms(yaml.safe_load(block))
        assert read
