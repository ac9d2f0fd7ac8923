"""Docstrings begin with what a thing is or does: a noun or a verb, and not a preposition that leaves it out."""

import ast
import re

import pytest
import tiny

FOLDERS = ("srkd_plugin", "benchmarks", "soak", "scripts", "tools", "tests")
LEAVES_IT_OUT = re.findall(
    r"\w+",
    "Above After And As At Before Below Beside Between By For From If In Into Not Of On Or So Than To Under Until With "
    "Without",
)


def docstrings(tree):
    """Line and first word of each docstring, of attributes too; tests may tell stories."""
    for node in ast.walk(tree):
        if isinstance(node, (ast.Module, ast.ClassDef, ast.FunctionDef)):
            text = ast.get_docstring(node)
            if text and not getattr(node, "name", "").startswith("test_"):
                yield getattr(node, "lineno", 1), text.split()[0]
        body = getattr(node, "body", None)
        for before, after in zip(body, body[1:]) if isinstance(body, list) else ():
            is_text = isinstance(after, ast.Expr) and isinstance(after.value, ast.Constant)
            if is_text and isinstance(before, (ast.Assign, ast.AnnAssign)) and isinstance(after.value.value, str):
                yield after.lineno, after.value.value.split()[0]


@pytest.mark.parametrize("folder", FOLDERS)
def test_a_docstring_begins_with_a_noun_or_a_verb(folder):
    found = []
    for file in sorted((tiny.PROJECT / folder).rglob("*.py")):
        words = docstrings(ast.parse(file.read_text("utf-8")))
        found += [f"{file.relative_to(tiny.PROJECT)}:{line} {word}" for line, word in words if word in LEAVES_IT_OUT]
    assert found == []


def test_it_finds_those_of_attributes():
    code = '"""Module."""\nX = 1\n"""By index."""\ndef f():\n    """Of all keys."""\n'
    assert list(docstrings(ast.parse(code))) == [(1, "Module."), (3, "By"), (4, "Of")]
