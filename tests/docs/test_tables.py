"""Pages list all there is: folders, commands, models, columns; and the worked row is what is printed."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from typer.main import get_command

from operators.schema import REPORT
from pipeline.cli import app
from securevqa_core import zoo
from securevqa_core.doubts import WARNINGS

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
PAGE = (DOCS / "contributor" / "architecture.md").read_text()
NUMBER = re.compile(r"-?\d+\.\d+")
POINTS = 0.11  # between processors of different kinds float32 rounds differently


@pytest.mark.parametrize("package", ["pipeline", "securevqa_core"])
def test_every_folder_of_a_package_is_told_of(package: str) -> None:
    folders = {path.parent.name for path in (ROOT / package).glob("*/__init__.py")}
    assert folders
    assert sorted(name for name in folders if f"| `{name}/` |" not in PAGE) == []


def test_every_column_of_a_report_is_told_of() -> None:
    page = (DOCS / "publisher" / "columns.md").read_text()
    assert [name for name in REPORT.names if f"`{name}`" not in page] == []


def test_every_warning_is_told_of() -> None:
    page = (DOCS / "operator" / "videos.md").read_text()
    assert [name for name in WARNINGS if f"`{name.removesuffix(':')}`" not in page] == []


def test_every_model_of_the_zoo_is_told_of() -> None:
    page = (DOCS / "researcher" / "models.md").read_text()
    assert [name for name in zoo.names() if f"`{name}`" not in page] == []


def test_every_command_has_its_page() -> None:
    page = (DOCS / "operator" / "install.md").read_text()
    names = getattr(get_command(app), "commands", {})
    assert names
    assert [name for name in names if f"`securevqa {name}`" not in page] == []


@pytest.mark.slow
def test_the_worked_row_is_what_its_command_prints() -> None:
    done = subprocess.run(
        [sys.executable, "examples/worked_row.py"],
        cwd=ROOT,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        text=True,
        capture_output=True,
        check=True,
        timeout=240,
    )
    told = re.search(r"```text\n(.*?)```", PAGE, re.DOTALL)
    assert told is not None
    printed, shown = done.stdout.strip(), told[1].strip()
    assert NUMBER.sub("#", printed) == NUMBER.sub("#", shown)
    numbers = [[float(one) for one in NUMBER.findall(text)] for text in (printed, shown)]
    assert numbers[0] == pytest.approx(numbers[1], abs=POINTS)
