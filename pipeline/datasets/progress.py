"""Owns the progress of a data set's build: a bar on a terminal, a line a minute elsewhere."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

from rich import progress as bars
from rich.console import Console

__all__ = ["Progress", "shown_progress"]

LOG_SECONDS = 60.0


@dataclass(slots=True, kw_only=True)
class Progress:
    """How much of a known number of things is done; one thread advances it."""

    total: int
    on_advance: Callable[[int], None]
    done: int = field(default=0, init=False)

    def advance(self) -> None:
        """Count one more."""
        self.done += 1
        self.on_advance(self.done)


@contextlib.contextmanager
def shown_progress(what: str, *, total: int, console: Console) -> Iterator[Progress]:
    """Show how many of `total` things are done while the block runs."""
    if not console.is_terminal:
        yield Progress(total=total, on_advance=_log_lines(what, total, console))
        return
    columns = (
        bars.TextColumn("{task.description}"),
        bars.BarColumn(),
        bars.MofNCompleteColumn(),
        bars.TimeRemainingColumn(),
    )
    with bars.Progress(*columns, console=console, transient=True) as bar:
        task = bar.add_task(what, total=total)
        yield Progress(total=total, on_advance=lambda done: bar.update(task, completed=done))


def _log_lines(what: str, total: int, console: Console) -> Callable[[int], None]:
    last = time.monotonic()

    def log(done: int) -> None:
        nonlocal last
        if done == total or time.monotonic() - last >= LOG_SECONDS:
            last = time.monotonic()
            console.print(f"{done}/{total} {what}", highlight=False)

    return log
