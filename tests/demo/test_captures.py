"""The pictures of commands in the documentation are of the commands as they are, and load nothing."""

from __future__ import annotations

import re
import shlex
from itertools import groupby
from pathlib import Path
from types import ModuleType
from xml.etree import ElementTree

import pytest

ROOT = Path(__file__).parents[2]
TEXT = "{http://www.w3.org/2000/svg}text"


def lines(picture: str) -> list[str]:
    """What a picture shows in its terminal."""
    found = [one for one in ElementTree.fromstring(picture).iter(TEXT) if "clip-path" in one.attrib]
    placed = sorted((float(one.attrib["y"]), float(one.attrib["x"]), one.text or "") for one in found)
    rows = groupby(placed, key=lambda one: one[0])
    return ["".join(text for _, _, text in row).replace("\xa0", " ").rstrip() for _, row in rows]


def test_every_picture_is_shown_on_a_page_and_loads_nothing(captures: ModuleType) -> None:
    pages = "".join(page.read_text() for page in [*(ROOT / "docs").rglob("*.md"), ROOT / "README.md"])
    assert {path.stem for path in captures.ASSETS.glob("*.svg")} == captures.CAPTURES.keys()
    for name, command in captures.CAPTURES.items():
        picture = (captures.ASSETS / f"{name}.svg").read_text()
        assert re.search(rf"!\[[^]]+\]\(\S*assets/{name}\.svg\)", pages), name
        assert not re.search(r"url\((?!#)|href|<script|@font-face", picture)
        assert shlex.split(command)[1] in picture
        assert max(map(len, lines(picture))) <= captures.COLUMNS


def test_colours_and_names_of_a_terminal_are_kept_and_are_text(captures: ModuleType) -> None:
    printed = "\x1b[31mnot <scored>\x1b[0m & more\n" + "x" * 90
    picture = captures.picture(printed, title="securevqa score 'a&b.mp4'", name="one")
    assert lines(picture) == ["not <scored> & more", "x" * 80, "x" * 10]
    assert "securevqa&#160;score&#160;&#x27;a&amp;b.mp4&#x27;" in picture
    assert picture.count("fill: ") > 1


@pytest.mark.slow
@pytest.mark.parametrize("name", ["help", "models"])
def test_a_picture_is_of_what_the_command_prints_now(captures: ModuleType, tmp_path: Path, name: str) -> None:
    printed = captures.captured(captures.CAPTURES[name], tmp_path)
    fresh = captures.picture(printed, title=captures.CAPTURES[name], name=name)
    assert lines(fresh) == lines((captures.ASSETS / f"{name}.svg").read_text())
