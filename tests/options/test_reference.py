"""The reference in docs/options.md: current, whole, and with a meaning for every key."""

import importlib.util
import re

import pytest
import tiny

from srkd_plugin.options import reference, sections, stock_sections, stock_types, term_sections
from srkd_plugin.options.section import Section


@pytest.fixture(scope="module")
def script():
    path = tiny.PROJECT / "scripts/options_reference.py"
    spec = importlib.util.spec_from_file_location("options_reference", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_reference_of_all_keys_is_that_of_the_code(script):
    text = script.DOCUMENT.read_text()
    assert script.document(text) == text, "run python scripts/options_reference.py"
    assert "`teacher.precision`" in text and "`ContrastiveLoss`" in text
    described = [*vars(sections).values(), *vars(term_sections).values()]
    models = {m for m in described if isinstance(m, type) and issubclass(m, Section)}
    assert models - {Section} <= {model for _, model in sections.SECTIONS}


def test_every_key_has_a_meaning(script):
    rows = re.findall(r"^\| `(\S+)` \|.*\| (.*)\|$", script.DOCUMENT.read_text(), re.M)
    assert len(rows) > 50
    assert [key for key, meaning in rows if not meaning.strip()] == []


def test_every_stock_section_is_in_their_table():
    models = {
        m for m in vars(stock_sections).values() if isinstance(m, type) and issubclass(m, stock_types.StockSection)
    }
    assert models - {stock_types.StockSection} == {model for _, model in stock_sections.STOCK_SECTIONS}


def scaled(loss_weight, sharpness):
    """A function.

    Args:
        loss_weight: Of the function.
        sharpness: How sharp :func:`~a.b.scaled` is,
            on two lines | with a bar.
    """


class ScaledLoss:
    """:func:`scaled` times ``loss_weight``.

    Args:
        loss_weight: Ours.
        sharpness: See :func:`scaled`.

    Raises:
        ValueError: Never.
    """

    def __init__(self, loss_weight: float = 1.0, sharpness: int = 2, eps: float = 1e-6) -> None: ...


def test_an_argument_is_described_by_its_class_its_function_or_for_all_losses():
    text = reference.reference({"ScaledLoss": ScaledLoss}).partition("Arguments of")[2]
    assert "`scaled` times `loss_weight`." in text
    assert "| `loss_weight` | number | `1.0` | Ours. |" in text
    assert "| `sharpness` | whole number | `2` | How sharp `scaled` is, on two lines \\| with a bar. |" in text
    assert "| `eps` | number | `1e-06` | Small number that keeps a denominator from zero. |" in text
