"""Owns what the site has besides docs/: the READMEs, and the files of the repository that pages link to."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files, InclusionLevel
from mkdocs.structure.pages import Page

__all__ = ["on_files", "on_page_markdown"]

ROOT = Path(__file__).parents[1]
DOCS = "docs"
# file of the repository -> page of the site
BESIDE_DOCS = {
    "README.md": "index.md",
    "CHANGELOG.md": "changes.md",
    "CONTRIBUTING.md": "contributor/contributing.md",
    "deploy/README.md": "operator/cluster.md",
    "deploy/CAPACITY.md": "operator/capacity.md",
    "findings/README.md": "contributor/findings.md",
    "securevqa_core/attacks/README.md": "researcher/attacks.md",
    "securevqa_core/attacks/tables.md": "researcher/attack-tables.md",
    "securevqa_core/checkpoints/README.md": "researcher/checkpoints.md",
    "securevqa_core/decoding/README.md": "researcher/decoding.md",
}
# Not to the web, nor inside its own page.
LINK = re.compile(r"(?<=\]\()(?!\w+:|#)(?P<path>[^)#\s]+)(?P<anchor>#[^)\s]*)?(?=\))")
SHOWN_AS_THEY_ARE = {".png", ".svg"}
LANGUAGES = {"": "sh", ".py": "python", ".toml": "toml", ".yml": "yaml", ".yaml": "yaml", ".json": "json"}
SOURCE_PAGE = "---\nhide: [navigation, toc]\nsearch: { exclude: true }\n---\n"


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the READMEs, and a page for every file of the repository that a page links to."""
    for source, page in BESIDE_DOCS.items():
        files.append(File.generated(config, page, abs_src_path=str(ROOT / source)))
    pages = {_source(file): (ROOT / _source(file)).read_text() for file in files.documentation_pages()}
    linked = {target for source, text in pages.items() for target in _links(source, text)}
    for target in sorted(linked - pages.keys()):
        files.append(_file_page(target, config))
    return files


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Turn links between files of the repository into links between pages of the site."""
    del config, files
    here = _source(page.file)

    def turned(link: re.Match[str]) -> str:
        target = _site_path(_target(here, link["path"]))
        return os.path.relpath(target, PurePosixPath(page.file.src_uri).parent) + (link["anchor"] or "")

    return LINK.sub(turned, markdown)


def _source(file: File) -> str:
    """The file of the repository that a page of the site is made of."""
    sources = {page: source for source, page in BESIDE_DOCS.items()}
    return sources.get(file.src_uri, f"{DOCS}/{file.src_uri}")


def _links(source: str, text: str) -> Iterator[str]:
    return (_target(source, link["path"]) for link in LINK.finditer(text))


def _target(source: str, path: str) -> str:
    return os.path.normpath(PurePosixPath(source).parent / path)


def _site_path(target: str) -> str:
    """Where the site has a file of the repository."""
    if target in BESIDE_DOCS:
        return BESIDE_DOCS[target]
    if target.endswith(".md") and target.startswith(f"{DOCS}/"):
        return target.removeprefix(f"{DOCS}/")
    is_plain = PurePosixPath(target).suffix in SHOWN_AS_THEY_ARE
    return f"source/{target}" if is_plain else f"source/{target}.md"


def _file_page(target: str, config: MkDocsConfig) -> File:
    path = ROOT / target
    if path.suffix in SHOWN_AS_THEY_ARE:
        return File.generated(config, _site_path(target), abs_src_path=str(path))
    if path.is_dir():
        inside = (one for one in path.iterdir() if not one.name.startswith("__"))
        body, language = "\n".join(sorted(one.name + "/" * one.is_dir() for one in inside)), "text"
    else:
        body, language = path.read_text(), LANGUAGES.get(path.suffix, "text")
    content = f"{SOURCE_PAGE}\n# {target}\n\n````{language}\n{body}\n````\n"
    return File.generated(config, _site_path(target), content=content, inclusion=InclusionLevel.NOT_IN_NAV)
