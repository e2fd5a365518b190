"""Owns the progress of a data set's build, which threads that make views advance."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

from pipeline.events import Events

__all__ = ["Progress", "shown_progress"]


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
def shown_progress(what: str, *, total: int, events: Events) -> Iterator[Progress]:
    """Show how many of `total` things are done while the block runs."""
    with events.counting(what, total=total) as count:
        yield Progress(total=total, on_advance=lambda done: count(done, 0))
