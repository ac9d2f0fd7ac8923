"""The pages on paper: nothing is cut off, nothing is folded up, and nothing that only a screen can do is there."""

import browser
import pytest

pytestmark = [
    pytest.mark.skipif(browser.CHROMIUM is None, reason="no chromium on the path"),
    pytest.mark.timeout(1200),  # a browser on a machine that does much else
]
SHEETS = {"photos.html": (3, 8), "cpu.html": (10, 24), "compare.html": (2, 5), "wide.html": (6, 14)}
"""Pages of paper that each page may take, at least and at most."""
TOO_WIDE = """
(() => {
  const wide = document.documentElement.clientWidth;
  const is_cut = (e) => !(e instanceof SVGElement) && e.scrollWidth > e.clientWidth + 1
    && getComputedStyle(e).overflowX !== "visible";
  return [...document.body.querySelectorAll("*")].filter((e) => {
    const box = e.getBoundingClientRect();
    return box.width && (box.left < -1 || box.right > wide + 1 || is_cut(e));
  }).map((e) => `${e.tagName}.${e.getAttribute("class")}: ${e.textContent.trim().slice(0, 40)}`);
})()
"""


@pytest.fixture(params=list(SHEETS))
def page(request, chromium, pages):
    """A page as it is opened on a dark screen, and its name."""
    chromium.open(pages / request.param, dark=True)
    yield chromium, request.param
    assert chromium.errors == []


@pytest.mark.parametrize("paper", ["A4", "Letter"])
def test_a_page_takes_so_many_sheets(page, paper, tmp_path):
    chromium, name = page
    least, most = SHEETS[name]
    assert least <= chromium.pdf(tmp_path / "page.pdf", paper) <= most
    assert (tmp_path / "page.pdf").stat().st_size > 20_000


@pytest.mark.parametrize("paper", ["A4", "Letter"])
def test_nothing_is_wider_than_the_paper(page, paper):
    """Not in a table with many sets either, which is printed across."""
    chromium, name = page
    chromium.show_as_printed(paper, landscape=name == "wide.html")
    pages = chromium.evaluate("[...document.querySelectorAll('section')].map(e => getComputedStyle(e).page)")
    assert ("wide" in pages) == (name == "wide.html")
    chromium.evaluate("dispatchEvent(new Event('beforeprint'))")
    assert chromium.evaluate(TOO_WIDE) == []
    last = "[...document.querySelectorAll('table.results tr')].map(row => row.cells[row.cells.length - 1])"
    right, wide = chromium.evaluate(
        f"[Math.max(...{last}.map(cell => cell.getBoundingClientRect().right)), document.documentElement.clientWidth]"
    )
    assert wide * 0.9 < right <= wide + 1, "the last column is on the paper, and the table as wide as it"
    texts = chromium.evaluate(f"{last}.map(cell => cell.innerText.trim())")
    assert any(text[:1] in "+\u2212" and text for text in texts) or name == "compare.html"


def test_a_section_that_is_not_printed_across_fits_upright(chromium, pages):
    """The other sections of a table with many sets."""
    chromium.open(pages / "wide.html")
    chromium.show_as_printed()
    chromium.evaluate("dispatchEvent(new Event('beforeprint')); document.querySelector('.wide').remove()")
    assert chromium.evaluate(TOO_WIDE) == []


def test_what_is_folded_up_is_printed_and_folded_up_again(page):
    chromium, name = page
    states = "[...document.querySelectorAll('details')].map(one => one.open)"
    before = chromium.evaluate(states)
    chromium.evaluate("dispatchEvent(new Event('beforeprint'))")
    assert chromium.evaluate("[...document.querySelectorAll('details.print')].every(one => one.open)")
    closed = chromium.evaluate("[...document.querySelectorAll('details:not([open])')].map(one => one.className)")
    assert set(closed) <= {"origin", ""}, "options, of which a sentence says that they are not printed"
    chromium.show_as_printed()
    says = "[...document.querySelectorAll('.paper')].map(one => one.innerText).join()"
    assert ("not printed" in chromium.evaluate(says)) == (name != "compare.html") == bool(closed)
    chromium.evaluate("dispatchEvent(new Event('afterprint'))")
    assert chromium.evaluate(states) == before


def test_without_the_script_it_is_printed_too(page):
    """By the style alone: as in a browser that runs no script."""
    chromium, _ = page
    chromium.show_as_printed()
    inside = "[...document.querySelectorAll('details.print table, details.print img, details.print li')]"
    seen = "one.checkVisibility({contentVisibilityAuto: true}) && one.getBoundingClientRect().height > 0"
    assert chromium.evaluate(f"{inside}.length") > 0
    soon = "for (let left = 100; left && !all(); left--) await new Promise(go => setTimeout(go, 100)); return all();"
    found = f"(async () => {{ const all = () => {inside}.every(one => {seen}); {soon} }})()"
    assert chromium.evaluate(found), "what was folded up is laid out in one of the next frames"


def test_paper_has_nothing_to_operate(page):
    chromium, _ = page
    chromium.show_as_printed()
    shown = "[...document.querySelectorAll('{}')].filter(e => e.checkVisibility()).length"
    assert chromium.evaluate(shown.format("nav, input, .edge, .readout, .screen, #crops-choice")) == 0
    assert chromium.evaluate(shown.format("#images-choice select")) == 2, "what is compared is said"
    bordered = "parseFloat(getComputedStyle(e).borderTopWidth) > 0 && getComputedStyle(e).display !== 'contents'"
    operated = "[...document.querySelectorAll('button, select')].filter(e => e.checkVisibility())"
    assert chromium.evaluate(f"{operated}.filter(e => {bordered}).map(e => e.outerHTML)") == []
    marks = "getComputedStyle(document.querySelector('th button'), '::after').display"
    assert chromium.evaluate(marks) == "none"


def test_the_heads_of_tables_are_repeated_with_their_names(page):
    """A button is not: its text has to be the cell's own. Names of rows stick to a screen, and hid lines on paper."""
    chromium, _ = page
    chromium.show_as_printed()
    styles = "[...document.querySelectorAll('th button')].map(e => getComputedStyle(e).display)"
    assert set(chromium.evaluate(styles)) == {"contents"}
    assert chromium.evaluate("getComputedStyle(document.querySelector('tbody th.name')).position") == "static"


def test_small_print_is_small(page):
    """The halves of intervals were larger than the numbers above them."""
    chromium, _ = page
    chromium.show_as_printed()
    sizes = "[...document.querySelectorAll('td .half')].every(e => size(e) <= size(e.parentElement))"
    assert chromium.evaluate(f"((size) => {sizes})((e) => parseFloat(getComputedStyle(e).fontSize))")


def test_a_dark_screen_prints_light(page):
    chromium, _ = page
    chromium.show_as_printed()
    style = "(({color, backgroundColor}) => [color, backgroundColor])(getComputedStyle(document.body))"
    assert chromium.evaluate(style) == ["rgb(0, 0, 0)", "rgb(255, 255, 255)"]
    line = "getComputedStyle(document.documentElement).getPropertyValue('--c0').trim()"
    assert chromium.evaluate(line) == "#1f5fbf"
