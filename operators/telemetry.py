"""Owns what is said of a finished video while a run goes on: its count, its metrics and its line of log."""

from __future__ import annotations

import json
import sys
import time
from collections import Counter
from dataclasses import dataclass
from typing import Any, TextIO

from operators.metrics import MetricSet, observations
from operators.schema import Row
from operators.stage import FAILED

__all__ = ["Telemetry", "TelemetrySetup", "log_line"]

TALLY_SECONDS = 1.0  # a call for every video would cost more than the rest of what is told

_SAID = (
    "video_id",
    "status",
    "stage",
    "error_code",
    "verdict",
    "score_lower",
    "decoder",
    "fetch_seconds",
    "decode_seconds",
    "model_seconds",
)
_NAMED = ("uri", "status", "error_code", "score", "verdict")  # what a person at a terminal is told


@dataclass(frozen=True, slots=True, kw_only=True)
class TelemetrySetup:
    """What a worker's telemetry is made from."""

    run_id: str
    num_clips: int  # of one draw
    tally: Any  # actor that counts finished videos
    tells_all: bool = False  # which videos are finished; else which failed


class Telemetry:
    """Tells of finished videos: the tally, Prometheus and, on standard output, the log that Ray keeps."""

    def __init__(self, setup: TelemetrySetup, *, log: TextIO | None = None) -> None:
        self._setup = setup
        self._metrics = MetricSet()
        self._log = log or sys.stdout
        self._untold: Counter[str] = Counter()
        self._rows: list[Row] = []
        self._told_at = time.monotonic()

    def tell(self, row: Row) -> None:
        """Tell of one row of `operators.schema.OUTCOME`; the tally is told within a second, or by `flush`."""
        self._untold[row["status"]] += 1
        if row["status"] == FAILED or self._setup.tells_all:
            self._rows.append({name: row.get(name) for name in _NAMED})
        if time.monotonic() - self._told_at > TALLY_SECONDS:
            self.flush()
        for observation in observations(row, num_clips=self._setup.num_clips):
            self._metrics.record(observation)
        print(log_line(row, run_id=self._setup.run_id), file=self._log, flush=True)

    def flush(self) -> None:
        """Tell the tally what it has not been told."""
        if self._untold:
            self._setup.tally.add.remote(dict(self._untold), self._rows)
        self._untold.clear()
        self._rows = []
        self._told_at = time.monotonic()


def log_line(row: Row, *, run_id: str) -> str:
    """Return one line of JSON with the ids of run and video; what is not known of it is left out.

    There is no error message in it and no URI: both hold names that uploaders chose. The report has them.
    """
    values = {name: row[name] for name in _SAID if row.get(name) is not None}
    when = row.get("scored_at")
    moment = {} if when is None else {"time": when.isoformat()}
    return json.dumps({"event": "video_finished", "run_id": run_id} | moment | values)
