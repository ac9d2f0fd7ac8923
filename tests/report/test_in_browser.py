"""The pages in a headless Chromium: they run without an error, load nothing, and can be worked with mouse and keys."""

import json
import os
from pathlib import Path

import browser
import pytest

pytestmark = [
    pytest.mark.skipif(browser.CHROMIUM is None, reason="no chromium on the path"),
    pytest.mark.timeout(1200),  # a browser on a machine that does much else
]
SECTIONS = ("table", "gains-plot", "curves", "times", "per-image", "crops", "origin")
SCREENSHOTS = os.environ.get("SRKD_SCREENSHOTS")
"""Folder that keeps the pictures of the sections, for people to look at."""


@pytest.fixture(params=["photos.html", "cpu.html", "compare.html"])
def page(request, chromium, pages):
    chromium.open(pages / request.param)
    return chromium


@pytest.fixture
def photos(chromium, pages):
    chromium.open(pages / "photos.html")
    yield chromium
    assert chromium.errors == []


def test_a_page_runs_without_an_error_and_loads_nothing(page):
    assert page.evaluate("document.documentElement.classList.contains('js')")
    assert page.errors == []
    assert [url for url in page.requests if not url.startswith("data:")] == page.requests[:1]
    assert page.requests[0].startswith("file:")
    names = page.evaluate("[...document.querySelectorAll('[id]')].map(element => element.id)")
    assert len(set(names)) == len(names)


@pytest.mark.parametrize("width", [1280, 400])
def test_a_page_is_as_wide_as_its_window(page, width):
    page.size(width, 900)
    assert page.evaluate("document.documentElement.scrollWidth") <= width


def test_a_narrow_window_shows_dots_beside_their_names(page):
    page.size(400, 900)
    names = "[...document.querySelectorAll('#gains-plot svg.plot > text[text-anchor=end]')]"
    assert all(right < 240 for right in page.evaluate(f"{names}.map(name => name.getBoundingClientRect().right)"))


def test_a_page_is_readable_in_light_and_dark(page):
    """The contrast of all text with the background is at least 4.5, as WCAG AA wants it."""
    script = """
    (() => {
      const parse = (color) => color.match(/[\\d.]+/g).map(Number);
      const light = (color) => { const [r, g, b] = parse(color).slice(0, 3).map((v) => { v /= 255;
        return v <= 0.03928 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4; });
        return 0.2126 * r + 0.7152 * g + 0.0722 * b; };
      const behind = (element) => { for (let at = element; at; at = at.parentElement) {
        const color = getComputedStyle(at).backgroundColor; if (parse(color)[3] !== 0) return color; }
        return "rgb(255, 255, 255)"; };
      const bad = [];
      for (const element of document.querySelectorAll("body *")) {
        const own = [...element.childNodes].some((node) => node.nodeType === 3 && node.textContent.trim());
        if (!own || element.closest("script, style, noscript, title")) continue;
        const style = getComputedStyle(element), color = element instanceof SVGElement ? style.fill : style.color;
        const [a, b] = [light(color), light(behind(element))].sort((x, y) => y - x);
        const name = `${element.tagName}.${element.getAttribute("class")}`;
        if ((a + 0.05) / (b + 0.05) < 4.5) bad.push(`${name}: ${color} on ${behind(element)}`);
      }
      return [...new Set(bad)];
    })()
    """
    for scheme in ("light", "dark"):
        page.scheme(scheme)
        assert page.evaluate(script) == [], scheme
    assert page.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(20, 23, 27)"


def test_sections_can_be_seen(chromium, pages, tmp_path):
    """Every section has a picture in light and dark, and they differ."""
    folder = Path(SCREENSHOTS) if SCREENSHOTS else tmp_path
    for scheme in ("light", "dark"):
        chromium.open(pages / "photos.html", dark=scheme == "dark")
        for section in SECTIONS:
            chromium.screenshot(folder / f"{scheme}_{section}.png", f"#{section}")
    for section in SECTIONS:
        light, dark = ((folder / f"{scheme}_{section}.png").read_bytes() for scheme in ("light", "dark"))
        assert light != dark and min(len(light), len(dark)) > 2000


def column(page, number):
    cells = "[...document.querySelectorAll('table.results')[0].tBodies[0].rows]"
    return page.evaluate(f"{cells}.map(row => row.cells[{number}].dataset.value)")


def test_a_table_is_sorted_by_a_click_and_by_a_key(photos):
    button = "document.querySelector('table.results th[data-column=\"3\"] button')"
    before = column(photos, 3)
    photos.evaluate(f"{button}.click()")
    values = [float(value) for value in column(photos, 3)]
    assert values == sorted(map(float, before), reverse=True) and column(photos, 3) != before
    photos.evaluate(f"{button}.focus()")
    photos.press("Enter", 13)
    assert [float(value) for value in column(photos, 3)] == sorted(values)
    assert photos.evaluate(f"{button}.closest('th').getAttribute('aria-sort')") == "ascending"
    photos.evaluate("document.querySelector('table.results th[data-column=\"4\"] button').click()")
    gains = column(photos, 4)
    assert gains[0] != "" and gains[-1] == "", "rows without a gain stay last"
    sorts = photos.evaluate("[...document.querySelectorAll('table.results th[aria-sort]')].map(h => h.ariaSort)")
    assert sorts.count("none") == len(sorts) - 1


def test_the_slider_moves_with_mouse_and_keys(photos):
    photos.evaluate("document.querySelector('.compare').scrollIntoView({block: 'center', behavior: 'instant'})")
    left, top, width, height = photos.evaluate(
        "(() => { const b = document.querySelector('.compare').getBoundingClientRect();"
        "return [b.x, b.y, b.width, b.height]; })()"
    )
    at = "getComputedStyle(document.querySelector('.compare')).getPropertyValue('--at')"
    photos.drag((left + width / 2, top + height / 2), (left + width * 0.8, top + height / 2))
    assert 75 <= float(photos.evaluate(at).rstrip("%")) <= 85
    edge = photos.evaluate("document.querySelector('.compare .edge').getBoundingClientRect().x")
    assert edge == pytest.approx(left + width * 0.8, abs=width * 0.06)
    before = float(photos.evaluate(at).rstrip("%"))
    photos.press("ArrowLeft", 37)
    assert float(photos.evaluate(at).rstrip("%")) == before - 1
    assert str(int(before - 1)) in photos.evaluate("document.querySelector('.compare input').ariaValueText")


def test_any_two_systems_can_be_slid_over_each_other(photos):
    choose = """
    ((number, value) => { const s = document.querySelectorAll('#crops-choice select')[number]; s.value = value;
      s.dispatchEvent(new Event('change')); })
    """
    shown = "[...document.querySelectorAll('.compare img')].map(image => image.src)"
    of = "[...document.querySelectorAll('.sheet img')].filter(i => i.dataset.system === name).map(i => i.src)"
    sheet = f"((name) => {of})"
    photos.evaluate(f"{choose}(0, 'teacher')")
    photos.evaluate(f"{choose}(1, 'bicubic')")
    assert photos.evaluate(shown)[1::2] == photos.evaluate(f"{sheet}('teacher')")
    assert photos.evaluate(shown)[::2] == photos.evaluate(f"{sheet}('bicubic')")
    assert "teacher" in photos.evaluate("document.querySelector('.sides').textContent")
    assert photos.evaluate(
        "[...document.querySelectorAll('.compare img')].every(i => i.complete && i.naturalWidth > 0)"
    )
    options = photos.evaluate("[...document.querySelectorAll('#crops-choice select')[0].options].map(o => o.value)")
    assert options == ["HR (original)", "bicubic", "teacher", "none", "good"]


def test_the_differences_of_images_are_those_of_the_chosen_systems(page):
    """At first what the server drew; after a choice what the script draws from the same figures."""
    read = "document.getElementById('gains').innerText"
    first = page.evaluate(read)
    second = "document.querySelectorAll('#images-choice select')[1]"
    original = page.evaluate(f"{second}.value")
    page.evaluate(f"{second}.value = 'bicubic'; {second}.dispatchEvent(new Event('change'))")
    changed = page.evaluate(read)
    page.evaluate(f"{second}.value = {json.dumps(original)}; {second}.dispatchEvent(new Event('change'))")
    assert page.evaluate(read) == first != changed


def test_the_curves_say_their_values_to_pointer_and_keys(photos):
    photos.evaluate("document.querySelector('.chart svg').scrollIntoView({block: 'center', behavior: 'instant'})")
    readout = "document.querySelector('.chart .readout').textContent"
    photos.evaluate("document.querySelector('.chart svg').focus()")
    photos.press("End", 35)
    assert photos.evaluate(readout).startswith("Iteration 2,000") and "32.600" in photos.evaluate(readout)
    photos.press("ArrowLeft", 37)
    assert photos.evaluate(readout).startswith("Iteration 1,000") and "31.600" in photos.evaluate(readout)
    x, y = photos.evaluate(
        "(() => { const b = document.querySelector('.chart svg').getBoundingClientRect();"
        "return [b.right - 20, b.y + b.height / 2]; })()"
    )
    photos.move(x, y)
    assert photos.evaluate(readout).startswith("Iteration 2,000")


def test_a_line_is_brought_out_by_its_button(photos):
    photos.evaluate("document.querySelectorAll('.legend button')[1].click()")
    dim = photos.evaluate("[...document.querySelectorAll('.chart g.series')].map(g => g.classList.contains('dim'))")
    assert dim == [True, False]


def test_everything_that_is_operated_has_a_name(page):
    script = """
    [...document.querySelectorAll("button, select, input, summary, [tabindex='0'], [role=img]")].filter((e) =>
      !(e.getAttribute("aria-label") || e.textContent.trim() || (e.labels && e.labels.length))).map((e) => e.outerHTML)
    """
    assert page.evaluate(script) == []
    assert page.evaluate("[...document.images].filter(i => !i.hasAttribute('alt')).length") == 0
    assert page.evaluate("[...document.querySelectorAll('.sheet img')].every(i => i.alt.length > 3)")
