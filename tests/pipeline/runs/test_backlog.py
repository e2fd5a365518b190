"""What a run works on: new first, what may pass up to a limit, nothing twice, and no more than its budget."""

from __future__ import annotations

import datetime
import io
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from operators.fetch import fetch
from operators.schema import CALL, OUTCOME
from pipeline.runs.backlog import (
    BacklogConfig,
    Plan,
    Tries,
    adopt,
    count_tries,
    plan,
    read_tries,
    seconds_of,
)
from pipeline.runs.key_index import KeyIndex
from pipeline.runs.report import write_report
from pipeline.runs.rundir import RunDirectory
from pipeline.runs.states import RowState
from securevqa_core.decoding.probe import check_frame_size
from securevqa_core.errors import ConfigurationError, OutputError, VideoError
from securevqa_core.types import DecodeLimits

PROVENANCE = {"checkpoint_id": "c", "checkpoint_status": "trained", "config_id": "f"}
NIGHTLY = {"incremental": "s3://state"}
KEYS = ("full", "scored", "new", "gone", "lost", "down", "often lost", "newer")


def manifest(*keys: str) -> pa.Table:
    return pa.table(
        {"row_key": list(keys), "video_id": [f"id {key}" for key in keys], "uri": [f"/{key}" for key in keys]}
    )


def row(key: str, minute: int, error_code: str | None = None, **columns: Any) -> dict[str, Any]:
    at = datetime.datetime(2026, 11, 22, 3, minute, tzinfo=datetime.UTC)
    status = "failed" if error_code else "scored"
    known = {"row_key": key, "video_id": f"id {key}", "uri": f"/{key}", "status": status}
    return known | {"error_code": error_code, "verdict": "review", "scored_at": at} | PROVENANCE | columns


def table(*rows: dict[str, Any]) -> pa.Table:
    return pa.Table.from_pylist(list(rows), schema=OUTCOME)


def tries_of(state: RunDirectory, *keys: str) -> Tries:
    return read_tries(state, KeyIndex(keys))


def known(tmp_path: Path) -> Tries:
    """Tries of KEYS: one scored, one gone for good, two that may pass, two that never came back."""
    state = RunDirectory(str(tmp_path / "known"))
    down = [row("down", minute, "fetch_unreachable") for minute in (1, 2)]
    full = [row("full", minute, "scratch_full") for minute in (1, 2, 3)]
    state.commit(table(row("scored", 1), row("gone", 1, "fetch_not_found"), *down, *full), "first")
    for number in range(3):
        state.record_lost(["lost", "often lost"] if number < 2 else ["often lost"], name=f"{number}.json")
    return tries_of(state, *KEYS)


def chosen(planned: Plan, *keys: str) -> list[str]:
    return [keys[place] for place in planned.now]


@pytest.mark.parametrize(
    ("config", "retry_failed", "expected"),
    [
        ({}, False, ["new", "newer", "lost", "often lost"]),
        ({}, True, ["new", "newer", "full", "lost", "down", "often lost"]),
        (NIGHTLY, False, ["new", "newer", "lost", "down"]),
        ({"since_run": "/night"}, False, ["new", "newer", "lost", "down"]),
        (NIGHTLY | {"max_tries": 2}, False, ["new", "newer"]),
        (NIGHTLY | {"max_tries": 4}, False, ["new", "newer", "full", "lost", "down", "often lost"]),
        (NIGHTLY, True, ["new", "newer", "full", "lost", "down", "often lost"]),
    ],
)
def test_new_videos_come_first_and_then_what_may_pass_up_to_the_limit(
    tmp_path: Path, config: dict[str, Any], retry_failed: bool, expected: list[str]
) -> None:
    planned = plan(known(tmp_path), BacklogConfig(**config), retry_failed=retry_failed)
    assert chosen(planned, *KEYS) == expected
    pending = np.flatnonzero(planned.states.are(RowState.PENDING))
    assert {KEYS[place] for place in pending} == set(expected)


@pytest.mark.parametrize("max_videos", [1, 3, 4, 9])
def test_a_budget_leaves_the_rest_to_another_run(tmp_path: Path, max_videos: int) -> None:
    planned = plan(known(tmp_path), BacklogConfig(**NIGHTLY, max_videos=max_videos))
    whole = ["new", "newer", "lost", "down"]
    assert chosen(planned, *KEYS) == whole[:max_videos]
    assert planned.states.count(RowState.PENDING) == len(whole)


def test_a_failure_of_a_code_that_this_version_does_not_know_is_left(tmp_path: Path) -> None:
    state = RunDirectory(str(tmp_path))
    state.commit(table(row("a", 1, "of_another_version")), "first")
    assert not len(plan(tries_of(state, "a"), BacklogConfig(**NIGHTLY)).now)


LIMITS = {"fetch.max_bytes": 10, "fetch.timeout_seconds": 5.0, "decode.timeout_seconds": 60.0}
LIMITED: dict[str, tuple[str | None, str | None]] = {
    "large": ("fetch_too_large", "'s3://b/than 1 s' has 11 bytes or more, max_bytes is 10"),
    "slow": ("decode_timeout", "decoding took longer than 60 s"),
    "busy": ("decode_timeout", "decoding took more processor time than 60 s"),
    "late": (
        "fetch_unreachable",
        "'/a' could not be fetched within timeout_seconds=5: unreachable, too slow",
    ),
    "down": ("fetch_unreachable", "'/timeout_seconds=1' could not be fetched: unreachable, gaierror"),
    "gone": ("fetch_not_found", "'/max_bytes is 1' could not be fetched: not found, x"),
    "older": ("decode_timeout", None),
    "scored": (None, None),
}


def limited(tmp_path: Path, *, lost: int = 0) -> Tries:
    state = RunDirectory(str(tmp_path))
    rows = [row(key, 1, code, error_message=message) for key, (code, message) in LIMITED.items()]
    state.commit(table(*rows), "first")
    for number in range(lost):
        state.record_lost(["slow"], name=f"{number}.json")
    return tries_of(state, *LIMITED)


@pytest.mark.parametrize(
    ("changes", "again"),
    [
        ({}, []),
        ({"fetch.max_bytes": 11}, ["large"]),
        ({"decode.timeout_seconds": 60.5}, ["slow", "busy"]),
        ({"decode.timeout_seconds": 61.0, "fetch.max_bytes": 20}, ["large", "slow", "busy"]),
        ({"decode.timeout_seconds": 1.0, "fetch.max_bytes": 9}, []),  # tighter: what is known stays
        ({"fetch.timeout_seconds": 50.0}, ["late"]),
    ],
)
@pytest.mark.parametrize("config", [{}, NIGHTLY | {"max_tries": 1}])
def test_a_looser_limit_tries_failures_of_its_kind_again_and_no_others(
    tmp_path: Path, config: dict[str, Any], changes: dict[str, float], again: list[str]
) -> None:
    planned = plan(limited(tmp_path), BacklogConfig(**config), limits=LIMITS | changes)
    assert chosen(planned, *LIMITED) == again


def test_failures_say_which_limit_they_are_owed_to(tmp_path: Path) -> None:
    file = tmp_path / "v' could not be fetched within timeout_seconds=1: unreachable, x"
    file.write_bytes(bytes(100))
    errors: list[VideoError] = []
    for uri, options in {
        str(file): {"max_bytes": 42},
        "http://127.0.0.1:1": {"timeout_seconds": 0.25},
    }.items():
        limits: dict[str, Any] = {"max_bytes": 10**6, "timeout_seconds": 20.0} | options
        with pytest.raises(VideoError) as fetching:
            fetch(uri, io.BytesIO(), **limits)
        errors.append(fetching.value)
    with pytest.raises(VideoError) as decoding:
        check_frame_size(10, 10, DecodeLimits(max_pixels=99))
    errors.append(decoding.value)
    rows = [row(str(n), n, error.code, error_message=str(error)) for n, error in enumerate(errors)]
    assert count_tries(KeyIndex(["0", "1", "2"]), [table(*rows)], []).limits == {
        0: ("fetch.max_bytes", 42.0),
        1: ("fetch.timeout_seconds", 0.25),
        2: ("decode.max_pixels", 99.0),
    }


def test_what_is_tried_again_under_a_looser_limit_and_takes_workers_down_ends(tmp_path: Path) -> None:
    looser = LIMITS | {"decode.timeout_seconds": 99.0}
    for lost, again in ((2, ["slow", "busy"]), (3, ["busy"])):
        tries = limited(tmp_path / str(lost), lost=lost)
        planned = plan(tries, BacklogConfig(**NIGHTLY, max_tries=3), limits=looser)
        assert [key for key in chosen(planned, *LIMITED) if key in ("slow", "busy")] == again


def test_a_video_that_failed_under_the_looser_limit_too_is_left(tmp_path: Path) -> None:
    limited(tmp_path)
    looser = LIMITS | {"decode.timeout_seconds": 99.0}
    state = RunDirectory(str(tmp_path))
    said = "decoding took longer than 99 s"
    state.commit(table(row("slow", 2, "decode_timeout", error_message=said)), "second")
    assert not len(plan(tries_of(state, "slow"), BacklogConfig(), limits=looser).now)


def test_every_try_counts_once_however_often_it_was_written_down(tmp_path: Path) -> None:
    state = RunDirectory(str(tmp_path))
    state.commit(table(row("a", 1, "fetch_unreachable"), row("b", 2)), "first")
    state.commit(table(row("a", 1, "fetch_unreachable"), row("a", 3, "fetch_denied")), "second")
    state.record_lost(["a", "c"])
    state.record_lost(["c"], name="copied.json")
    state.record_lost(["c"], name="copied.json")
    tries = tries_of(state, "a", "b", "c", "d")
    assert (tries.counts.tolist(), tries.lost.tolist()) == ([3, 1, 2, 0], [1, 0, 2, 0])
    assert newest(state, "a")["error_code"] == "fetch_denied"
    state.commit(table(row("a", 4)), "third")
    assert tries_of(state, "a").counts.tolist() == [4]
    assert newest(state, "a")["status"] == "scored"


def newest(state: RunDirectory, key: str) -> dict[str, Any]:
    (one,) = state.committed_rows(["status", "error_code"], keys=[key]).to_pylist()
    return dict(one)


def test_a_retry_on_a_node_whose_clock_is_behind_is_the_newer_row(tmp_path: Path) -> None:
    state = RunDirectory(str(tmp_path))
    state.commit(table(row("k", 59, "fetch_unreachable", call=1)), "on a node ninety seconds ahead")
    state.commit(table(row("k", 30, call=2)), "the retry on a good one")
    assert newest(state, "k")["status"] == "scored"
    tries = tries_of(state, "k")
    assert not len(plan(tries, BacklogConfig(**NIGHTLY)).now)
    assert (tries.counts.tolist(), tries.last_call) == ([2], 2)
    state.compact_commits(min_files=1)
    assert newest(state, "k")["status"] == "scored"


def test_rows_of_before_calls_had_numbers_are_older_and_go_by_the_clock(tmp_path: Path) -> None:
    state = RunDirectory(str(tmp_path))
    unnumbered = table(row("k", 10, "fetch_denied"), row("k", 20, "fetch_unreachable"), row("j", 59, "x"))
    state.commit(unnumbered.drop_columns([CALL]), "before")
    assert newest(state, "k")["error_code"] == "fetch_unreachable"
    state.commit(table(row("j", 1, call=1)), "since")
    assert newest(state, "j")["status"] == "scored"


def test_calls_are_numbered_one_after_the_other(place: str) -> None:
    state = RunDirectory(place)
    assert [state.number_call(), state.number_call(), RunDirectory(place).number_call()] == [1, 2, 3]
    assert state.number_call(after=7) == 8  # rows of another state, taken over
    assert state.number_call(after=2) == 9


def test_compacting_keeps_every_row_and_leaves_one_file(tmp_path: Path) -> None:
    state = RunDirectory(str(tmp_path))
    for number in range(5):
        state.commit(table(row(f"k{number}", number), row("a", number, "fetch_denied")), f"part{number}")
    (tmp_path / "checkpoint" / "rows" / "torn-0.parquet").write_bytes(b"PAR1")
    before = state.committed_rows(OUTCOME.names, newest_only=False)
    state.compact_commits(min_files=6)
    assert len(list(tmp_path.glob("checkpoint/ids/*"))) == 5
    state.compact_commits(min_files=5)
    assert len(list(tmp_path.glob("checkpoint/ids/*"))) == 1
    after = state.committed_rows(OUTCOME.names, newest_only=False)
    order = [("scored_at", "ascending"), ("row_key", "ascending")]
    assert after.sort_by(order).equals(before.sort_by(order))
    assert tries_of(state, "a").counts.tolist() == [5]


def test_compacting_holds_a_part_of_the_rows_at_a_time_and_loses_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    state = RunDirectory(str(tmp_path))
    for number in range(5):
        state.commit(table(row(f"k{number}", number)), f"part{number}")
    size = (tmp_path / "checkpoint" / "rows" / "part0-0.parquet").stat().st_size
    monkeypatch.setattr("pipeline.runs.rundir.COMPACT_BYTES", size + 1)  # two files
    state.compact_commits(min_files=5)
    assert len(list(tmp_path.glob("checkpoint/ids/*"))) == 3
    assert state.committed_rows([])["row_key"].to_pylist() == [f"k{number}" for number in range(5)]


def test_rows_that_are_old_and_in_no_manifest_are_forgotten(tmp_path: Path) -> None:
    state = RunDirectory(str(tmp_path))
    old, other = (row(key, 2) | {"video_id": "listed"} for key in ("old and listed", "of another run"))
    state.commit(table(row("old", 1), old, other, row("new", 30)), "mixed")
    state.commit(table(row("old too", 3)), "old")
    state.commit(table(row("newer", 40)), "new")
    untouched = tmp_path / "checkpoint" / "rows" / "new-0.parquet"
    as_written = (untouched.stat().st_ino, untouched.stat().st_mtime_ns)  # reading it is no change
    before = datetime.datetime(2026, 11, 22, 3, 20, tzinfo=datetime.UTC)
    for _ in range(2):
        state.forget_commits(before=before, keep=["listed"])
        left = state.committed_rows(OUTCOME.names, newest_only=False)
        assert left["row_key"].to_pylist() == ["old and listed", "of another run", "new", "newer"]
    assert len(list(tmp_path.glob("checkpoint/*/*"))) == 4
    assert (untouched.stat().st_ino, untouched.stat().st_mtime_ns) == as_written


def test_a_commit_of_several_files_is_compacted_and_forgotten_as_one(tmp_path: Path) -> None:
    state = RunDirectory(str(tmp_path))
    state.commit(table(row("a", 1)), "night")
    pq.write_table(table(row("b", 30)), tmp_path / "checkpoint" / "rows" / "night-1.parquet")
    state.forget_commits(before=datetime.datetime(2026, 11, 22, 3, 20, tzinfo=datetime.UTC), keep=[])
    assert state.committed_rows([])["row_key"].to_pylist() == ["b"]


def finished(uri: Path, *rows: dict[str, Any], **config: Any) -> RunDirectory:
    directory = RunDirectory(str(uri))
    directory.require_writable()
    directory.write_json({"generation": 1, "rows": len(rows), "config": {"backlog": config}}, "run.json")
    if rows:
        directory.commit(table(*rows), "night")
    return directory


def test_rows_of_an_earlier_run_are_taken_over_with_their_tries(tmp_path: Path) -> None:
    earlier = finished(
        tmp_path / "earlier",
        row("a", 1, "fetch_unreachable"),
        row("a", 2, "fetch_unreachable"),
        row("b", 3),
        row("other settings", 4, config_id="g", video_id="id a"),
        row("other video", 5),
    )
    earlier.record_lost(["c"])
    state = RunDirectory(str(tmp_path / "now"))
    shared = {"checkpoint_id": "c", "config_id": "f"}
    for _ in range(2):
        adopt(state, str(tmp_path / "earlier"), ["id a", "id b", "id c"], shared=shared)
    tries = tries_of(state, "a", "b", "c", "other settings", "other video")
    assert tries.counts.tolist() == [2, 1, 1, 0, 0]
    assert len(list(tmp_path.glob("now/checkpoint/rows/*"))) == 1


def test_rows_are_found_where_the_earlier_run_kept_them(tmp_path: Path) -> None:
    shared_rows = RunDirectory(str(tmp_path / "state"))
    shared_rows.commit(table(row("a", 1)), "night")
    finished(tmp_path / "earlier", incremental=str(tmp_path / "state"))
    state = RunDirectory(str(tmp_path / "now"))
    adopt(state, str(tmp_path / "earlier"), ["id a"], shared={})
    assert tries_of(state, "a").counts.tolist() == [1]
    adopt(shared_rows, str(tmp_path / "earlier"), ["id a"], shared={})  # from itself
    assert len(list(tmp_path.glob("state/checkpoint/rows/*"))) == 1


@pytest.mark.parametrize(
    ("uri", "output"),
    [("../state", "nights/monday"), ("state", "nights/monday"), ("file://state", "./nights//monday/")],
)
def test_rows_that_an_earlier_version_kept_at_a_relative_path_are_found_from_any_folder(
    uri: str, output: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its run.json has the output as it was given too, which tells where the run was started."""
    began_in, now = tmp_path / "a" / "b", tmp_path / "elsewhere"
    for folder in (began_in, now):
        folder.mkdir(parents=True)
    monkeypatch.chdir(began_in)
    RunDirectory(uri).commit(table(row("a", 1)), "night")
    earlier = finished(began_in / "nights" / "monday", incremental=uri)
    record = earlier.read_run()
    assert record is not None
    earlier.write_json(record | {"config": record["config"] | {"output": output}, "rows": 1}, "run.json")
    monkeypatch.chdir(now)
    state = RunDirectory("taken over")
    adopt(state, "../a/b/nights/monday", ["id a"], shared={})
    assert tries_of(state, "a").counts.tolist() == [1]


def test_rows_at_a_relative_path_that_cannot_be_told_are_refused(tmp_path: Path) -> None:
    finished(tmp_path / "moved", incremental="state")
    with pytest.raises(OutputError, match=r"moved.*'state'"):
        adopt(RunDirectory(str(tmp_path / "now")), str(tmp_path / "moved"), [], shared={})


def test_local_places_are_written_down_as_they_are_found_from_any_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    settings = BacklogConfig(incremental="state").public_settings()
    assert settings["incremental"] == f"{tmp_path}/state"
    assert BacklogConfig(since_run="file://../x").public_settings()["since_run"] == f"{tmp_path.parent}/x"
    assert BacklogConfig(since_run="s3://b/x").public_settings()["since_run"] == "s3://b/x"


def test_what_is_no_finished_run_or_has_lost_its_rows_is_refused(tmp_path: Path) -> None:
    state = RunDirectory(str(tmp_path / "now"))
    with pytest.raises(OutputError, match=rf"{tmp_path}/absent"):
        adopt(state, str(tmp_path / "absent"), [], shared={})
    bare = finished(tmp_path / "bare")
    bare.write_json({"generation": 1, "rows": 7}, "run.json")
    with pytest.raises(OutputError, match=rf"{tmp_path}/bare.*gone"):
        adopt(state, str(tmp_path / "bare"), [], shared={})


def test_a_video_that_was_not_begun_is_pending_and_for_review(tmp_path: Path) -> None:
    state = RunDirectory(str(tmp_path / "state"))
    state.commit(table(row("a", 1)), "night")
    directory = RunDirectory(str(tmp_path / "run"))
    summary = write_report(
        directory, manifest("a", "b", "c"), provenance=PROVENANCE, state=state, pending={"b"}
    )
    rows = pq.read_table(tmp_path / "run" / "report").to_pylist()
    assert [one["status"] for one in rows] == ["scored", "pending", "failed"]
    assert [one["error_code"] for one in rows] == [None, None, "worker_lost"]
    assert [one["verdict"] for one in rows] == ["review"] * 3
    assert rows[1]["scored_at"] is None
    assert summary.by_status == {"scored": 1, "pending": 1, "failed": 1}


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("1.5s", 1.5), ("45s", 45), ("30m", 1800), ("6h", 21600), ("1h30m", 5400)],
)
def test_durations_are_read_as_people_write_them(text: str, seconds: float) -> None:
    assert seconds_of(text) == seconds


@pytest.mark.parametrize("text", ["", "6", "90", "1.5", "6 hours", "h", "-", "1d", "m30"])
def test_a_duration_that_is_none_is_refused(text: str) -> None:
    with pytest.raises(ConfigurationError, match=f"got '{text}'"):
        seconds_of(text)


@pytest.mark.parametrize(
    ("config", "named"),
    [
        ({"incremental": "s3://me:word@b/a", "since_run": "/x"}, "'/x'"),
        ({"max_tries": 0}, "max_tries must be >= 1, got 0"),
        ({"max_videos": 0}, "max_videos must be >= 1, got 0"),
        ({"time_budget_seconds": 0.0}, r"time_budget must be > 0 s and finite, got 0\.0"),
        ({"time_budget_seconds": float("inf")}, "got inf"),
        ({"time_budget_seconds": float("nan")}, "got nan"),
        ({"keep_days": 0.0}, "keep_days must be > 0 and <= 36500, got 0"),
        ({"keep_days": 1e6}, "got 1e\\+06"),
        ({"keep_days": float("inf")}, "got inf"),
    ],
)
def test_settings_out_of_range_are_refused(config: dict[str, Any], named: str) -> None:
    with pytest.raises(ConfigurationError, match=named) as caught:
        BacklogConfig(**config)
    assert "word" not in str(caught.value)


def test_settings_are_shown_without_secrets() -> None:
    shown = BacklogConfig(incremental="s3://me:word@bucket/state").public_settings()
    assert shown["incremental"] == "s3://bucket/state"
    assert shown["max_tries"] == 3
