"""Suites: rows inherit settings, are run once, become tables and plots; what is wrong is named by line."""

from __future__ import annotations

import json
from pathlib import Path

import polars
import pytest
from cli import call

from pipeline.lab.config import AttackRunConfig
from pipeline.lab.suite import read_suite
from pipeline.lab.tables import markdown
from securevqa_core.attacks.attack import AttackConfig
from securevqa_core.errors import ConfigurationError

EXAMPLES = Path(__file__).parents[3] / "examples"
SUITE = """seconds = 0.2
draws = 1
label_column = "label"

[[row]]
name = "Noise, one"
table = "I"
paper = "R 1.67"
attack = "noise"
epsilon = 1.0
codec_crfs = [30]

[[row]]
name = "Noise, four"
table = "I"
attack = "noise"
epsilon = 4.0

[[row]]
name = "Dropped"
table = "II"
attack = "drop"
queries = 0

[[plot]]
name = "Against epsilon"
x = "epsilon"
lines = { "noise" = ["Noise, one", "Noise, four"] }
"""


def _write(folder: Path, text: str) -> Path:
    path = folder / "suite.toml"
    path.write_text(text)
    return path


@pytest.mark.slow
def test_a_suite_is_run_once_and_leaves_tables_and_plots(
    tmp_path: Path, videos: dict[str, Path], capsys: pytest.CaptureFixture[str]
) -> None:
    manifest, output = tmp_path / "manifest.csv", tmp_path / "out"
    names = ("bikes_h264.mp4", "bunny_h264.mp4", "carphone_h264.mkv")
    lines = [f"{videos[name]},{label}" for name, label in zip(names, (80, 20, 50), strict=True)]
    manifest.write_text("\n".join(["uri,label", *lines]) + "\n")
    arguments = ["attack", str(manifest), "-o", str(output), "--suite", str(_write(tmp_path, SUITE))]
    arguments += ["--workers", "1"]
    assert call(*arguments) == 0
    said = capsys.readouterr().err
    assert "row 2 of 3, Noise, four, 3 of 3" in said
    assert "2 of 3 rows, about" in said

    record = json.loads((output / "suite.json").read_text())
    assert [row["name"] for row in record["rows"]] == ["Noise, one", "Noise, four", "Dropped"]
    assert [row["spent"]["linf"] for row in record["rows"]] == [1.0, 4.0, None]
    table = polars.read_parquet(output / "suite.parquet")
    assert table["attack_epsilon"].to_list()[:2] == [1.0, 4.0]
    assert table["attack_signed_low"].null_count() == 0
    tables = (output / "tables.md").read_text()
    assert "### I\n" in tables
    assert "### II\n" in tables
    assert "| Noise, one | 3 |" in tables
    first = record["rows"][0]
    sizes = (f"{first[part]['absolute']['value']:.1f}" for part in ("attack", "noise_floor"))
    assert f") | {' | '.join(sizes)} | " in tables  # mean size of the change, and by chance
    assert "| R 1.67 |" in tables
    assert "| the same after x264, CRF 30 |" in tables
    assert (output / "against-epsilon.png").read_bytes().startswith(b"\x89PNG")

    rows = sorted((output / "rows").glob("*/rows/*.json"))
    written = [path.stat().st_mtime_ns for path in rows]
    assert call(*arguments) == 0
    assert [path.stat().st_mtime_ns for path in rows] == written


@pytest.mark.parametrize(
    ("name", "numbers"),
    [("attacks", {"I", "II", "V", "VI", "VII", "IX"}), ("attacks_targets", {"I", "II", "V", "VI", "VIII"})],
)
def test_the_examples_are_suites_of_the_papers_tables(name: str, numbers: set[str], tmp_path: Path) -> None:
    suite = read_suite(EXAMPLES / f"{name}.toml", manifest="m.parquet", output=tmp_path)
    tables = " ".join(dict.fromkeys(row.table for row in suite.rows))
    assert numbers <= set(tables.replace(".", "").replace(":", "").replace(",", "").split())
    assert all(row.config.labels is not None for row in suite.rows)
    assert all(row.config.labels.where == ("split=test",) for row in suite.rows)


def test_settings_are_those_of_the_command_where_a_suite_has_none(tmp_path: Path) -> None:
    suite = read_suite(_write(tmp_path, '[[row]]\nname = "a"\n'), manifest="m.csv", output=tmp_path)
    assert suite.rows[0].config == AttackRunConfig(
        manifest="m.csv", output=tmp_path / "rows" / "a", attack=AttackConfig()
    )


def test_options_that_a_suite_would_not_look_at_are_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ["attack", "m.csv", "-o", str(tmp_path), "--suite", str(_write(tmp_path, SUITE))]
    assert call(*arguments, "--draws", "4", "--write-videos") == 2
    said = capsys.readouterr().err.replace("\n", " ")
    assert "--suite holds all settings, got --draws, --write-videos besides" in said


def test_a_row_of_which_no_video_could_be_read_says_so() -> None:
    names = ("attack", "noise_floor", "agreement", "codec", "spent")
    record = {"name": "lost", "table": "I", "paper": ""} | dict.fromkeys(names)
    assert "| lost | 0 | no video could be read |" in markdown([record])


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("seconds = [", "not readable TOML"),
        (
            "speed = 1\n",
            r"line 1: there is no setting 'speed', only .*, and \[\[row\]\] and \[\[plot\]\] tables",
        ),
        (
            '[[attacks]]\nname = "a"\n',
            r"line 1: there are no \[\[attacks\]\] tables, only \[\[row\]\], one an attack, and \[\[plot\]\]",
        ),
        ('[[row]]\nname = "a"\ntable = "I"\nvolume = 3\n', r"line 4: there is no setting 'volume'"),
        ('[[row]]\ntable = "I"\n', r"line 1: 'name' is missing"),
        ('where = ["a=b"]\n[[row]]\nname = "a"\n', "line 2: where needs label_column, got 'a=b' alone"),
        ('[[row]]\nname = "a"\nepsilon = -1.0\n', r"line 1: epsilon must be in 0\.\.255, got -1"),
        ('[[row]]\nname = "a"\n[[row]]\nname = "A!"\n', r"line 3: there is a row 'a' already"),
        ('[[row]]\nname = "a"\n[[plot]]\nname = "p"\n', r"line 3: a plot has lines, name, x"),
        (
            '[[row]]\nname = "a"\n[[plot]]\nname = "p"\nx = "epsilon"\nlines = { l = ["b"] }\n',
            "line 3: there is no row 'b'",
        ),
    ],
)
def test_what_breaks_a_rule_is_named_by_its_line(text: str, message: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match=message):
        read_suite(_write(tmp_path, text), manifest="m.parquet", output=tmp_path)
