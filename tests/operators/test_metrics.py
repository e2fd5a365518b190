"""What a finished row adds to the metrics, and what the log says of it; no Ray is running here."""

from __future__ import annotations

import datetime
import io
import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from operators.metrics import METRICS, Observation, observations
from operators.schema import Row
from operators.telemetry import Telemetry, TelemetrySetup, log_line

SCORED: Row = {
    "video_id": "a",
    "uri": "s3://bucket/private name.mp4",
    "status": "scored",
    "verdict": "pass",
    "error_code": None,
    "error_message": None,
    "score": 71.5,
    "score_lower": 70.0,
    "clip_scores": [70.0, 71.0, 72.0, 73.0],
    "fetch_seconds": 0.0,
    "decode_seconds": 1.5,
    "model_seconds": 2.0,
    "size_bytes": 1000,
    "decode_warnings": ["fallback: pyav failed, decode_failed", "interlaced"],
    "scored_at": datetime.datetime(2026, 11, 23, tzinfo=datetime.UTC),
}
FAILED: Row = {
    "video_id": "b",
    "uri": "s3://bucket/b.mp4",
    "status": "failed",
    "stage": "fetch",
    "verdict": "review",
    "error_code": "fetch_denied",
    "error_message": "the store refused",
}


def test_a_scored_row_adds_all_that_is_known_of_it() -> None:
    assert set(observations(SCORED, num_clips=2)) == {
        Observation("securevqa_videos", 1, ("scored", "pass", "")),
        Observation("securevqa_stage_seconds", 0.0, ("fetch",)),
        Observation("securevqa_stage_seconds", 1.5, ("decode",)),
        Observation("securevqa_busy_seconds", 1.5, ("decode",)),
        Observation("securevqa_stage_seconds", 2.0, ("model",)),
        Observation("securevqa_busy_seconds", 2.0, ("model",)),
        Observation("securevqa_score", 71.5),
        Observation("securevqa_draws", 2),
        Observation("securevqa_decoder_fallbacks", 1),
        Observation("securevqa_fetched_bytes", 1000),
    }


def test_what_is_not_known_of_a_failed_row_adds_nothing() -> None:
    (only,) = observations(FAILED, num_clips=2)
    assert only == Observation("securevqa_videos", 1, ("failed", "review", "fetch_denied"))


@pytest.mark.parametrize("row", [SCORED, FAILED])
def test_every_observation_fits_a_metric_of_the_table(row: Row) -> None:
    table = {metric.name: metric for metric in METRICS}
    for one in observations(row, num_clips=1):
        assert len(one.labels) == len(table[one.name].labels)


def test_histograms_alone_have_boundaries_and_they_rise_from_above_zero() -> None:
    for metric in METRICS:
        assert bool(metric.boundaries) == (metric.kind == "histogram")
        assert list(metric.boundaries) == sorted({bound for bound in metric.boundaries if bound > 0})


def test_the_log_has_both_ids_and_neither_uri_nor_message() -> None:
    line = log_line(FAILED, run_id="0123456789ab")
    assert json.loads(line) == {
        "event": "video_finished",
        "run_id": "0123456789ab",
        "video_id": "b",
        "status": "failed",
        "stage": "fetch",
        "error_code": "fetch_denied",
        "verdict": "review",
    }
    said = json.loads(log_line(SCORED, run_id="r"))
    assert (said["time"], said["decode_seconds"]) == ("2026-11-23T00:00:00+00:00", 1.5)
    assert "\n" not in log_line(SCORED | {"video_id": "a\nb"}, run_id="r")


def test_the_tally_is_told_of_every_video_once(monkeypatch: pytest.MonkeyPatch) -> None:
    told: list[dict[str, int]] = []
    named: list[str] = []

    def add(statuses: dict[str, int], rows: list[dict[str, Any]]) -> None:
        told.append(statuses)
        named.extend(row["error_code"] for row in rows)

    tally = SimpleNamespace(add=SimpleNamespace(remote=add))
    setup = TelemetrySetup(run_id="r", num_clips=2, tally=tally)
    telemetry = Telemetry(setup, log=io.StringIO())
    monkeypatch.setattr("operators.telemetry.TALLY_SECONDS", 3600)
    for row in (SCORED, FAILED, SCORED):
        telemetry.tell(row)
    telemetry.flush()
    telemetry.flush()
    assert told == [{"scored": 2, "failed": 1}]
    monkeypatch.setattr("operators.telemetry.TALLY_SECONDS", 0)
    telemetry.tell(FAILED)  # a second has passed: it does not wait for the end of its block
    assert told[1:] == [{"failed": 1}]
    assert named == [FAILED["error_code"]] * 2


def test_the_runbook_names_every_metric() -> None:
    runbook = (Path(__file__).parents[2] / "deploy" / "README.md").read_text()
    for metric in METRICS:
        suffix = "_total" if metric.kind == "counter" else ""
        assert f"`ray_{metric.name}{suffix}`" in runbook
