"""Runs are found with their counts, and two of them are compared video by video."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from cli import call
from runs import make_run
from scipy import stats

from operators.schema import OUTCOME
from pipeline.commands.terminal import console
from pipeline.runs.changes import changes
from pipeline.runs.history import find_runs
from pipeline.runs.rundir import RunDirectory
from securevqa_core.errors import ConfigurationError, OutputError

HOSTILE = "[red]\x1b[31m.mp4"
A: list[dict[str, Any]] = [
    {"video_id": "same", "score": 50.0, "verdict": "review"},
    {"video_id": "risen", "score": 50.0, "verdict": "review"},
    {"video_id": "fallen", "score": 70.0, "verdict": "pass"},
    {"video_id": "a little", "score": 70.0, "verdict": "pass"},
    {"video_id": "broke", "score": 70.0, "verdict": "pass"},
    {"video_id": "failed otherwise", "error_code": "fetch_denied"},
    {"video_id": "gone", "score": 70.0, "verdict": "pass"},
]
B: list[dict[str, Any]] = [
    {"video_id": HOSTILE, "score": 10.0, "verdict": "reject"},
    {"video_id": "same", "score": 50.0, "verdict": "review"},
    {"video_id": "risen", "score": 61.0, "verdict": "pass"},
    {"video_id": "fallen", "score": 30.0, "verdict": "reject"},
    {"video_id": "a little", "score": 70.5, "verdict": "pass"},
    {"video_id": "broke", "error_code": "not_a_video"},
    {"video_id": "failed otherwise", "error_code": "fetch_not_found"},
]


def two(folder: Path) -> tuple[RunDirectory, RunDirectory]:
    return make_run(str(folder / "a"), A), make_run(str(folder / "b"), B, checkpoint_id="another")


def test_every_change_is_found_and_no_other(tmp_path: Path) -> None:
    found = changes(*two(tmp_path), least_points=1.0)
    rows = {row["video_id"]: row for row in found.videos.to_pylist()}
    assert len(rows) == 8
    unchanged = {name for name, row in rows.items() if not row["is_changed"]}
    assert unchanged == {"same", "a little"}
    assert rows["risen"]["difference"] == 11.0
    assert rows["broke"]["difference"] is None
    assert (rows["gone"]["in_a"], rows["gone"]["in_b"], rows["gone"]["verdict_b"]) == (True, False, None)
    record = found.record
    assert record["videos"] == {"in_both": 6, "only_in_a": 1, "only_in_b": 1, "changed": 6}
    assert {(one["a"], one["b"]): one["videos"] for one in record["verdicts"]} == {
        ("pass", "pass"): 1,
        ("pass", "reject"): 1,
        ("pass", "review"): 1,
        ("review", "pass"): 1,
        ("review", "review"): 2,
    }
    assert record["differs_in"] == {"checkpoint_id": ["secure-vqa-compact-0123456789abcdef", "another"]}
    assert changes(*two(tmp_path), least_points=0).record["videos"]["changed"] == 7


def test_statistics_are_those_of_the_videos_that_both_scored(tmp_path: Path) -> None:
    score = changes(*two(tmp_path), least_points=1.0).record["score"]
    moved = [0.0, 11.0, -40.0, 0.5]
    mean = sum(moved) / 4
    assert score["videos"] == 4
    assert score["mean"] == pytest.approx(mean)
    assert score["sd"] == pytest.approx((sum((one - mean) ** 2 for one in moved) / 3) ** 0.5)
    assert (score["median"], score["largest"]) == (0.25, 40.0)
    expected = stats.spearmanr([50, 50, 70, 70], [50, 61, 30, 70.5]).statistic
    assert score["srcc"] == pytest.approx(expected)


def test_what_is_undefined_is_null(tmp_path: Path) -> None:
    failed = make_run(str(tmp_path / "f"), [{"video_id": "x", "error_code": "not_a_video"}])
    score = changes(failed, failed, least_points=0).record["score"]
    assert score == {"videos": 0, "mean": None, "sd": None, "median": None, "largest": None, "srcc": None}
    one = make_run(str(tmp_path / "o"), A[:1])
    score = changes(one, one, least_points=0).record["score"]
    assert (score["mean"], score["sd"], score["srcc"]) == (0.0, None, None)


def test_a_negative_limit_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match=r"got -1"):
        changes(*two(tmp_path), least_points=-1)


def test_a_comparison_is_printed_and_written(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    two(tmp_path)
    call_ = ("compare", str(tmp_path / "a"), str(tmp_path / "b"))
    assert call(*call_, "--output", str(tmp_path / "out")) == 0
    said = capsys.readouterr().out
    assert said.startswith(f"a: {tmp_path / 'a'}, report 1\nb: {tmp_path / 'b'}, report 1\n")
    assert "checkpoint_id: secure-vqa-compact-0123456789abcdef -> another" in said
    assert "1 went from pass to reject" in said
    assert "1 went from scored to failed" in said
    assert "-40.0" in said
    assert "\x1b" not in said
    written = pq.read_table(tmp_path / "out" / "changes.parquet")
    assert written["is_changed"].to_pylist() == [True] * 6
    assert call(*call_, "--json") == 0
    assert json.loads(capsys.readouterr().out)["videos"]["changed"] == 6
    assert call(*call_, "--rows", "-1") == 2
    assert "got -1" in capsys.readouterr().err


def test_a_comparison_names_the_settings_that_differ(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    four = make_run(str(tmp_path / "four"), A, num_draws=4, config_id="1")
    one = make_run(str(tmp_path / "one"), A, config_id="2")
    assert changes(four, one, least_points=1).record["differs_in"] == {"draws": [4, 1]}
    assert call("compare", four.uri, one.uri) == 0
    said = capsys.readouterr().out
    assert said.splitlines()[:3] == [f"a: {four.uri}, report 1", f"b: {one.uri}, report 1", "draws: 4 -> 1"]
    assert "\n7 videos in both" in said
    assert call("compare", *(make_run(str(tmp_path / name), A[:1]).uri for name in ("c", "d"))) == 0
    assert "1 video in both" in capsys.readouterr().out
    record = one.read_run() or {}
    more = {"num_draws": 4, "notice": "x264:23", "thresholds": {"pass_at": 70.0, "reject_below": 30.0}}
    one.write_json(record | {"config": more}, "run.json")
    found = changes(four, one, least_points=1).record["differs_in"]
    assert found == {"config_id": ["1", "2"]}  # what only one of them records explains nothing
    limits = {"decode_limits": {"timeout_seconds": 5}, "fetch_limits": {"timeout_seconds": 5}}
    four.write_json((four.read_run() or {}) | {"config": more | limits | {"notice": None}}, "run.json")
    limits["fetch_limits"] = {"timeout_seconds": 6}
    one.write_json(record | {"config": more | limits | {"thresholds": {"pass_at": 60.0}}}, "run.json")
    assert call("compare", four.uri, one.uri) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[2:5] == ["notice: none -> x264:23", "pass_at: 70.0 -> 60.0", "fetch.timeout_seconds: 5 -> 6"]


def test_runs_are_listed_with_their_counts_archived_and_unfinished_ones_too(place: str) -> None:
    directory = make_run(f"{place}/first", A)
    record = directory.read_run()
    assert record is not None
    make_run(f"{place}/first", B)
    counts = {"status": {"scored": 5, "failed": 2}, "verdict": {"pass": 4, "review": 3}}
    make_run(f"{place}/second", B).write_json(
        record | {"counts": counts, "rows": 7, "num_left": 3}, "run.json"
    )
    crashed = RunDirectory(f"{place}/third")
    crashed.require_writable()
    crashed.record_lost(["a"])
    foreign = RunDirectory(f"{place}/fourth")
    foreign.require_writable()
    foreign.write_json({"not": "ours"}, "run.json")
    begun = [{"row_key": "a", "status": "scored", "verdict": "pass"}, {"row_key": "b", "status": "failed"}]
    crashed.commit(pa.Table.from_pylist(begun, schema=OUTCOME), "begun")
    found = find_runs(place)
    names = [(one.uri.removeprefix(f"{place}/"), one.state) for one in found]
    assert names == [
        ("first/generations/0001", "archived"),
        ("first", "finished"),
        ("second", "finished"),
        ("third", "unfinished"),
    ]
    assert (found[2].rows, found[2].num_left, found[2].status) == (7, 3, counts["status"])
    assert found[2].verdict == {"pass": 4, "review": 3, "reject": 0}
    assert found[1].verdict == {}  # its run.json says nothing of it
    assert find_runs(f"{place}/second") == found[2:3]
    unfinished = found[3]
    assert (unfinished.rows, unfinished.status) == (2, {"scored": 1, "failed": 1})
    assert unfinished.verdict == {"pass": 1, "review": 0, "reject": 0}


def test_runs_are_printed_for_people_and_for_programs(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    make_run(str(tmp_path / "a"), A)
    assert call("runs", str(tmp_path)) == 0
    assert "finished" in capsys.readouterr().out
    assert call("runs", str(tmp_path), "--json") == 0
    (entry,) = json.loads(capsys.readouterr().out)
    assert (entry["state"], entry["generation"]) == ("finished", 1)


def test_runs_of_several_checkpoints_say_which_beside_a_date_in_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(console, "_width", 80)
    monday = make_run(str(tmp_path / "monday"), A)
    finished = {"finished_at": "2026-11-22T03:04:05+00:00"}
    monday.write_json((monday.read_run() or {}) | finished, "run.json")
    assert call("runs", str(tmp_path)) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].endswith(", all of secure-vqa-compact-0123456789abcdef")
    assert lines[3].split()[:4] == ["monday", "1", "2026-11-22", "03:04"]
    assert len(lines) == 4
    make_run(str(tmp_path / "tuesday"), B, checkpoint_id="fast-vqa-fedcba9876543210")
    assert call("runs", str(tmp_path)) == 0
    lines = capsys.readouterr().out.splitlines()
    assert max(map(len, lines[1:])) <= 80
    assert lines[0] == f"runs in {tmp_path}"
    assert [lines[1].split()[-1], *(line.split()[-1] for line in lines[3:5])] == ["by", "#1", "#2"]
    assert lines[5:] == [
        "by #1: secure-vqa-compact-0123456789abcdef",
        "by #2: fast-vqa-fedcba9876543210",
    ]
    assert call("runs", str(tmp_path), "--json") == 0
    found = [one["checkpoint_id"] for one in json.loads(capsys.readouterr().out)]
    assert found == ["secure-vqa-compact-0123456789abcdef", "fast-vqa-fedcba9876543210"]
    left = {"num_left": 10, "rows": 7}
    monday.write_json((monday.read_run() or {}) | left, "run.json")
    make_run(str(tmp_path / "monday"), A)  # archives it
    assert call("runs", str(tmp_path)) == 0
    words = capsys.readouterr().out.split()
    assert {"monday", "tuesday", "2026-11-22", "03:04", "archived", "left", "10"} <= set(words)


def test_the_columns_of_runs_are_the_same_whatever_was_counted(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    counted = [
        {"status": {"scored": 2}, "verdict": {"pass": 2}, "error_code": {}},
        {"status": {"failed": 2}, "verdict": {"review": 2}, "error_code": {"not_a_video": 2}},
    ]
    headers, rows = [], []
    for number, counts in enumerate(counted):
        run = make_run(str(tmp_path / f"{number}"), A)
        run.write_json((run.read_run() or {}) | {"counts": counts}, "run.json")
        assert call("runs", run.uri, "--csv") == 0
        (row,) = csv.DictReader(io.StringIO(capsys.readouterr().out))
        headers.append(list(row))
        rows.append(row)
    assert headers[0] == headers[1]
    names = ("status scored", "status failed", "verdict pass", "verdict review", "verdict reject")
    found = [[row[name] for name in names] for row in rows]
    assert found == [["2", "0", "2", "0", "0"], ["0", "2", "0", "2", "0"]]
    assert [json.loads(row["error_codes"]) for row in rows] == [{}, {"not_a_video": 2}]


def test_runs_fit_80_columns_with_whole_words_and_large_counts(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(console, "_width", 80)
    directory = make_run(str(tmp_path / "2026-11-22"), A)
    counts = {"status": {"failed": 1000}, "verdict": {"pass": 500_000, "review": 400_000, "reject": 100_000}}
    more = {
        "counts": counts,
        "rows": 1_000_000,
        "num_left": 12_345,
        "finished_at": "2026-11-22T03:04:05+00:00",
    }
    directory.write_json((directory.read_run() or {}) | more, "run.json")
    crashed = RunDirectory(str(tmp_path / "2026-11-23"))
    crashed.commit(pa.Table.from_pylist([{"row_key": "a", "status": "failed"}], schema=OUTCOME), "begun")
    assert call("runs", str(tmp_path)) == 0
    lines = capsys.readouterr().out.splitlines()
    assert max(map(len, lines[1:])) <= 80
    words = [line.split() for line in lines]
    assert words[1] == ["run", "report", "finished", "videos", "failed", "left", "pass", "review", "reject"]
    assert "1000000 1000 12345 500000 400000 100000" in " ".join(words[3])
    found = " ".join(" ".join(line) for line in words[3:])
    assert "unfinished 1 1 0 0 0 0" in found
    assert "unfinished: what was committed so far" in found
    assert call("runs", str(tmp_path), "--csv") == 0
    header, first, second = capsys.readouterr().out.splitlines()
    assert header.startswith('"uri","state","generation"')
    assert '"status failed"' in header
    assert "1000000" in first
    assert '"unfinished"' in second
    for place in (".", "./", f"../{tmp_path.name}"):
        with monkeypatch.context() as patch:
            patch.chdir(tmp_path)
            assert call("runs", place) == 0
        assert [line.split() for line in capsys.readouterr().out.splitlines()] == words
    assert call("runs", str(tmp_path), "--csv", "--json") == 2
    assert "--json and --csv exclude each other" in capsys.readouterr().err


def test_a_comparison_shows_names_beside_ids_and_what_is_not_scored_any_more_first(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(console, "_width", 80)
    two(tmp_path)
    call_ = ("compare", str(tmp_path / "a"), str(tmp_path / "b"))
    assert call(*call_) == 0
    lines = capsys.readouterr().out.splitlines()
    assert max(map(len, lines[2:])) <= 80, "but for the two paths"
    start = next(place for place, line in enumerate(lines) if line.startswith("video "))
    assert lines[start].split() == ["video", "id", "a", "b", "difference"]
    assert lines[start + 2].split() == ["broke.mp4", "broke", "70.0", "pass", "not_a_video"]
    assert lines[start + 3].split() == ["review"]
    assert lines[-1].split() == ["risen.mp4", "risen", "50.0", "review", "61.0", "pass", "+11.0"]
    assert call(*call_, "--csv") == 0
    rows = capsys.readouterr().out.splitlines()
    assert len(rows) == 7
    assert rows[1].startswith('"broke","/videos/broke.mp4"')


POLICY = """version = 1

[[rules]]
name = "good"
decision = "publish"
when = { column = "score_lower", at_least = 60 }
"""


def test_a_run_is_known_by_the_folder_of_its_rows(
    place: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    make_run(f"{place}/a", A)
    make_run(f"{place}/report", A[:1])  # whose name alone means nothing
    (tmp_path / "policy.toml").write_text(POLICY)
    assert call("report", f"{place}/a/report", "--json") == 0
    shown = json.loads(capsys.readouterr().out)
    assert (shown["rows"], shown["report"]) == (7, f"{place}/a/report")
    assert call("report", f"{place}/report/", "--json") == 0
    assert json.loads(capsys.readouterr().out)["rows"] == 1
    assert call("compare", f"{place}/a/report/", f"{place}/report", "--json") == 0
    compared = json.loads(capsys.readouterr().out)
    assert [compared[one]["uri"] for one in "ab"] == [f"{place}/a", f"{place}/report"]
    gate = ("gate", f"{place}/a/report", "--policy", str(tmp_path / "policy.toml"), "--json")
    assert call(*gate) == 0
    assert json.loads(capsys.readouterr().out)["output"] == f"{place}/a/gate"


@pytest.mark.parametrize("command", ["report", "compare"])
def test_a_run_that_is_not_finished_says_what_finishes_it(
    place: str, command: str, capsys: pytest.CaptureFixture[str]
) -> None:
    begun = RunDirectory(f"{place}/begun")
    begun.commit(pa.Table.from_pylist([{"row_key": "a", "status": "failed"}], schema=OUTCOME), "begun")
    others = [begun.uri] if command == "compare" else []
    assert call(command, begun.uri, *others) == 2
    said = capsys.readouterr().err
    assert f"{begun.uri!r} holds no run.json: a run that is not finished, 1 video so far" in said
    assert "the same command again finishes it" in said
    assert call(command, place, *[place for _ in others]) == 2
    assert "not a run, or not a finished one" in capsys.readouterr().err


def test_a_place_without_runs_is_refused(tmp_path: Path) -> None:
    with pytest.raises(OutputError, match=str(tmp_path)):
        find_runs(str(tmp_path))
