"""Owns what is shown while a run goes on: a live line on a terminal, lines of JSON elsewhere."""

from __future__ import annotations

import contextlib
import json
import threading
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import ray
from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    SpinnerColumn,
    TextColumn,
    TimeRemainingColumn,
)

from operators.metrics import MetricSet, Observation

__all__ = ["Reading", "log_line", "new_tally", "shown_progress", "skipped_rows"]

TERMINAL_SECONDS = 0.5
LOG_SECONDS = 15.0
ASK_SECONDS = 30.0


class Tally:
    """Counts finished videos; a Ray actor, as the stages run elsewhere."""

    def __init__(self) -> None:
        self._counts: Counter[str] = Counter()
        self._skipped: set[str] = set()

    def add(self, statuses: dict[str, int]) -> None:
        """Count finished videos, by status."""
        self._counts.update(statuses)

    def counts(self) -> dict[str, int]:
        """Return finished videos by status."""
        return dict(self._counts)

    def skip(self, row_keys: list[str]) -> None:
        """Record videos that were not begun, as the run's time was up."""
        self._skipped.update(row_keys)

    def skipped(self) -> set[str]:
        """Return the row keys of videos that were not begun."""
        return self._skipped


def new_tally() -> Any:
    """Start a tally beside the driver."""
    return ray.remote(num_cpus=0, max_restarts=3)(Tally).remote()


def skipped_rows(tally: Any) -> set[str]:
    """Return the row keys of videos that were not begun; none where the tally was lost."""
    try:
        skipped: set[str] = ray.get(tally.skipped.remote(), timeout=ASK_SECONDS)
    except (ray.exceptions.RayError, TimeoutError):
        return set()
    return skipped


@dataclass(frozen=True, slots=True)
class Reading:
    """How far a run is."""

    total: int
    done: int
    failed: int
    videos_per_second: float


class _Gauge:
    """Asks the tally, again and again, how far a run is."""

    def __init__(self, tally: Any, *, total: int, done_before: int) -> None:
        self.total = total
        self._tally = tally
        self._done_before = done_before
        self._started = time.monotonic()
        self._metrics = MetricSet()

    def read(self) -> Reading:
        try:
            counts = ray.get(self._tally.counts.remote(), timeout=5)
        except (ray.exceptions.RayError, TimeoutError):
            counts = {}
        finished = sum(counts.values())
        left = self.total - self._done_before - finished
        self._metrics.record(Observation("securevqa_videos_left", max(0, left)))
        return Reading(
            total=self.total,
            done=min(self._done_before + finished, self.total),
            failed=counts.get("failed", 0),
            videos_per_second=finished / (time.monotonic() - self._started),
        )


@contextlib.contextmanager
def shown_progress(
    tally: Any, *, run_id: str, total: int, done_before: int, console: Console
) -> Iterator[None]:
    """Show how many of `total` videos are finished for as long as the block runs."""
    stop = threading.Event()
    gauge = _Gauge(tally, total=total, done_before=done_before)
    if console.is_terminal:
        thread = threading.Thread(target=_terminal, args=(gauge, console, stop), daemon=True)
    else:
        thread = threading.Thread(target=_log_lines, args=(gauge, console, stop, run_id), daemon=True)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join(timeout=10)
        gauge.read()  # so that the last word to Prometheus is of the end


def _terminal(gauge: _Gauge, console: Console, stop: threading.Event) -> None:
    columns = (
        SpinnerColumn(),
        BarColumn(bar_width=20),
        MofNCompleteColumn(),
        TextColumn("{task.fields[failed]} failed"),
        TextColumn("{task.fields[rate]:.2f} videos/s"),
        TimeRemainingColumn(),
        TextColumn("left"),
    )
    with Progress(*columns, console=console, transient=True) as progress:
        task = progress.add_task("videos", total=gauge.total, failed=0, rate=0.0)
        while not stop.wait(TERMINAL_SECONDS):
            now = gauge.read()
            progress.update(task, completed=now.done, failed=now.failed, rate=now.videos_per_second)


def _log_lines(gauge: _Gauge, console: Console, stop: threading.Event, run_id: str) -> None:
    while not stop.wait(LOG_SECONDS):
        line = log_line(gauge.read(), run_id=run_id)
        console.print(line, markup=False, highlight=False, soft_wrap=True)


def log_line(now: Reading, *, run_id: str) -> str:
    """Return one line of JSON with the run's id, as the workers' lines of finished videos have it."""
    rate = now.videos_per_second
    left = round((now.total - now.done) / rate) if rate else None
    known = {"total": now.total, "done": now.done, "failed": now.failed, "videos_per_second": round(rate, 3)}
    return json.dumps({"event": "run_progress", "run_id": run_id} | known | {"seconds_left": left})
