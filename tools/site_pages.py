"""Hooks of mkdocs: documents outside docs/ become pages, and links that leave docs/ lead to pages, too.

The documents are written for GitHub, where links are paths in the repository. In the site

- README.md, CHANGELOG.md and CONTRIBUTING.md are pages (:data:`PAGES`);
- any other file that a document links to is shown on a page of its own, ``files/<path>.md``. A link to the repository
  would need an address, which forks and copies do not share, and a network.
"""

from __future__ import annotations

import posixpath
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from mkdocs.exceptions import PluginError
from mkdocs.structure.files import File, Files

ROOT = Path(__file__).resolve().parent.parent
PAGES = {"README.md": "index.md", "CHANGELOG.md": "changelog.md", "CONTRIBUTING.md": "contributing.md"}
"""Documents at the top of the repository, and the pages that they become."""
LINK = re.compile(r"\]\((?![a-z]+:|#)([^)#\s]+)(#[^)\s]*)?\)")
"""A relative link in Markdown: path and anchor."""
LANGUAGES = {".yml": "yaml", ".py": "python", ".sh": "bash", ".json": "json"}


def place_of(page: str) -> str:
    """Path in the repository of the document that a page is made from."""
    return next((document for document, made in PAGES.items() if made == page), f"docs/{page}")


def page_of(path: str) -> str:
    """Path in the site of what a path in the repository becomes."""
    if path in PAGES:
        return PAGES[path]
    return path[len("docs/") :] if path.startswith("docs/") else f"files/{path}.md"


def outside_fences(markdown: str, change: Callable[[str], str]) -> str:
    """Change the lines of a document that are not in fenced code."""
    lines, fence = [], ""
    for line in markdown.splitlines(keepends=True):
        mark = re.match(r"\s*(```+|~~~+)", line)
        if mark and not fence:
            fence = mark[1]
        elif mark and line.strip() == fence:
            fence = ""
        elif not fence:
            line = change(line)
        lines.append(line)
    return "".join(lines)


def targets(markdown: str, place: str) -> Iterator[str]:
    """Paths in the repository that a document links to.

    Args:
        markdown: Its text.
        place: Its own path in the repository.
    """
    found: list[str] = []
    outside_fences(markdown, lambda line: found.extend(path for path, _ in LINK.findall(line)) or line)
    for path in found:
        yield posixpath.normpath(posixpath.join(posixpath.dirname(place), path))


def with_links_of_the_site(markdown: str, page: str) -> str:
    """The text of a page, with its links between files of the repository as links between pages.

    Args:
        markdown: The document's text.
        page: Path of the page in the site.
    """
    folder, here = posixpath.dirname(place_of(page)), posixpath.dirname(page)

    def moved(link: re.Match[str]) -> str:
        target = page_of(posixpath.normpath(posixpath.join(folder, link[1])))
        return f"]({posixpath.relpath(target, here or '.')}{link[2] or ''})"

    return outside_fences(markdown, lambda line: LINK.sub(moved, line))


def page_with_file(path: str) -> str:
    """A page that shows a file of the repository.

    Raises:
        PluginError: There is no such file, e.g. because it is a folder.
    """
    file = ROOT / path
    if not file.is_file():
        raise PluginError(f"a document links to {path}, which is no file; link to one, or to a page")
    language = LANGUAGES.get(file.suffix, "text")
    return f"# {path}\n\n`````{language}\n{file.read_text('utf-8').rstrip()}\n`````\n"


def on_files(files: Files, config: Any) -> Files:
    """Add the pages that are not in docs/ (called by mkdocs)."""
    for document, page in PAGES.items():
        files.append(File.generated(config, page, content=(ROOT / document).read_text("utf-8")))
    linked = {
        path for page in files.documentation_pages() for path in targets(page.content_string, place_of(page.src_uri))
    }
    for path in sorted(linked):
        if page_of(path).startswith("files/"):
            files.append(File.generated(config, page_of(path), content=page_with_file(path)))
    return files


def on_page_markdown(markdown: str, page: Any, config: Any, files: Files) -> str:
    """Turn the links of a page into those of the site (called by mkdocs)."""
    uri = page.file.src_uri
    return markdown if uri.startswith("files/") else with_links_of_the_site(markdown, uri)
