"""Owns what a person sees while a run goes on: a live line on a terminal, plain log lines elsewhere."""

from __future__ import annotations

import contextlib
import threading
import time
from collections import Counter
from collections.abc import Iterator
from typing import Any

import ray
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, SpinnerColumn, TextColumn, TimeRemainingColumn

__all__ = ["new_tally", "shown_progress"]

TERMINAL_SECONDS = 0.5
LOG_SECONDS = 15.0


class Tally:
    """Counts finished videos; a Ray actor, as the stages run elsewhere."""

    def __init__(self) -> None:
        self._counts: Counter[str] = Counter()

    def add(self, *, status: str, error_code: str | None) -> None:
        """Count one finished video."""
        del error_code
        self._counts[status] += 1

    def counts(self) -> dict[str, int]:
        """Return finished videos by status."""
        return dict(self._counts)


def new_tally() -> Any:
    """Start a tally beside the driver."""
    return ray.remote(num_cpus=0, max_restarts=3)(Tally).remote()


@contextlib.contextmanager
def shown_progress(tally: Any, *, total: int, done_before: int, console: Console) -> Iterator[None]:
    """Show how many of `total` videos are finished for as long as the block runs."""
    stop = threading.Event()
    show = _terminal if console.is_terminal else _log_lines
    thread = threading.Thread(target=show, args=(tally, total, done_before, console, stop), daemon=True)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join(timeout=10)


def _counts(tally: Any) -> tuple[int, int]:
    """Return (finished, failed); (0, 0) while the tally cannot be asked."""
    try:
        counts = ray.get(tally.counts.remote(), timeout=5)
    except (ray.exceptions.RayError, TimeoutError):
        return 0, 0
    return sum(counts.values()), counts.get("failed", 0)


def _terminal(tally: Any, total: int, done_before: int, console: Console, stop: threading.Event) -> None:
    columns = (
        SpinnerColumn(),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[failed]} failed"),
        TextColumn("{task.fields[rate]:.2f} videos/s"),
        TimeRemainingColumn(),
    )
    started = time.monotonic()
    with Progress(*columns, console=console, transient=True) as progress:
        task = progress.add_task("videos", total=total, completed=done_before, failed=0, rate=0.0)
        while not stop.wait(TERMINAL_SECONDS):
            finished, failed = _counts(tally)
            rate = finished / (time.monotonic() - started)
            progress.update(task, completed=min(done_before + finished, total), failed=failed, rate=rate)


def _log_lines(tally: Any, total: int, done_before: int, console: Console, stop: threading.Event) -> None:
    started = time.monotonic()
    while not stop.wait(LOG_SECONDS):
        finished, failed = _counts(tally)
        rate = finished / (time.monotonic() - started)
        left = f"{(total - done_before - finished) / rate:.0f} s left" if rate else "time left unknown"
        console.print(
            f"{min(done_before + finished, total)}/{total} videos, {failed} failed, {rate:.2f} videos/s, {left}"
        )
