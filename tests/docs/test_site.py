"""The site is built without a warning, has every page, and asks nothing of the network."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGES = sorted(path.relative_to(ROOT / "docs") for path in (ROOT / "docs").rglob("*.md"))
LOADED = re.compile(r"<(?:script|img|link|iframe)\b[^>]*?\b(?:src|href)=\"?(?:https?:)?//[^>]*>")
LOADED_BY_STYLE = re.compile(r"(?:@import|url\()\s*[\"']?(?:https?:)?//")


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("site")
    done = subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(folder)],
        cwd=ROOT,
        env=os.environ | {"NO_MKDOCS_2_WARNING": "1"},
        text=True,
        capture_output=True,
        check=False,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    return folder


@pytest.mark.parametrize("page", PAGES, ids=str)
def test_every_page_is_in_the_site_and_in_its_menu(site: Path, page: Path) -> None:
    assert (site / page.with_suffix(".html")).exists()
    assert f'href="{page.with_suffix(".html")}"' in (site / "index.html").read_text()


def test_readmes_are_pages_whose_links_stay_in_the_site(site: Path) -> None:
    assert "operator/cluster.html" in (site / "index.html").read_text()
    cluster = (site / "operator" / "cluster.html").read_text()
    assert 'href="../source/deploy/Containerfile.html"' in cluster
    assert "USER" in (site / "source" / "deploy" / "Containerfile.html").read_text()


def test_pages_load_nothing_from_the_network(site: Path) -> None:
    pages, styles = sorted(site.rglob("*.html")), sorted(site.rglob("*.css"))
    assert len(pages) > len(PAGES)
    assert [page.name for page in pages if LOADED.search(page.read_text())] == []
    assert styles
    assert [style.name for style in styles if LOADED_BY_STYLE.search(style.read_text())] == []
