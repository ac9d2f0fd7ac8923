"""The site of the documents: links between files of the repository become links between pages."""

import re

import pytest
import tiny
import yaml

site = pytest.importorskip("site_pages", reason="mkdocs is not installed")
docstrings = pytest.importorskip("site_docstrings", reason="griffe is not installed")

MKDOCS = (tiny.PROJECT / "mkdocs.yml").read_text("utf-8")


def pages(nav):
    for entry in nav:
        if isinstance(entry, str):
            yield entry
        else:
            (inside,) = entry.values()
            yield from pages([inside] if isinstance(inside, str) else inside)


def test_every_document_has_its_place():
    nav = list(pages(yaml.safe_load(MKDOCS)["nav"]))
    docs = tiny.PROJECT / "docs"
    written = {str(file.relative_to(docs)) for file in [*docs.glob("*.md"), *docs.glob("api/*.md")]}
    assert sorted(nav) == sorted(written | set(site.PAGES.values()))


@pytest.mark.parametrize(
    ("page", "link", "becomes"),
    [
        ("method.md", "results.md#the-demo", "results.md#the-demo"),
        ("results.md", "../README.md", "index.md"),
        ("results.md", "results/cpu/images.csv", "results/cpu/images.csv"),
        ("results.md", "../options/tables/paper.yml", "files/options/tables/paper.yml.md"),
        ("api/losses.md", "../method.md", "../method.md"),
        ("api/losses.md", "../../CHANGELOG.md", "../changelog.md"),
        ("index.md", "docs/images/quickstart.png", "images/quickstart.png"),
        ("index.md", "docs/training.md#which-file-do-i-want", "training.md#which-file-do-i-want"),
        ("index.md", "LICENSE", "files/LICENSE.md"),
        ("contributing.md", "docs/architecture.md", "architecture.md"),
        ("method.md", "https://example.org/a.md", "https://example.org/a.md"),
        ("method.md", "#equation-1", "#equation-1"),
    ],
)
def test_a_link_leads_to_the_page_of_its_file(page, link, becomes):
    text = site.with_links_of_the_site(f"See [this]({link}), and ![that]({link}).\n", page)
    assert text == f"See [this]({becomes}), and ![that]({becomes}).\n"


def test_code_is_left_alone():
    text = "```yaml\n[a](../b.md)\n```\n\n````\n```\n[a](../b.md)\n````\n"
    assert site.with_links_of_the_site(text, "method.md") == text
    assert list(site.targets(text + "[a](../CHANGELOG.md)", "docs/method.md")) == ["CHANGELOG.md"]


def test_a_file_is_shown_and_a_folder_is_an_error():
    assert site.page_with_file("options/test_student.yml").startswith("# options/test_student.yml\n\n`````yaml\n")
    with pytest.raises(site.PluginError, match="options, which is no file"):
        site.page_with_file("options")


def test_nothing_of_others_is_fetched():
    config = yaml.safe_load(MKDOCS)
    assert config["theme"]["font"] is False, "material fetches Google's"
    assert not re.findall(r"https?://", MKDOCS)
    (python,) = (plugin["mkdocstrings"]["handlers"]["python"] for plugin in config["plugins"] if plugin != "search")
    assert python["inventories"] == []


@pytest.mark.parametrize(
    ("text", "becomes"),
    [
        ("See :func:`run`.", '<autoref optional identifier="p.m.run"><code>run</code></autoref>'),
        ("See :func:`~p.n.run`.", '<autoref optional identifier="p.n.run"><code>run</code></autoref>'),
        ("See :class:`p.n.C`.", '<autoref optional identifier="p.n.C"><code>p.n.C</code></autoref>'),
        ("See :meth:`check`.", '<autoref optional identifier="p.m.C.check"><code>check</code></autoref>'),
    ],
)
def test_roles_become_references(text, becomes):
    assert docstrings.as_markdown(text, "p.m", "p.m.C") == f"See {becomes}."


def test_literal_blocks_lose_one_colon():
    assert docstrings.as_markdown("Template::\n\n    a::b\n", "p", "p") == "Template:\n\n    a::b\n"


def test_formulas_are_shown_as_they_are():
    text = "Sum:\n\n.. math::\n    a*b \\\\\n    c\n\nOf C*H*W, ``N*N`` and a * b.\n"
    shown = "Sum:\n\n```latex\n    a*b \\\\\n    c\n```\n\nOf C\\*H\\*W, ``N*N`` and a * b.\n"
    assert docstrings.as_markdown(text, "p", "p") == shown


def test_test_sh_builds_it():
    assert re.search(r'mkdocs" build --strict', (tiny.PROJECT / "scripts/test.sh").read_text())
