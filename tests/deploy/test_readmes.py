"""Every command that a README tells a reader to run: it exists, and so do its options and its files."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest
from typer.main import get_command

from pipeline.cli import app

ROOT = Path(__file__).parents[2]
PAGES = [
    page
    for page in (path.relative_to(ROOT) for path in sorted(ROOT.rglob("*.md")))
    if not any(part == "build" or part.startswith(".") for part in page.parts)
]
CODE = re.compile(r"^```\w*\n(.*?)^```|(?<!`)`([^`]+)`(?!`)", re.MULTILINE | re.DOTALL)
ENDS = {"|", "||", "&&", ";", ">", "<"}


def commands(page: Path) -> list[list[str]]:
    """The words of every command in a page's blocks of code and in its lines."""
    found = []
    for block, inline in CODE.findall((ROOT / page).read_text()):
        lines = block.replace("\\\n", " ").splitlines() if block else [" ".join(inline.split())]
        for line in lines:
            try:
                found.append(shlex.split(line, comments=True))
            except ValueError:  # no command: an apostrophe in a comment, half a line of Python
                continue
    return found


def calls(page: Path, program: str) -> list[list[str]]:
    """What follows the name of a program, up to the end of its command."""
    found = []
    for words in commands(page):
        if program in words:
            rest = words[words.index(program) + 1 :]
            end = next((place for place, word in enumerate(rest) if word in ENDS), len(rest))
            found.append(rest[:end])
    return found


@pytest.mark.parametrize("page", PAGES, ids=str)
def test_securevqa_has_every_command_and_option_that_a_page_names(page: Path) -> None:
    for words in calls(page, "securevqa"):
        command, rest = get_command(app), list(words)
        while rest and (below := getattr(command, "commands", None)):
            assert rest[0] in below, f"{page}: securevqa {' '.join(words)}"
            command = below[rest.pop(0)]
        known = {
            option for parameter in command.params for option in (*parameter.opts, *parameter.secondary_opts)
        }
        asked = {word.partition("=")[0] for word in rest if word.startswith("--")}
        assert asked <= known | {"--help"}, f"{page}: securevqa {' '.join(words)}"


@pytest.mark.parametrize("page", PAGES, ids=str)
def test_the_files_that_a_page_has_python_and_pytest_run_are_there(page: Path) -> None:
    named = [*calls(page, "pytest"), *(words[:1] for words in calls(page, "python"))]
    files = [
        word.partition("::")[0] for words in named for word in words if re.search(r"^\w.*/|\.py\b", word)
    ]
    assert [file for file in files if not (ROOT / file).exists()] == []


def test_the_pages_name_commands_at_all() -> None:
    said = {" ".join(words[:1]) for page in PAGES for words in calls(page, "securevqa")}
    assert {"score", "gate", "report", "runs", "compare", "extract", "weights"} <= said
