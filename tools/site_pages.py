"""Hooks of MkDocs: pages of the site that lie outside of docs/, and links between all of them as in the repository.

A link to another file of the repository is no page: of it the text is left.
"""

from __future__ import annotations

import posixpath
import re
from pathlib import Path
from typing import Any

from mkdocs.structure.files import File, Files

ROOT = Path(__file__).resolve().parents[1]
# PAGES: files outside of docs/ that are pages of the site, and how they are called there.
PAGES = {"README.md": "index.md", "CONTRIBUTING.md": "contributing.md", "benchmarks/README.md": "benchmarks.md"}
SOURCES = {page: source for source, page in PAGES.items()}

_LINK = re.compile(r"(?<!!)\[([^\]]+)\]\((?!\w+:|#)([^)\s]+)\)")
_PICTURE = re.compile(r"(!\[[^\]]*\]\()docs/")
_ROLE = re.compile(r":\w+:<code>~?([\w.]+)</code>")


def on_files(files: Files, config: Any) -> Files:
    """Add the pages that lie outside of docs/."""
    for source, page in PAGES.items():
        files.append(File.generated(config, page, content=(ROOT / source).read_text(encoding="utf-8")))
    return files


def on_page_markdown(markdown: str, page: Any, **_: Any) -> str:
    """Let links lead to pages of the site."""
    source = SOURCES.get(page.file.src_uri, f"docs/{page.file.src_uri}")

    def moved(link: re.Match[str]) -> str:
        target, hash_, anchor = link[2].partition("#")
        path = posixpath.normpath(posixpath.join(posixpath.dirname(source), target))
        name = PAGES.get(path, path.removeprefix("docs/") if path.startswith("docs/") else None)
        if name is None and (ROOT / path).exists():
            return link[1]
        return f"[{link[1]}]({name or link[2]}{hash_ if name else ''}{anchor if name else ''})"

    return _PICTURE.sub(r"\1", _LINK.sub(moved, markdown))


def on_page_content(html: str, **_: Any) -> str:
    """Write what docstrings refer to by a role of Sphinx as code."""
    return _ROLE.sub(lambda role: f"<code>{role[1].rpartition('.')[2]}</code>", html)
