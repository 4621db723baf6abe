"""Hooks of `mkdocs build`: pages and files outside docs/ become part of the site, so that one link works on GitHub and there.

README.md becomes the site's first page. A link from any page to another file of the repository, such as ../examples/tiny.yaml, leads to a
copy of that file in the site.
"""

import posixpath
import re
from pathlib import Path

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

ROOT = Path(__file__).parent
PAGES = {"README.md": "index.md"} | {name: name for name in ("CHANGELOG.md", "CONTRIBUTING.md", "SECURITY.md")}
"""Pages in the repository's root, and their names in the site."""
TABLE_ROW = re.compile(r"^\|.*$", re.MULTILINE)
LINK = re.compile(r"(\]\()(?!https?://|mailto:|#)([^)#\s]+)")


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the pages of the root, and every file of the repository to which a page links."""
    for name, page in PAGES.items():
        files.append(File.generated(config, page, content=(ROOT / name).read_text(encoding="utf-8")))
    sources = [f"docs/{file.src_uri}" for file in files.documentation_pages() if file.src_uri not in PAGES.values()]
    for source in [*sources, *PAGES]:
        for _, target in LINK.findall((ROOT / source).read_text(encoding="utf-8")):
            path = _in_repository(source, target)
            uri = _in_site(path)
            if (ROOT / path).is_file() and files.get_file_from_path(uri) is None:
                files.append(File.generated(config, uri, abs_src_path=str(ROOT / path)))
    return files


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Rewrite a page for the site: links from places in the repository to places in the site, and pipes in tables."""
    page_uri = page.file.src_uri
    if page_uri == PAGES["README.md"]:
        page.meta["hide"] = ["navigation"]  # it is the only page of its tab, and its screens need the room
    source = next((name for name, uri in PAGES.items() if uri == page_uri), f"docs/{page_uri}")

    def rewritten(link: re.Match[str]) -> str:
        target = _in_site(_in_repository(source, link[2]))
        return link[1] + posixpath.relpath(target, posixpath.dirname(page_uri) or ".")

    return TABLE_ROW.sub(_with_plain_pipes, LINK.sub(rewritten, markdown))


def _with_plain_pipes(row: re.Match[str]) -> str:
    """Row of a table whose code has plain pipes: GitHub wants them escaped there, and Python-Markdown shows the backslash."""
    return re.sub(r"`[^`\n]+`", lambda code: code[0].replace(r"\|", "|"), row[0])


def _in_repository(source: str, target: str) -> str:
    """Path of a link's target below the repository's root; `source` is the page that holds the link."""
    return posixpath.normpath(posixpath.join(posixpath.dirname(source), target))


def _in_site(path: str) -> str:
    """Path in the site of a file with this path in the repository."""
    return PAGES.get(path, path.removeprefix("docs/"))
