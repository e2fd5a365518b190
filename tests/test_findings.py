"""Findings keep their form: each stands alone, says what it saw of which versions, and cleans up."""

from __future__ import annotations

import os
import re
import subprocess
from pathlib import Path

import pytest

FOLDER = Path(__file__).parents[1] / "findings"
SCRIPTS = sorted(FOLDER.glob("*.sh"))
LABELS = ("Versions", "Seen", "Expected", "Why it matters")
PINNED = re.compile(r'"?[A-Za-z0-9.\-]+(\[[a-z]+\])?==[0-9][0-9A-Za-z.]*"?')

each_script = pytest.mark.parametrize("script", SCRIPTS, ids=lambda script: script.stem)


def header(script: Path) -> str:
    """Return the comment at the top, without the line that names the interpreter."""
    lines = script.read_text(encoding="utf-8").splitlines()[1:]
    length = next(number for number, line in enumerate(lines) if not line.startswith("#"))
    return "\n".join(lines[:length])


def installed(script: Path) -> list[str]:
    """Return every argument that pip is given."""
    calls = re.findall(
        r"^venv/bin/pip install --quiet (.*)$", script.read_text(encoding="utf-8"), re.MULTILINE
    )
    return [argument for call in calls for argument in call.split()]


def test_there_are_findings() -> None:
    assert SCRIPTS


@each_script
def test_it_can_be_run(script: Path) -> None:
    assert os.access(script, os.X_OK)
    assert script.read_text(encoding="utf-8").startswith("#!/usr/bin/env bash\n")
    subprocess.run(["bash", "-n", str(script)], check=True, timeout=30)


@each_script
def test_its_python_compiles(script: Path) -> None:
    programs = re.findall(r"<<'PYTHON'.*?\n(.*?)\nPYTHON\n", script.read_text(encoding="utf-8"), re.DOTALL)
    for program in programs:
        compile(program, script.name, "exec")


@each_script
def test_it_stops_at_an_error_and_leaves_nothing_behind(script: Path) -> None:
    text = script.read_text(encoding="utf-8")
    assert text.startswith(f"#!/usr/bin/env bash\n{header(script)}\nset -euo pipefail\n")
    assert '\nwork=$(mktemp -d)\ntrap \'rm -rf "$work"\' EXIT\ncd "$work"\n' in text


@each_script
def test_it_fails_if_what_it_saw_has_changed(script: Path) -> None:
    assert "this has changed" in script.read_text(encoding="utf-8")


@each_script
def test_it_says_what_was_seen_of_which_versions(script: Path) -> None:
    comment = header(script)
    assert [label for label in LABELS if f"\n# {label}: " not in comment] == []
    title = comment.splitlines()[0]
    assert title.startswith("# ")
    assert title.endswith(".")


@each_script
def test_it_installs_pinned_packages_alone_and_names_their_versions(script: Path) -> None:
    packages = installed(script)
    assert packages
    assert [package for package in packages if not PINNED.fullmatch(package)] == []
    versions = [package.strip('"').partition("==")[2] for package in packages]
    assert [version for version in versions if version not in header(script)] == []


@each_script
def test_it_needs_neither_this_project_nor_an_address(script: Path) -> None:
    text = script.read_text(encoding="utf-8")
    assert re.findall(r"securevqa|index-url|https?://(?!127\.0\.0\.1)", text) == []


def test_the_readme_lists_every_script_once() -> None:
    rows = re.findall(
        r"^\| \[(.+?)\]\((.+?)\.sh\) \| .+ \| .+ \|$",
        (FOLDER / "README.md").read_text(encoding="utf-8"),
        re.MULTILINE,
    )
    assert [name for name, target in rows if name != target] == []
    assert sorted(name for name, _ in rows) == [script.stem for script in SCRIPTS]
