"""Owns what is known while a run goes on: which videos were begun, and how many are finished.

What was begun outlives whoever writes it down: it is a file on the driver's node, and the actor that workers
tell is bound to that node. Where the actor ends, Ray starts it again, and it goes on with the same file.
"""

from __future__ import annotations

import contextlib
import itertools
import json
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import ray
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy
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

__all__ = ["Ledger", "Reading", "Tally", "log_line", "new_ledger", "shown_progress"]

TERMINAL_SECONDS = 0.5
LOG_SECONDS = 15.0
KEYS_AT_ONCE = 100_000


class Tally:
    """Counts finished videos, and writes down which were begun; a Ray actor, as the stages run elsewhere.

    Args:
        begun: file of the driver's node; what is there stays.
    """

    def __init__(self, begun: str) -> None:
        self._counts: Counter[str] = Counter()
        self._begun = Path(begun)
        self._write("")  # ends a line that another left half written

    def add(self, statuses: dict[str, int]) -> None:
        """Count finished videos, by status."""
        self._counts.update(statuses)

    def counts(self) -> dict[str, int]:
        """Return finished videos by status."""
        return dict(self._counts)

    def begin(self, row_key: str) -> None:
        """Write down that a video is begun; who asks begins it once this has come back."""
        self._write(row_key)

    def _write(self, line: str) -> None:
        with self._begun.open("a", encoding="utf-8") as file:  # in the kernel's hands, once it is closed
            file.write(f"{line}\n")


@dataclass(frozen=True, slots=True)
class Ledger:
    """What the driver keeps of one pass over its rows."""

    tally: Any  # handle of the `Tally` that workers tell
    begun: Path

    def begun_rows(self) -> Iterator[list[str]]:
        """Yield the row keys of videos that were begun, some at a time; one begun again comes again."""
        with self.begun.open(encoding="utf-8") as file:
            lines = (line.rstrip("\n") for line in file)
            while keys := list(itertools.islice(lines, KEYS_AT_ONCE)):
                yield keys


@contextlib.contextmanager
def new_ledger() -> Iterator[Ledger]:
    """Start a tally on the driver's node; what it writes down is gone after the block."""
    here = ray.get_runtime_context().get_node_id()
    options: dict[str, Any] = {
        "num_cpus": 0,
        "max_restarts": -1,
        "max_task_retries": -1,
        "scheduling_strategy": NodeAffinitySchedulingStrategy(here, soft=False),
    }
    with tempfile.TemporaryDirectory(prefix="securevqa-") as folder:
        begun = Path(folder) / "begun"
        begun.touch()
        yield Ledger(tally=ray.remote(**options)(Tally).remote(str(begun)), begun=begun)


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
