"""Owns what commands say while they work, on stderr: what is being done, how far it is, and what went wrong.

stdout has the result alone, so that it can be piped. `--quiet` leaves the result and errors, `--verbose` adds
every video as it is finished.
"""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

from rich.console import Console
from rich.live import Live
from rich.spinner import Spinner

from pipeline.text import literal

__all__ = ["Count", "Events", "duration", "progress_line"]

SPINS_PER_SECOND = 12.5
LOOK_SECONDS = 0.5
LOG_SECONDS = 15.0  # between lines of progress where there is no terminal


@dataclass(frozen=True, slots=True, kw_only=True)
class Count:
    """How far a piece of work is."""

    total: int  # of this call
    done: int
    failed: int
    seconds: float  # since it began

    @property
    def per_second(self) -> float:
        """How many are done in a second, 0 where none is."""
        return self.done / self.seconds if self.seconds else 0.0

    @property
    def seconds_left(self) -> float | None:
        """How long the rest takes at this rate, None where nothing is done yet."""
        return (self.total - self.done) / self.per_second if self.done and self.seconds else None


@dataclass(slots=True)
class Events:
    """Says what goes on; one command speaks at a time."""

    console: Console
    is_verbose: bool = False
    _said: set[str] = field(default_factory=set, init=False)  # of `once`
    _what: str | None = field(default=None, init=False)  # is being done
    _live: Live | None = field(default=None, init=False)  # where it is shown

    @property
    def is_shown_live(self) -> bool:
        """Whether a person sees on a terminal what changes."""
        return self.console.is_terminal and not self.console.quiet

    def note(self, line: str) -> None:
        """Say what a person should know now; the line stays."""
        self.console.print(literal(line, self.console), soft_wrap=True)

    def once(self, line: str) -> None:
        """Say a line that this command has not said yet."""
        if line not in self._said:
            self._said.add(line)
            self.note(line)

    def detail(self, line: str) -> None:
        """Say what only those want to know who asked for more."""
        if self.is_verbose:
            self.note(line)

    @contextlib.contextmanager
    def doing(self, what: str, *, is_logged: bool = True) -> Iterator[None]:
        """Say what is being done: on a terminal while the block runs, elsewhere by a line, if at all."""
        if not self.is_shown_live:
            if is_logged:
                self.note(what)
            yield
            return
        before = self._what
        self.update(what)
        try:
            yield
        finally:
            if before is None:
                self._end()
            else:
                self.update(before)

    def turn_to(self, what: str) -> None:
        """Say inside the block of `doing` what is being done from now on, where no terminal is by a line."""
        if self.is_shown_live:
            self.update(what)
        else:
            self.note(what)

    def update(self, what: str) -> None:
        """Say on a terminal what is being done from now on, until the block of `doing` ends."""
        if not self.is_shown_live:
            return
        self._what = what
        spinner = Spinner("dots", text=literal(what, self.console), style="status.spinner")
        if self._live is not None:
            self._live.update(spinner)
            return
        # Python's streams stay as they are: a Ray session that begins meanwhile and ends later sets them too,
        # and would be undone.
        self._live = Live(
            spinner,
            console=self.console,
            refresh_per_second=SPINS_PER_SECOND,
            transient=True,
            redirect_stdout=False,
            redirect_stderr=False,
        )
        self._live.start()

    def _end(self) -> None:
        if self._live is not None:
            self._live.stop()
        self._what = self._live = None

    @contextlib.contextmanager
    def aside(self) -> Iterator[None]:
        """Take what `doing` shows off the terminal while the block prints a result there."""
        if self._live is None:
            yield
            return
        self._live.stop()
        try:
            yield
        finally:
            self._live.start()

    @contextlib.contextmanager
    def counting(self, what: str, *, total: int) -> Iterator[Callable[[int, int], None]]:
        """Show how many of `total` things are done while the block runs.

        Yields:
            What is told how many are done and how many of them failed, by one thread; on a terminal as often
            as it likes to.
        """
        started = time.monotonic()

        def count(done: int, failed: int) -> Count:
            return Count(total=total, done=done, failed=failed, seconds=time.monotonic() - started)

        if not self.is_shown_live:
            log = _Log(total=total, say=lambda now: self.note(progress_line(what, count(*now))))
            with log.also_while_nothing_is_done():
                yield log.tell
            return
        from rich import progress as bars  # noqa: PLC0415 - what no command's help waits for

        columns = (
            bars.SpinnerColumn(),
            bars.TextColumn("{task.description}"),
            bars.BarColumn(bar_width=20),
            bars.MofNCompleteColumn(),
            bars.TextColumn("{task.fields[rest]}"),
        )
        with bars.Progress(*columns, console=self.console, transient=True) as bar:
            task = bar.add_task(what, total=total, rest="")

            def show(done: int, failed: int = 0) -> None:
                bar.update(task, completed=done, rest=", ".join(_rest(count(done, failed))))

            show(0)
            yield show


@dataclass(slots=True, kw_only=True)
class _Log:
    """Says every so often how far a piece of work is, where no terminal shows it."""

    total: int
    say: Callable[[tuple[int, int]], None]
    _now: tuple[int, int] = (0, 0)  # done, failed
    _last: float = field(default_factory=time.monotonic)
    _one_at_a_time: threading.Lock = field(default_factory=threading.Lock)

    def tell(self, done: int, failed: int = 0) -> None:
        """Take note of how many are done."""
        with self._one_at_a_time:
            self._now = done, failed
            if done == self.total or time.monotonic() - self._last >= LOG_SECONDS:
                self._say()

    @contextlib.contextmanager
    def also_while_nothing_is_done(self) -> Iterator[None]:
        """Say it while the block runs, however long one thing takes."""
        stop = threading.Event()

        def watch() -> None:
            while not stop.wait(LOOK_SECONDS):
                with self._one_at_a_time:
                    if time.monotonic() - self._last >= LOG_SECONDS and self._now[0] < self.total:
                        self._say()

        thread = threading.Thread(target=watch, daemon=True)
        thread.start()
        try:
            yield
        finally:
            stop.set()
            thread.join()

    def _say(self) -> None:
        self._last = time.monotonic()
        self.say(self._now)


def progress_line(what: str, count: Count) -> str:
    """Return how far a piece of work is, for people who read a log."""
    return ", ".join([f"{what}: {count.done} of {count.total}", *_rest(count)])


def _rest(count: Count) -> list[str]:
    said = [f"{count.failed} failed"] if count.failed else []
    if count.done:
        rate = count.per_second
        said.append(f"{rate:.2f}/s" if rate >= 0.1 else f"{60 * rate:.1f}/min")
    if count.seconds_left is not None and count.done < count.total:
        said.append(f"{duration(count.seconds_left)} left")
    return said


def duration(seconds: float) -> str:
    """Return a time for people: 40 s, 12 min, 3 h 05 min."""
    if seconds < 60:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 60 else f"{minutes // 60} h {minutes % 60:02d} min"
