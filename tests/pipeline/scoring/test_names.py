"""Names that uploaders choose, on the whole way from a manifest to the gate's lists and the page."""

from __future__ import annotations

import csv
import os
from pathlib import Path

import pytest
from browser import BROWSERS, inspect_page
from cli import call, read_json, read_report, securevqa
from programs import needs

from pipeline.manifests.manifest import read_manifest

pytestmark = pytest.mark.ray

NAMES = (
    "a b'\"<x>.mp4",
    "<script>alert(1)</script>.mp4",  # the slash makes a folder of its first half
    "=cmd.mp4",
    "two\nlines.mp4",
    "red\x1b[31m.mp4",
    "\u202efdp.mp4",
    "*[a-z]?.mp4",
    "%2e%2e%2f#fragment?query.mp4",
    "s3:::,;$(id)`id`\\.mp4",
    "ü\u0301.mp4",
)
NOT_UTF8 = b"caf\xe9 %.mp4"
POLICY = """version = 1
columns = ["title"]
[allow]
public_seed = "publish on scores drawn with a public seed"
unknown_checkpoint = "publish on scores of any checkpoint"
[[rules]]
name = "all"
decision = "publish"
when = { column = "score_lower", at_least = 0 }
"""


@pytest.fixture(scope="module")
def run(videos: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The run directory of a finished run over one video under every name."""
    folder = tmp_path_factory.mktemp("names")
    content = videos["carphone_h264.mkv"].read_bytes()
    with (folder / "manifest.csv").open("w", newline="") as file:
        manifest = csv.writer(file)
        manifest.writerow(["uri", "title"])
        for number, name in enumerate(NAMES):
            path = folder / "uploads" / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content + bytes(number))  # trailing bytes: another video
            manifest.writerow([f"uploads/{name}", name])
    securevqa("score", str(folder / "manifest.csv"), "--output", str(folder / "run"), "--seed", "0")
    return folder / "run"


def test_every_name_is_one_row_and_scored(run: Path) -> None:
    rows = read_report(str(run)).to_pylist()
    assert [row["title"] for row in rows] == list(NAMES)
    assert [row["uri"] for row in rows] == [f"{run.parent}/uploads/{name}" for name in NAMES]
    assert {row["status"] for row in rows} == {"scored"}
    assert len({row["content_sha256"] for row in rows}) == len(NAMES)


def test_every_name_is_in_one_list_as_it_is_and_no_formula(run: Path, tmp_path: Path) -> None:
    (tmp_path / "policy.toml").write_text(POLICY)
    formats = ("--format", "csv", "--format", "jsonl")
    assert call("gate", str(run), "--policy", str(tmp_path / "policy.toml"), *formats) == 0
    assert read_json(str(run / "gate" / "gate.json"))["decisions"]["publish"] == len(NAMES)
    with (run / "gate" / "publish.csv").open(newline="") as file:
        titles = [row["title"] for row in csv.DictReader(file)]
    assert titles == [f"'{name}" if name.startswith("=") else name for name in NAMES]


def test_the_terminal_obeys_no_name(run: Path, capfd: pytest.CaptureFixture[str]) -> None:
    assert call("report", str(run)) == 0
    said = capfd.readouterr().out
    assert f"{len(NAMES)} of {len(NAMES)} videos shown" in said
    assert "\x1b" not in said
    assert "\u202e" not in said


@needs(*BROWSERS)
def test_a_browser_shows_every_name_and_obeys_none(run: Path, tmp_path: Path) -> None:
    page = tmp_path / "page.html"
    options = ("--html", str(page), "--pictures", str(len(NAMES)), "--group", "title")
    assert call("report", str(run), *options) == 0
    seen = inspect_page(page, tmp_path)
    assert (seen["scripts"], seen["pwned"], seen["remote"]) == (2, None, 0)  # the rows, and what lists them
    assert seen["images"] == seen["loaded"] == len(NAMES)
    for name in ("<script>alert(1)</script>.mp4", "=cmd.mp4", "two\\nlines.mp4", "red\\x1b[31m.mp4"):
        assert name in seen["text"]


def test_names_that_are_not_utf8_are_scored_under_their_bytes(
    videos: dict[str, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    uploads = tmp_path / "uploads"
    uploads.mkdir()
    (uploads / os.fsdecode(NOT_UTF8)).symlink_to(videos["carphone_h264.mkv"])
    (uploads / "a%20b.mp4").symlink_to(videos["bikes_h264.mp4"])
    (uploads / os.fsdecode(b"\xff")).mkdir()
    (uploads / os.fsdecode(b"\xff/none.mp4")).touch()
    securevqa("score", str(uploads), "--output", str(tmp_path / "run"), "--seed", "0")
    rows = {row["uri"]: row for row in read_report(str(tmp_path / "run")).to_pylist()}
    assert {uri: row["error_code"] or row["status"] for uri, row in rows.items()} == {
        f"{uploads}/a%20b.mp4": "scored",
        f"file+bytes://{uploads}/caf%E9%20%25.mp4": "scored",
        f"file+bytes://{uploads}/%FF/none.mp4": "empty_file",
    }
    with (tmp_path / "again.csv").open("w") as file:  # what a report says can be asked for again
        file.writelines(f"{line}\n" for line in ("uri", *rows))
    assert set(read_manifest(str(tmp_path / "again.csv"))["uri"].to_pylist()) == set(rows)
    assert call("report", str(tmp_path / "run"), "--html", str(tmp_path / "page.html")) == 0
    assert "caf%E9%20%25.mp4" in (tmp_path / "page.html").read_text()
