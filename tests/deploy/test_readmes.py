"""Every command that a README or a page tells a reader to run: it exists, with its options and its files."""

from __future__ import annotations

import itertools
import re
import shlex
from pathlib import Path

import click
import pytest
from typer.main import get_command

from pipeline.cli import app
from pipeline.commands.lazy import LazyGroup

ROOT = Path(__file__).parents[2]
PROGRAM = get_command(app)
PAGES = [
    page
    for page in (path.relative_to(ROOT) for path in sorted(ROOT.rglob("*.md")))
    if not any(part == "build" or part.startswith(".") for part in page.parts)
]
CODE = re.compile(r"^```\w*\n(.*?)^```|(?<!`)`([^`]+)`(?!`)", re.MULTILINE | re.DOTALL)
ENDS = {"|", "||", "&&", ";", ">", "<"}
FOLDERS = {one.name for one in ROOT.iterdir() if one.is_dir() and one.name.isidentifier()} - {"build"}
LONGEST_README_LINES = 120


def commands(page: Path, *, in_blocks_alone: bool = False) -> list[list[str]]:
    """The words of every command in a page's blocks of code and in its lines."""
    found = []
    for block, inline in CODE.findall((ROOT / page).read_text()):
        if in_blocks_alone and not block:
            continue
        lines = block.replace("\\\n", " ").splitlines() if block else [" ".join(inline.split())]
        for line in lines:
            try:
                found.append(shlex.split(line, comments=True))
            except ValueError:  # no command: an apostrophe in a comment, half a line of Python
                continue
    return found


def calls(page: Path, program: str, *, in_blocks_alone: bool = False) -> list[list[str]]:
    """What follows the name of a program, up to the end of its command."""
    found = []
    for words in commands(page, in_blocks_alone=in_blocks_alone):
        if program in words and words[0] not in {"from", "import"}:  # of Python
            rest = words[words.index(program) + 1 :]
            end = next((place for place, word in enumerate(rest) if word in ENDS), len(rest))
            found.append(rest[:end])
    return found


def found_command(words: list[str]) -> tuple[click.Command, list[str]]:
    """The command that words name, through its groups, and the words that are its own."""
    command, rest = PROGRAM, list(words)
    while rest and not rest[0].startswith("-") and (below := getattr(command, "commands", None)):
        assert rest[0] in below, f"securevqa {' '.join(words)}"
        name = rest.pop(0)
        command = command.loaded(name) if isinstance(command, LazyGroup) else below[name]
    return command, rest


@pytest.mark.parametrize("page", PAGES, ids=str)
def test_securevqa_has_every_command_and_option_that_a_page_names(page: Path) -> None:
    for words in calls(page, "securevqa"):
        command, rest = found_command(words)
        known = {
            option for parameter in command.params for option in (*parameter.opts, *parameter.secondary_opts)
        }
        asked = {word.partition("=")[0] for word in rest if word.startswith("--")}
        assert asked <= known | {"--help"}, f"{page}: securevqa {' '.join(words)}"


@pytest.mark.parametrize("page", PAGES, ids=str)
def test_a_whole_command_of_a_page_can_be_called_as_it_stands(
    page: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for words in calls(page, "securevqa", in_blocks_alone=True):
        for option, value in itertools.pairwise(words):
            if option == "--output" and not re.match(r"/|\w+://", value):
                # The page has made its folder before.
                Path(value).parent.mkdir(parents=True, exist_ok=True)
        command, rest = found_command(words)
        command.make_context("securevqa", rest)  # raises where an argument lacks or a value is no value


@pytest.mark.parametrize("page", PAGES, ids=str)
def test_the_files_that_a_page_has_python_and_pytest_run_are_there(page: Path) -> None:
    named = [*calls(page, "pytest"), *(words[:1] for words in calls(page, "python"))]
    files = [
        word.partition("::")[0] for words in named for word in words if re.search(r"^\w.*/|\.py\b", word)
    ]
    assert [file for file in files if not (ROOT / file).exists()] == []


@pytest.mark.parametrize("page", PAGES, ids=str)
def test_every_path_of_the_repository_that_a_page_names_is_there(page: Path) -> None:
    named = {word for words in commands(page) for word in words if word.partition("/")[0] in FOLDERS}
    paths = {word.partition("::")[0] for word in named if "/" in word and not re.search(r"[*{<]|NAME", word)}
    assert sorted(path for path in paths if not (ROOT / path).exists()) == []


@pytest.mark.parametrize("page", PAGES, ids=str)
def test_make_has_every_target_that_a_page_names(page: Path) -> None:
    targets = set(re.findall(r"^(\w[\w-]*):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    named = {words[1] for words in commands(page) if words[:1] == ["make"] and len(words) > 1}
    assert sorted(named - targets) == []


def test_the_pages_name_commands_at_all() -> None:
    said = {" ".join(words[:1]) for page in PAGES for words in calls(page, "securevqa")}
    assert {"score", "gate", "report", "runs", "compare", "extract", "weights"} <= said


def test_the_readme_stays_short() -> None:
    assert len((ROOT / "README.md").read_text().splitlines()) <= LONGEST_README_LINES


def test_a_call_without_what_it_needs_is_noticed() -> None:
    command, rest = found_command(["extract", "uploads"])
    with pytest.raises(Exception, match="Missing parameter: output"):
        command.make_context("securevqa", rest)
