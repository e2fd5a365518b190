"""A report is of the rows that are there: what another run did to them shows when the command is repeated."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from cli import call, read_report
from nightly import Nights

from pipeline.commands.score import show_outcome
from pipeline.runs.finished import read_finished_run
from pipeline.runs.rundir import RunDirectory


def statuses(nights: Nights, night: str) -> list[str]:
    """What became of every video, in the manifest's order, and as run.json counts it."""
    run, report = read_finished_run(RunDirectory(f"{nights.place}/{night}"), columns=None)
    found: list[Any] = report["status"].to_pylist()
    assert run["counts"]["status"] == {status: found.count(status) for status in found}
    assert run["num_left"] == found.count("pending")
    assert read_report(f"{nights.place}/{night}").equals(report)
    return found


def test_a_remainder_that_another_run_finished_is_in_the_report_again(nights: Nights) -> None:
    nights.upload("a", "b", "c", "d")
    nights.score("monday", max_videos=2)
    assert statuses(nights, "monday") == ["scored", "scored", "pending", "pending"]
    nights.score("tuesday")
    assert statuses(nights, "monday") == ["scored", "scored", "pending", "pending"]
    again = nights.score("monday", max_videos=2)
    assert (again.is_new, again.run["generation"], again.run["num_scored_now"]) == (True, 2, 0)
    assert statuses(nights, "monday") == ["scored"] * 4
    for night in ("monday", "tuesday"):
        assert not nights.score(night, max_videos=2).is_new, "nothing moved since"


def test_a_retry_by_another_run_is_in_the_report_again(nights: Nights) -> None:
    nights.upload("a", "b")
    nights.outcome = {
        "status": "failed",
        "error_code": "fetch_unreachable",
        "score": None,
        "score_lower": None,
    }
    nights.score("monday", max_tries=2)
    nights.outcome = {}
    nights.score("tuesday", max_tries=2)
    assert nights.score("monday", max_tries=2).is_new
    assert statuses(nights, "monday") == ["scored", "scored"]


def test_a_video_that_another_run_lost_is_no_longer_pending(nights: Nights) -> None:
    nights.upload("a", "b")
    nights.score("monday", max_videos=1)
    assert statuses(nights, "monday") == ["scored", "pending"]
    state = RunDirectory(f"{nights.place}/state")
    (key,) = {
        one for one in nights.keys("monday") if one not in state.committed_rows([])["row_key"].to_pylist()
    }
    for _ in range(3):
        state.record_lost([key])
    assert nights.score("monday", max_videos=1).is_new
    assert statuses(nights, "monday") == ["scored", "failed"]


def test_what_does_not_concern_a_report_leaves_it_alone(nights: Nights) -> None:
    nights.upload("a", "b")
    first = nights.score("monday")
    listed = (nights.folder / "manifest.parquet").read_bytes()
    nights.upload("c")
    nights.score("tuesday")
    (nights.folder / "manifest.parquet").write_bytes(listed)
    RunDirectory(f"{nights.place}/state").compact_commits(min_files=1)
    again = nights.score("monday")
    assert (again.is_new, again.run) == (False, first.run)


# The last second of the year 9999, as of what never expires; no zone; no year of Python's.
ODD: dict[str, Any] = {
    "expires": pa.array([253_402_300_799, 0], pa.timestamp("s", tz="Asia/Tokyo")),
    "zone": pa.array([0, 1], pa.timestamp("ms", tz="Mars/Olympus")),
    "far": pa.array([2**31 - 1, 0], pa.int32()).cast(pa.date32()),
}


@pytest.mark.slow
@pytest.mark.parametrize("name", ODD)
def test_a_moment_that_python_has_no_object_for_costs_no_manifest_and_no_reader(
    name: str, nights: Nights, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    nights.upload("a", "b")
    file = nights.folder / "manifest.parquet"
    listed = pq.read_table(file).append_column(name, ODD[name])
    pq.write_table(listed.append_column("mos", pa.array([10.0, 90.0])), file)
    assert nights.score("night").is_new
    assert not nights.score("night").is_new
    night, video = f"{nights.place}/night", read_report(f"{nights.place}/night")["video_id"][0].as_py()
    rule = '[[rules]]\nname = "r"\ndecision = "review"\nwhen = { column = "score", below = 1 }\n'
    (tmp_path / "policy.toml").write_text(f'version = 1\ncolumns = ["{name}"]\n{rule}')
    page = ("--html", str(tmp_path / "page.html"), "--pictures", "0")
    for given in (
        ("report", night, "--video", video),
        ("report", night, "--video", video, "--json"),
        ("report", night, *page, "--group", name),
        ("gate", night, "--policy", str(tmp_path / "policy.toml"), "--dry-run"),
        ("evaluate", "--run", night, "-o", f"{nights.place}/e", "--cluster", name, "--resamples", "100"),
    ):
        assert call(*given) == 0, capsys.readouterr().err


def test_the_last_line_of_a_run_is_the_command_that_shows_it(
    nights: Nights, capsys: pytest.CaptureFixture[str]
) -> None:
    nights.upload("a")
    outcome = nights.score("monday night")
    capsys.readouterr()
    show_outcome(outcome)
    lines = capsys.readouterr().out.splitlines()
    assert lines[-2].endswith(f"; rows: {nights.place}/monday night/report")
    command = shlex.split(lines[-1])
    assert command == ["securevqa", "report", f"{nights.place}/monday night"]
    assert call(*command[1:]) == 0


def test_rows_with_codes_of_another_version_are_counted_and_left(
    nights: Nights, capsys: pytest.CaptureFixture[str]
) -> None:
    nights.upload("a", "b")
    failed = {"status": "failed", "score": None, "score_lower": None, "verdict": "review"}
    nights.outcome = failed | {"error_code": "error_of_another_version"}
    outcome = nights.score("monday")
    show_outcome(outcome)
    assert "error_of_another_version" in capsys.readouterr().out
    assert not nights.score("monday").is_new
    assert nights.score("tuesday").run["num_scored_now"] == 0
