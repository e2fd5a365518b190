"""A row of a manifest that breaks a rule fails alone, with its reason, and stops no night."""

from __future__ import annotations

import json
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from cli import call, read_json, read_report, securevqa
from media import make_copies
from rich.console import Console

from pipeline.events import Events
from pipeline.scoring.shown import say_left_out

KEY = {"SECUREVQA_KEY": "a key that outlives the driver"}
BAD = "uri,channel\nftp://host/a.mp4,film\nftp://host/a.mp4,news\n,none\n"


@pytest.fixture
def _key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SECUREVQA_KEY", KEY["SECUREVQA_KEY"])


def committed(output: Path) -> list[str]:
    return sorted(path.name for path in (output / "checkpoint" / "rows").iterdir())


@pytest.mark.usefixtures("_key")
def test_rows_that_break_a_rule_are_failed_rows_with_their_reason(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    manifest, output = tmp_path / "m.csv", tmp_path / "run"
    manifest.write_text(BAD)
    given = ("score", str(manifest), "--output", str(output))
    assert call(*given, "--strict") == 2
    assert "row 1: scheme 'ftp'" in capsys.readouterr().err
    assert not output.exists()
    assert call(*given) == 0
    rows = read_report(str(output)).to_pylist()
    assert [(row["status"], row["stage"], row["error_code"]) for row in rows] == [
        ("failed", "manifest", "scheme_not_allowed"),
        ("failed", "manifest", "scheme_not_allowed"),
        ("failed", "manifest", "row_incomplete"),
    ]
    assert [row["channel"] for row in rows] == ["film", "news", "none"]
    assert "scheme 'ftp' of uri 'ftp://host/a.mp4' must be one of" in rows[0]["error_message"]
    assert {row["verdict"] for row in rows} == {"review"}
    assert len({row["video_id"] for row in rows}) == 3
    assert all(row["checkpoint_id"] and row["scored_at"] for row in rows)
    said = capsys.readouterr().err
    assert said.count("failed: row ") == 3
    assert "failed: row 2, scheme_not_allowed: scheme 'ftp' of uri 'ftp://host/a.mp4' must be" in said
    assert "failed: row 3, row_incomplete: " in said
    before = committed(output)
    assert call(*given, "--retry-failed") == 0
    assert "finished before" in capsys.readouterr().out
    assert committed(output) == before
    assert read_json(str(output / "run.json"))["counts"]["status"] == {"failed": 3}


@pytest.mark.usefixtures("_key")
def test_a_row_that_was_mended_is_a_new_one(tmp_path: Path) -> None:
    manifest, output = tmp_path / "m.csv", tmp_path / "run"
    manifest.write_text(BAD)
    given = ("score", str(manifest), "--output", str(output))
    assert call(*given) == 0
    manifest.write_text(BAD.replace("\n,none", "\nftp://host/b.mp4,none"))
    assert call(*given) == 0
    codes = read_report(str(output))["error_code"].to_pylist()
    assert codes == ["scheme_not_allowed"] * 3
    assert read_json(str(output / "run.json"))["generation"] == 2


def test_files_that_are_no_videos_are_named_and_printed_only(capsys: pytest.CaptureFixture[str]) -> None:
    names = ["/clips/README.md", "/clips/[red]\x1b.txt", *(f"/clips/{n}.csv" for n in range(9))]
    say_left_out(names, Events(Console(width=40)))
    said = capsys.readouterr().out
    assert said == "no videos, so left out: README.md, [red]\\x1b.txt, 0.csv, 1.csv, 2.csv and 6 more\n"
    say_left_out([], Events(Console(width=40)))
    assert capsys.readouterr().out == ""


@pytest.mark.usefixtures("_key")
def test_a_parquet_manifest_is_no_stricter(tmp_path: Path) -> None:
    manifest, output = tmp_path / "m.parquet", tmp_path / "run"
    pq.write_table(pa.table({"uri": ["ftp://host/a.mp4", None], "n": [1, 2]}), manifest)
    given = ("score", str(manifest), "--output", str(output))
    assert call(*given, "--strict") == 2
    assert call(*given) == 0
    report = read_report(str(output))
    assert report["error_code"].to_pylist() == ["scheme_not_allowed", "row_incomplete"]
    assert report["n"].to_pylist() == [1, 2]


@pytest.mark.ray
def test_a_bad_row_stops_no_other(videos: dict[str, Path], tmp_path: Path) -> None:
    uris = [str(path) for path in make_copies(tmp_path / "backlog", videos, number=2).iterdir()]
    rows = [{"uri": uris[0]}, {"uri": "http://host/x.mp4"}, {"uri": uris[0]}, {"uri": uris[1]}]
    manifest = tmp_path / "m.jsonl"
    manifest.write_text("\n".join(map(json.dumps, rows)))
    securevqa("score", str(manifest), "--output", str(tmp_path / "run"), env=KEY)
    found = read_report(str(tmp_path / "run")).to_pylist()
    assert [row["error_code"] for row in found[1:3]] == ["scheme_not_allowed", "row_repeated"]
    assert [row["uri"] for row in found] == [row["uri"] for row in rows]
    assert "scored" in {found[0]["status"], found[3]["status"]}
